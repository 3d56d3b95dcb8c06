//! How the command reaches a service over gRPC, and who it says it is.

pub(crate) mod problem;

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::exit::{Exit, Failure};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a call may take until its answer begins; a stream may go on for ever.
const CALL: Duration = Duration::from_secs(30);

/// `host:port`, or a URL.
///
/// # Errors
/// It is neither.
pub(crate) fn endpoint(server: &str) -> Result<Endpoint, Failure> {
    let url = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
    let endpoint = Endpoint::from_shared(url)
        .map_err(|_| Failure::new(Exit::Usage, format!("{server:?} is no address; expected host:port")))?;
    Ok(endpoint.connect_timeout(CONNECT).timeout(CALL).tcp_nodelay(true))
}

/// A connection that stands.
///
/// # Errors
/// No address, or nobody answers there.
pub(crate) async fn connect(server: &str, what: &str, variable: &str) -> Result<Channel, Failure> {
    endpoint(server)?.connect().await.map_err(|error| {
        let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        Failure::new(Exit::Unavailable, format!("{what} at {server} does not answer: {why}")).advice(format!(
            "start it with `skald dev` or `skald serve {what}`, or name another with --server or {variable}"
        ))
    })
}
