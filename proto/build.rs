//! Compiles the contracts without an installed `protoc` (protox) into Rust types and a descriptor set.

use std::{env, fs, path::PathBuf};

const FILES: &[&str] = &[
    "skald/participant/v1/message.proto",
    "skald/participant/v1/participant_service.proto",
    "skald/participant/v1/admin_service.proto",
    "skald/saga/v1/saga.proto",
    "skald/saga/v1/saga_service.proto",
    "skald/order/v1/order.proto",
    "skald/order/v1/order_service.proto",
    "skald/inventory/v1/step.proto",
    "skald/inventory/v1/inventory_service.proto",
    "skald/payment/v1/step.proto",
    "skald/payment/v1/payment_service.proto",
    "skald/admin/v1/act.proto",
    "skald/admin/v1/bulk.proto",
    "skald/admin/v1/attention.proto",
    "skald/admin/v1/search.proto",
    "skald/admin/v1/dead_letter.proto",
    "skald/admin/v1/definition.proto",
    "skald/admin/v1/admin_service.proto",
    "skald/audit/v1/audit.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for file in FILES {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut bytes = Vec::new();
    prost::Message::encode(&descriptors, &mut bytes)?;
    fs::write(out.join("skald.binpb"), bytes)?;
    let grpc = env::var_os("CARGO_FEATURE_GRPC").is_some();
    let mut names = prost_build::Config::new();
    // Any needs the type's name.
    names.enable_type_names().type_name_domain(["."], "type.googleapis.com");
    tonic_prost_build::configure()
        .build_client(grpc)
        .build_server(grpc)
        .compile_fds_with_config(descriptors, names)?;
    Ok(())
}
