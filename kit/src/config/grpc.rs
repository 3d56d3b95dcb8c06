//! `[grpc]`: what one client, or many, may take of the gRPC server.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Problems, Validate};

/// Bounds of the gRPC server. Messages are bounded too, by `grpc::MAX_MESSAGE_BYTES`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grpc {
    /// Connections at once, 1 to 1000000; further ones are closed as they come. Never more than the process may open files, less
    /// 256 for everything else: `ulimit -n`, whose soft limit `skald serve` raises to the hard one.
    pub max_connections: u32,
    /// Calls under way on one connection, 1 to 100000: a client that wants more waits, or opens another.
    pub max_streams: u32,
    /// Seconds that a call may take to come in and be answered, 1 to 3600. A call whose answers are a stream is free of it once
    /// they begin.
    pub request_timeout_seconds: u32,
    /// After so many seconds without a frame a client is asked whether it is there, 1 to 3600.
    pub keepalive_seconds: u32,
    /// Who does not answer within so many seconds is gone, 1 to 3600; nor is who connects and says nothing for as long
    /// (over TLS: not even a handshake).
    pub keepalive_timeout_seconds: u32,
}

impl Default for Grpc {
    fn default() -> Self {
        Self {
            max_connections: 16_384,
            max_streams: 2_048,
            request_timeout_seconds: 60,
            keepalive_seconds: 20,
            keepalive_timeout_seconds: 10,
        }
    }
}

impl Grpc {
    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_secs(self.request_timeout_seconds.into())
    }

    pub(crate) fn keepalive(&self) -> Duration {
        Duration::from_secs(self.keepalive_seconds.into())
    }

    pub(crate) fn keepalive_timeout(&self) -> Duration {
        Duration::from_secs(self.keepalive_timeout_seconds.into())
    }
}

impl Validate for Grpc {
    fn validate(&self, problems: &mut Problems) {
        let mut range = |field, value: u32, most: u32| {
            problems.check(
                (1..=most).contains(&value),
                field,
                format!("is {value}; allowed are 1 to {most}"),
            );
        };
        range("max_connections", self.max_connections, 1_000_000);
        range("max_streams", self.max_streams, 100_000);
        range("request_timeout_seconds", self.request_timeout_seconds, 3_600);
        range("keepalive_seconds", self.keepalive_seconds, 3_600);
        range("keepalive_timeout_seconds", self.keepalive_timeout_seconds, 3_600);
    }
}
