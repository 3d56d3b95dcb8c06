//! Skald's contracts: the types generated from the `.proto` files beside this crate, and nothing else.
//! The feature `grpc` adds the clients and servers.

// Generated code documents what its .proto documents; the linter can't see that of fields' oneofs.
#![allow(missing_docs, unreachable_pub, clippy::all)]

/// Every contract as an encoded `google.protobuf.FileDescriptorSet`, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/skald.binpb"));

/// The descriptors with these services alone (full names), for one server's reflection: the contracts have more services
/// than any one server serves. Kept for the life of the process; call it once per server.
pub fn descriptors_of(services: &[&str]) -> &'static [u8] {
    use prost::Message;
    let mut set = prost_types::FileDescriptorSet::decode(DESCRIPTORS).expect("the build encoded it");
    for file in &mut set.file {
        let package = file.package().to_owned();
        file.service.retain(|service| services.contains(&format!("{package}.{}", service.name()).as_str()));
    }
    Vec::leak(set.encode_to_vec())
}

/// `skald.participant.v1`: commands, outcomes, the participant's service.
pub mod participant {
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/skald.participant.v1.rs"));
    }
}

/// `skald.saga.v1`: sagas of any definition.
pub mod saga {
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/skald.saga.v1.rs"));
    }
}

/// `skald.order.v1`: orders.
pub mod order {
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/skald.order.v1.rs"));
    }
}

/// `skald.admin.v1`: the operator's desk.
pub mod admin {
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/skald.admin.v1.rs"));
    }
}

/// `skald.audit.v1`: what `orders.audit` tells.
pub mod audit {
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/skald.audit.v1.rs"));
    }
}

/// `skald.inventory.v1`: stock and reservations.
pub mod inventory {
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/skald.inventory.v1.rs"));
    }
}

/// `skald.payment.v1`: charges.
pub mod payment {
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/skald.payment.v1.rs"));
    }
}
