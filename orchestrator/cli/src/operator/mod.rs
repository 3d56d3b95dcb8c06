//! Whoever is on call, as a client of `skald.admin.v1.AdminService`: verbs on sagas, one or many, the page about one,
//! participants and their own desks, definitions, how many stand where.
//! Everything that changes something is shown first, and asked about.

pub(crate) mod act;
pub(crate) mod attention;
pub(crate) mod bulk;
pub(crate) mod definitions;
pub mod desks;
pub(crate) mod explain;
pub mod letter;
pub(crate) mod letters;
pub(crate) mod participants;
pub mod stats;
pub mod view;

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use skald_proto::admin::v1::admin_service_client::AdminServiceClient;

use crate::{
    client::{Connection, Orchestrator, Peer},
    exit::{Exit, Failure},
    output::Format,
};

/// Who acts and why, and whether to ask first.
#[derive(Debug, clap::Args)]
pub(crate) struct Signed<S: clap::Args = Orchestrator> {
    /// Why; kept for ever with what was done
    #[arg(long, value_name = "WHY")]
    reason: String,
    /// Who acts; kept for ever with what was done
    #[arg(long, value_name = "WHO", env = "USER", hide_env_values = true)]
    actor: String,
    /// Repeats of one id are one action, and get the first answer; without it, a new one is made
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    server: S,
}

impl Signed {
    async fn connect(&self) -> Result<AdminServiceClient<Connection>, Failure> {
        Ok(AdminServiceClient::new(self.server.connect().await?))
    }
}

impl<S: clap::Args + Peer> Signed<S> {
    pub(crate) fn format(&self) -> Format {
        self.server.format()
    }

    /// Where it goes.
    pub(crate) fn server(&self) -> &S {
        &self.server
    }

    /// Who acts.
    pub(crate) fn actor(&self) -> &str {
        &self.actor
    }

    /// Why.
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    /// It is not asked for, nor shown first.
    pub(crate) fn is_sure(&self) -> bool {
        self.yes
    }

    /// One for this action.
    pub(crate) fn request_id(&self) -> String {
        request_id(self.request_id.clone())
    }

    /// Asks on the terminal, unless `--yes` was given.
    ///
    /// # Errors
    /// The answer was no; there is nobody to ask.
    pub(crate) fn confirm(&self, what: &str) -> Result<(), Failure> {
        if self.yes { Ok(()) } else { confirm(what) }
    }
}

/// Asks on the terminal.
///
/// # Errors
/// The answer was no; there is nobody to ask.
pub(crate) fn confirm(what: &str) -> Result<(), Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let nobody = Failure::new(Exit::Usage, "nothing was changed: there is no terminal to ask on");
        return Err(nobody.advice("--yes does it without asking, --dry-run only shows it"));
    }
    eprint!("{what}? [y/N] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let _ = stdin.lock().read_line(&mut answer);
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::new(Exit::Refused, "nothing was changed"))
}

/// The given one, or one for this action.
fn request_id(given: Option<String>) -> String {
    given.unwrap_or_else(|| uuid::Uuid::now_v7().to_string())
}

/// This machine's clock, seconds: for how long ago things were.
pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as i64)
}
