//! How the command reaches a service over gRPC, and who it says it is.

pub mod problem;

use std::{path::PathBuf, time::Duration};

use skald_kit::config::ClientTls;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::{
    exit::{Exit, Failure},
    output::Format,
};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a call may take until its answer begins; a stream may go on for ever.
const CALL: Duration = Duration::from_secs(30);

/// A connection on which every call says who makes it.
pub(crate) type Connection = InterceptedService<Channel, Named>;

/// The orchestrator, and how answers are shown.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Orchestrator {
    /// The orchestrator: host:port
    #[arg(
        long,
        value_name = "ADDR",
        env = "SKALD_SERVER",
        hide_env_values = true,
        default_value = "127.0.0.1:7070"
    )]
    server: String,
    #[command(flatten)]
    common: Common,
}

/// Inventory, and how answers are shown.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Inventory {
    /// Inventory: host:port
    #[arg(
        long,
        value_name = "ADDR",
        env = "SKALD_INVENTORY_SERVER",
        hide_env_values = true,
        default_value = "127.0.0.1:7080"
    )]
    server: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Debug, clap::Args)]
struct Common {
    /// Who calls: the owner of idempotency keys, and the actor in histories
    #[arg(
        long,
        value_name = "NAME",
        env = "SKALD_CLIENT",
        hide_env_values = true,
        default_value = "skald-cli"
    )]
    client: String,
    /// The certificate, a PEM file, that must have signed the server's: the connection is made over TLS
    #[arg(long, value_name = "FILE", env = "SKALD_CA", hide_env_values = true)]
    ca: Option<PathBuf>,
    /// table, or json: as in the contracts, one object per line
    #[arg(long, short, value_enum, value_name = "FORMAT", hide_possible_values = true, default_value_t = Format::Table)]
    output: Format,
}

impl Orchestrator {
    pub(crate) async fn connect(&self) -> Result<Connection, Failure> {
        connect(&self.server, "orchestrator", "SKALD_SERVER", &self.common).await
    }

    pub(crate) fn format(&self) -> Format {
        self.common.output
    }
}

impl Inventory {
    pub(crate) async fn connect(&self) -> Result<Connection, Failure> {
        connect(&self.server, "inventory", "SKALD_INVENTORY_SERVER", &self.common).await
    }

    pub(crate) fn format(&self) -> Format {
        self.common.output
    }

    /// Who calls.
    pub(crate) fn actor(&self) -> &str {
        &self.common.client
    }
}

/// Puts the caller's name on each call.
#[derive(Clone, Debug)]
pub(crate) struct Named(MetadataValue<Ascii>);

impl Interceptor for Named {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("skald-client", self.0.clone());
        Ok(request)
    }
}

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

async fn connect(server: &str, what: &str, variable: &str, common: &Common) -> Result<Connection, Failure> {
    let endpoint = match &common.ca {
        None => endpoint(server)?,
        Some(ca) => {
            let tls = ClientTls { ca: ca.clone(), domain: None, certificate: None, key: None };
            let secured = tls.apply(endpoint(&format!("https://{server}"))?);
            secured.map_err(|error| Failure::new(Exit::Usage, format!("--ca: {error:#}")))?
        }
    };
    let channel = endpoint.connect().await.map_err(|error| {
        Failure::new(Exit::Unavailable, format!("{what} at {server} does not answer: {}", innermost(&error)))
            .advice(format!(
                "start it with `skald dev` or `skald serve {what}`, or name another with --server or {variable}"
            ))
    })?;
    named(channel, &common.client)
}

/// Says with every call on this channel who makes it.
///
/// # Errors
/// The name can't stand in metadata.
pub(crate) fn named(channel: Channel, client: &str) -> Result<Connection, Failure> {
    let name = client.parse().map_err(|_| {
        Failure::new(Exit::Usage, format!("--client {client:?}: use 1 to 128 printable ASCII characters"))
    })?;
    Ok(InterceptedService::new(channel, Named(name)))
}

/// What the system said, without the layers above it.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
