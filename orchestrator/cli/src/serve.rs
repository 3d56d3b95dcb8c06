//! `skald serve`: one service in this process, from its settings to its last message.

use std::{future::Future, path::PathBuf, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use skald_kit::{
    config::{self, Log, Otlp, Validate},
    lifecycle::Shutdown,
    telemetry,
};

use crate::exit::{Exit, Failure};

/// Variables begin with this: `SKALD_POSTGRES__URL` is `url` of the section `[postgres]`.
pub(crate) const ENV_PREFIX: &str = "SKALD_";

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// Which one
    #[arg(value_enum)]
    service: Service,
    /// Settings, a TOML file; variables win over it
    #[arg(long, value_name = "FILE", env = "SKALD_CONFIG")]
    config: Option<PathBuf>,
    /// Print the effective settings as TOML, secrets hidden, and end
    #[arg(long)]
    print_config: bool,
}

const HELP: &str = "\
Settings come from defaults, then the file, then variables SKALD_<SECTION>__<FIELD>:
  SKALD_POSTGRES__URL=postgres://skald@db/skald_orchestrator
  SKALD_KAFKA__BOOTSTRAP_SERVERS=kafka-1:9092,kafka-2:9092
  SKALD_LOG__FORMAT=json

SIGTERM and SIGINT stop it softly: what is in flight is finished, the exit code is 0. A second one, or
shutdown.deadline_seconds, ends it at once with 1.

Examples:
  skald serve orchestrator --print-config > orchestrator.toml
  skald serve orchestrator --config orchestrator.toml
  skald serve inventory";

/// The services of this binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Service {
    /// Takes orders and moves their sagas: gRPC 7070, HTTP 7071
    Orchestrator,
    /// Stock and reservations: gRPC 7080, HTTP 7081
    Inventory,
    /// Charges and refunds, through a simulated gateway: gRPC 7090, HTTP 7091
    Payment,
}

/// What this room needs to know of any service's settings.
trait Settings: Serialize + DeserializeOwned + Default + Validate {
    fn room(&self) -> (&Log, &Otlp, Duration);
}

impl Settings for skald_server::Config {
    fn room(&self) -> (&Log, &Otlp, Duration) {
        (&self.log, &self.otlp, self.shutdown.deadline())
    }
}

impl Settings for skald_inventory::Config {
    fn room(&self) -> (&Log, &Otlp, Duration) {
        (&self.log, &self.otlp, self.shutdown.deadline())
    }
}

impl Settings for skald_payment::Config {
    fn room(&self) -> (&Log, &Otlp, Duration) {
        (&self.log, &self.otlp, self.shutdown.deadline())
    }
}

pub(crate) async fn run(args: Args) -> Result<Exit, Failure> {
    match args.service {
        Service::Orchestrator => start(&args, "orchestrator", skald_server::run).await,
        Service::Inventory => start(&args, "inventory", skald_inventory::run).await,
        Service::Payment => start(&args, "payment", skald_payment::run).await,
    }
}

/// Reads settings; what is wrong with them is a matter of usage.
pub(crate) fn settings<C: DeserializeOwned + Default + Validate>(
    file: Option<&std::path::Path>,
) -> Result<C, Failure> {
    config::load(file, ENV_PREFIX).map_err(|error| {
        Failure::new(Exit::Usage, format!("the settings cannot be used\n{error}").replace('\n', "\n  "))
            .advice("mend the file or the variable; `skald serve SERVICE --print-config` shows every setting")
    })
}

/// As many as the machine's owner allows: each client's connection is one, and the usual soft limit of 1,024 is for programs that
/// use `select`.
fn may_open_files() {
    use rustix::process::{Resource::Nofile, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Nofile);
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Nofile, Rlimit { current: limit.maximum, ..limit })
    {
        tracing::warn!(%error, ?limit, "the limit of open files stays as it is");
    }
}

async fn start<C, F>(args: &Args, name: &str, service: impl FnOnce(C, Shutdown) -> F) -> Result<Exit, Failure>
where
    C: Settings,
    F: Future<Output = anyhow::Result<()>>,
{
    let config: C = settings(args.config.as_deref())?;
    if args.print_config {
        crate::output::line(&config::effective_toml(&config))?;
        return Ok(Exit::Ok);
    }
    let (log, otlp, deadline) = config.room();
    let _telemetry = telemetry::init(log, otlp, name)?;
    let shutdown =
        Shutdown::on_signals(deadline).map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    may_open_files();
    tracing::debug!(service = name, "effective settings:\n{}", config::effective_toml(&config));
    service(config, shutdown).await?;
    tracing::info!(service = name, "stopped");
    Ok(Exit::Ok)
}
