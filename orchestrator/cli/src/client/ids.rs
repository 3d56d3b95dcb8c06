//! Ids as people type them: whole, or so much of one that it is clear which is meant. The orchestrator says which.

use skald_proto::{
    admin::v1::{ResolveIdRequest, ResolveIdResponse, admin_service_client::AdminServiceClient},
    saga::v1::Saga,
};
use uuid::Uuid;

use super::{Connection, Orchestrator, Who, connect};
use crate::{
    exit::{Exit, Failure},
    operator::now,
    output::text::ago,
};

/// Which saga, and so which order.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Id {
    /// The order's id, which is its saga's: whole, its first 8 digits or more (looked for among all), or its last 6 or more
    /// (among what is under way, what needs a person, and the newest 100,000)
    #[arg(value_name = "ID")]
    id: String,
}

/// Where ids are looked up by whoever talks to another service.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LookUp {
    /// The orchestrator, which is asked when an id is shortened: host:port
    #[arg(
        long,
        value_name = "ADDR",
        env = "SKALD_SERVER",
        hide_env_values = true,
        default_value = "127.0.0.1:7070"
    )]
    orchestrator: String,
}

impl Id {
    /// The whole id.
    ///
    /// # Errors
    /// As [`resolve`].
    pub(crate) async fn of(&self, server: &Orchestrator) -> Result<String, Failure> {
        of(&self.id, server).await
    }

    /// The whole id, for a service that is not the orchestrator.
    ///
    /// # Errors
    /// As [`resolve`].
    pub(crate) async fn look_up(&self, at: &LookUp) -> Result<String, Failure> {
        look_up(&self.id, at).await
    }
}

/// The whole id of what was typed; nothing for nothing.
///
/// # Errors
/// As [`resolve`].
pub(crate) async fn of(typed: &str, server: &Orchestrator) -> Result<String, Failure> {
    match whole(typed) {
        Some(id) => Ok(id),
        None => resolve(server.connect().await?, typed).await,
    }
}

/// The same, for a service that is not the orchestrator.
///
/// # Errors
/// As [`resolve`].
pub(crate) async fn look_up(typed: &str, at: &LookUp) -> Result<String, Failure> {
    match whole(typed) {
        Some(id) => Ok(id),
        None => {
            let who = Who { name: "skald-cli", ca: None };
            resolve(connect(&at.orchestrator, "orchestrator", "SKALD_SERVER", &who).await?, typed).await
        }
    }
}

/// What needs no looking up.
fn whole(typed: &str) -> Option<String> {
    if typed.is_empty() {
        return Some(String::new());
    }
    Uuid::try_parse(typed).ok().map(|id| id.to_string())
}

/// Asks which id is meant.
///
/// # Errors
/// It is none, it can mean several (they are named), nothing was found (where it was looked for is told), or the
/// orchestrator does not answer.
async fn resolve(connection: Connection, typed: &str) -> Result<String, Failure> {
    let mut client = AdminServiceClient::new(connection);
    let found = client.resolve_id(ResolveIdRequest { id: typed.to_owned() }).await?.into_inner();
    meant(typed, found, now())
}

/// The one that is meant; `now` in seconds.
///
/// # Errors
/// There is none, or there are several.
pub fn meant(typed: &str, found: ResolveIdResponse, now: i64) -> Result<String, Failure> {
    let ResolveIdResponse { sagas, more, searched } = found;
    match sagas.as_slice() {
        [] => Err(Failure::new(Exit::NotFound, format!("there is no order or saga {typed}"))
            .advice(format!("looked for in {searched}; a whole id is always found"))),
        [one] if !more => Ok(one.saga_id.clone()),
        several => {
            let count = if more { format!("more than {}", several.len()) } else { several.len().to_string() };
            let failure = Failure::new(Exit::Usage, format!("{typed} can mean {count}; nothing was done"));
            let fields = several.iter().map(|saga| (saga.saga_id.clone(), about(saga, now))).collect();
            Err(Failure { fields, ..failure }.advice("give more digits"))
        }
    }
}

fn about(saga: &Saga, now: i64) -> String {
    let status = saga.status().as_str_name().trim_start_matches("SAGA_STATUS_");
    let began = ago(saga.created_at.as_ref(), now);
    format!("{} {status}, customer {}, began {began}", saga.definition, saga.customer_id)
}
