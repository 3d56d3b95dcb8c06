//! How the command reaches a service over gRPC, and who it says it is.

pub mod ids;
pub(crate) mod pages;
pub mod problem;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

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

/// Defines a service that can be called: its name, the variable that names its address, and its usual address.
macro_rules! peer {
    ($(#[$doc:meta])* $name:ident, $what:literal, $variable:literal, $address:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, clap::Args)]
        pub(crate) struct $name {
            #[arg(
                long,
                value_name = "ADDR",
                env = $variable,
                hide_env_values = true,
                default_value = $address,
                help = concat!($what, " listens here: host:port")
            )]
            server: String,
            #[command(flatten)]
            common: Common,
        }

        impl $name {
            pub(crate) async fn connect(&self) -> Result<Connection, Failure> {
                connect(&self.server, $what, $variable, &self.common.who()).await
            }
        }

        impl Peer for $name {
            fn common(&self) -> &Common {
                &self.common
            }
        }
    };
}

peer!(
    /// The orchestrator, and how answers are shown.
    Orchestrator, "orchestrator", "SKALD_SERVER", "127.0.0.1:7070"
);
peer!(
    /// Inventory, and how answers are shown.
    Inventory, "inventory", "SKALD_INVENTORY_SERVER", "127.0.0.1:7080"
);
peer!(
    /// Payment, and how answers are shown.
    Payment, "payment", "SKALD_PAYMENT_SERVER", "127.0.0.1:7090"
);

/// A service that can be called.
pub(crate) trait Peer {
    fn common(&self) -> &Common;

    /// How answers are shown.
    fn format(&self) -> Format {
        self.common().output
    }

    /// Who calls.
    fn client(&self) -> &str {
        &self.common().client
    }
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Common {
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
    /// table, json, or jsonl: one object a line; both with the contracts' field names
    #[arg(long, short, value_enum, value_name = "FORMAT", hide_possible_values = true, default_value_t = Format::Table)]
    output: Format,
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

/// Who calls, and whose signature they trust.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who<'a> {
    pub(crate) name: &'a str,
    /// None: in the clear.
    pub(crate) ca: Option<&'a Path>,
}

impl Common {
    pub(crate) fn who(&self) -> Who<'_> {
        Who { name: &self.client, ca: self.ca.as_deref() }
    }
}

/// Connects to a service; the variable that names its address is for the advice.
///
/// # Errors
/// It does not answer, or the address is none.
pub(crate) async fn connect(
    server: &str,
    what: &str,
    variable: &str,
    who: &Who<'_>,
) -> Result<Connection, Failure> {
    let endpoint = match who.ca {
        None => endpoint(server)?,
        Some(ca) => {
            let tls = ClientTls { ca: ca.to_owned(), domain: None, certificate: None, key: None };
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
    named(channel, who.name)
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
