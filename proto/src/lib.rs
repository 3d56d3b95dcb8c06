//! Skald's contracts: the types generated from the `.proto` files beside this crate, and nothing else.
//! The feature `grpc` adds the clients and servers.

// Generated code documents what its .proto documents; the linter can't see that of fields' oneofs.
#![allow(missing_docs, unreachable_pub, clippy::all)]

/// Every contract as an encoded `google.protobuf.FileDescriptorSet`, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/skald.binpb"));

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
