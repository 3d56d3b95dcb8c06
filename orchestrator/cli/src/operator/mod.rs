//! Whoever is on call, as a client of `skald.admin.v1.AdminService`: verbs on sagas, one or many, the page about one,
//! participants.
//! Everything that changes something is shown first, and asked about.

pub(crate) mod act;
pub(crate) mod attention;
pub(crate) mod bulk;
pub(crate) mod explain;
pub(crate) mod letters;
pub(crate) mod participants;
pub mod view;

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use skald_proto::admin::v1::admin_service_client::AdminServiceClient;

use crate::{
    client::{Connection, Orchestrator},
    exit::{Exit, Failure},
    output::Format,
};

/// Who acts and why, and whether to ask first.
#[derive(Debug, clap::Args)]
pub(crate) struct Signed {
    /// Why; it stands in the history for ever
    #[arg(long, value_name = "WHY")]
    reason: String,
    /// Who acts; it stands in the history for ever
    #[arg(long, value_name = "WHO", env = "USER", hide_env_values = true)]
    actor: String,
    /// Repeats of one id are one action, and get the first answer; without it, a new one is made
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    server: Orchestrator,
}

impl Signed {
    pub(crate) fn format(&self) -> Format {
        self.server.format()
    }

    async fn connect(&self) -> Result<AdminServiceClient<Connection>, Failure> {
        Ok(AdminServiceClient::new(self.server.connect().await?))
    }

    /// One for this action.
    fn request_id(&self) -> String {
        self.request_id.clone().unwrap_or_else(|| uuid::Uuid::now_v7().to_string())
    }

    /// Asks on the terminal, unless `--yes` was given.
    ///
    /// # Errors
    /// The answer was no; there is nobody to ask.
    fn confirm(&self, what: &str) -> Result<(), Failure> {
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

/// This machine's clock, seconds: for how long ago things were.
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as i64)
}
