//! The gRPC side of a service: what every server has around its own routes. Knows no service of ours.

mod incoming;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::{Server, ServerTlsConfig};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::config::Grpc;
use crate::health::{Health, Status};
use crate::lifecycle::Shutdown;

/// The largest message that is taken or sent, in bytes (1 MiB). A request may have 256 KiB and a page of
/// answers some of them. The limit belongs to each generated server: set it there with
/// `max_decoding_message_size` and `max_encoding_message_size`.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// What calls under way may take once the stop was asked for: a client that doesn't read its answers holds its
/// connection open for ever.
const GRACE: Duration = Duration::from_secs(3);
/// Bytes in flight per stream and per connection; tonic's 64 KiB would stall bulk submissions.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Binds `addr`; port 0 takes a free one. After it returned, clients can connect and wait.
///
/// # Errors
/// The address is taken or not ours; the error names it.
pub async fn bind(addr: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(addr).await.with_context(|| format!("cannot listen on {addr} (gRPC)"))
}

/// Binds and serves until the stop is asked for.
///
/// # Errors
/// As [`bind`] and [`serve_on`].
pub async fn serve(
    listen: SocketAddr,
    routes: Routes,
    descriptor_sets: &[&'static [u8]],
    health: Health,
    shutdown: Shutdown,
) -> Result<()> {
    let limits = Grpc::default();
    serve_on(bind(listen).await?, None, &limits, routes, descriptor_sets, health, shutdown).await
}

/// Serves `routes`, over TLS when it is given, within `limits`, with gRPC health (`""` and every service of the descriptor sets) and reflection v1 and
/// v1alpha. When the stop is asked for, health says NOT_SERVING, no call is taken any more, and those under
/// way have three seconds to finish; streams without an end must watch the shutdown themselves.
///
/// # Errors
/// A descriptor set cannot be decoded, the certificate or its key is none, or the listener broke.
pub async fn serve_on(
    listener: TcpListener,
    tls: Option<ServerTlsConfig>,
    limits: &Grpc,
    routes: Routes,
    descriptor_sets: &[&'static [u8]],
    health: Health,
    shutdown: Shutdown,
) -> Result<()> {
    let names = service_names(descriptor_sets)?;
    let (reporter, health_service) = tonic_health::server::health_reporter();
    let health_service = health_service
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    report(&reporter, &names, health.overall()).await;
    let feed = tokio::spawn(feed(reporter, names, health, shutdown.clone()));
    let stop = shutdown.clone();
    let mut server = Server::builder();
    if let Some(tls) = tls {
        let tls = tls.timeout(limits.keepalive_timeout());
        server = server.tls_config(tls).context("the TLS of the gRPC server")?;
    }
    let clients = incoming::incoming(listener, limits.max_connections, limits.keepalive_timeout());
    let serving = server
        .timeout(limits.request_timeout())
        .http2_keepalive_interval(Some(limits.keepalive()))
        .http2_keepalive_timeout(Some(limits.keepalive_timeout()))
        .max_concurrent_streams(limits.max_streams)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_routes(routes)
        .add_service(health_service)
        .add_service(reflection(descriptor_sets).build_v1()?)
        .add_service(reflection(descriptor_sets).build_v1alpha()?)
        .serve_with_incoming_shutdown(clients, async move {
            shutdown.requested().await;
        });
    let late = async {
        stop.requested().await;
        tokio::time::sleep(GRACE).await;
    };
    let served = tokio::select! {
        served = serving => served.context("the gRPC server broke"),
        () = late => {
            tracing::warn!("clients hold calls open that were ended: they are left behind");
            Ok(())
        }
    };
    feed.abort();
    served
}

/// Ours, and what clients need to read ours: health and google.rpc's error details.
fn reflection(descriptor_sets: &[&'static [u8]]) -> tonic_reflection::server::Builder<'static> {
    let mut builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET);
    for set in descriptor_sets {
        builder = builder.register_encoded_file_descriptor_set(set);
    }
    builder
}

fn service_names(descriptor_sets: &[&'static [u8]]) -> Result<Vec<String>> {
    let mut names = vec![String::new()];
    for set in descriptor_sets {
        let set = FileDescriptorSet::decode(*set).context("a descriptor set cannot be decoded")?;
        for file in set.file {
            let package = file.package().to_owned();
            names.extend(file.service.iter().map(|service| format!("{package}.{}", service.name())));
        }
    }
    Ok(names)
}

async fn report(reporter: &HealthReporter, names: &[String], status: Status) {
    let serving = if status == Status::Down { ServingStatus::NotServing } else { ServingStatus::Serving };
    for name in names {
        reporter.set_service_status(name, serving).await;
    }
}

async fn feed(mut reporter: HealthReporter, names: Vec<String>, health: Health, shutdown: Shutdown) {
    let mut changes = health.subscribe();
    loop {
        let status = changes.borrow_and_update().status;
        report(&reporter, &names, status).await;
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { break },
            () = shutdown.requested() => break,
        }
    }
    report(&reporter, &names, Status::Down).await;
    // Ends the streams of those who watch; the graceful stop would wait for them.
    for name in &names {
        reporter.clear_service_status(name).await;
    }
}
