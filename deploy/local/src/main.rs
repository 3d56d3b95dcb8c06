//! `skald-local up`: PostgreSQL and Kafka on this machine for as long as a command runs, or until Ctrl-C.

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use skald_local::child::{Child, Launch, Signal};
use skald_local::{Jvm, Kafka, KafkaOptions, Postgres, PostgresOptions};
use tokio::signal::unix::{SignalKind, signal};

/// Real PostgreSQL and Kafka on this machine, without containers.
#[derive(Debug, Parser)]
#[command(name = "skald-local", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start servers, print their addresses, run COMMAND with them in its environment and end with its exit
    /// code; without COMMAND, stay until Ctrl-C. Both servers are stopped at the end.
    Up(Up),
}

#[derive(Debug, Args)]
struct Up {
    /// PostgreSQL's port on 127.0.0.1 [default: a free one below 32768]
    #[arg(long, value_name = "N")]
    postgres_port: Option<u16>,
    /// Kafka's port on 127.0.0.1 [default: a free one below 32768]
    #[arg(long, value_name = "N")]
    kafka_port: Option<u16>,
    /// The folder for their data [default: a temporary one with COMMAND, .skald/local without]
    #[arg(long, value_name = "D")]
    dir: Option<PathBuf>,
    /// Leave Kafka out
    #[arg(long)]
    no_kafka: bool,
    /// Tune Kafka's Java machine for benchmarks instead of a fast start
    #[arg(long)]
    throughput: bool,
    /// A PostgreSQL setting, repeatable
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// Create this database, repeatable
    #[arg(long = "database", value_name = "NAME")]
    databases: Vec<String>,
    /// The command to run
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "expected NAME=VALUE".into())
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).init();
    let Cli { command: Command::Up(up) } = Cli::parse();
    up.run().await
}

impl Up {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (folder, temporary) = self.folder();
        // A signal while they start drops, and so kills, what has started.
        let mut servers = tokio::select! {
            servers = self.start(&folder, temporary) => servers?,
            _ = interrupt.recv() => return Ok(ExitCode::from(130)),
            _ = terminate.recv() => return Ok(ExitCode::from(143)),
        };
        let code = if self.command.is_empty() {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            ExitCode::SUCCESS
        } else {
            let child = self.launch(&servers).spawn()?;
            loop {
                tokio::select! {
                    status = ended(&child) => break code(status?),
                    // Ctrl-C in the terminal reaches the command by itself; it decides.
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => child.signal(Signal::TERM)?,
                }
            }
        };
        servers.stop().await?;
        if temporary {
            drop(servers);
            let _ = std::fs::remove_dir(&folder);
        }
        Ok(code)
    }

    /// Where the data lie, and whether they go away at the end.
    fn folder(&self) -> (PathBuf, bool) {
        match &self.dir {
            Some(dir) => (dir.clone(), false),
            None if self.command.is_empty() => (skald_local::home().join("local"), false),
            None => (temporary(), true),
        }
    }

    async fn start(&self, folder: &Path, temporary: bool) -> anyhow::Result<Servers> {
        let mut options = PostgresOptions::new(folder.join("postgres"));
        options.port = self.postgres_port;
        // One pair of servers may carry many test processes.
        options.settings = vec![("max_connections".into(), "400".into())];
        options.settings.extend(self.settings.iter().cloned());
        let mut kafka_options = KafkaOptions::new(folder.join("kafka"));
        kafka_options.port = self.kafka_port;
        kafka_options.jvm = if self.throughput { Jvm::Throughput } else { Jvm::FastStart };
        let kafka = async { Ok(if self.no_kafka { None } else { Some(Kafka::start(kafka_options).await?) }) };
        let (mut postgres, mut kafka) = tokio::try_join!(Postgres::start(options), kafka)?;
        for database in &self.databases {
            postgres.create_database(database).await?;
        }
        if temporary {
            postgres = postgres.remove_on_drop();
            kafka = kafka.map(Kafka::remove_on_drop);
        }
        let servers = Servers { postgres, kafka };
        let mut out = std::io::stdout().lock();
        for (name, value) in servers.addresses() {
            writeln!(out, "{name}={value}")?;
        }
        out.flush()?;
        Ok(servers)
    }

    fn launch(&self, servers: &Servers) -> Launch {
        let mut launch = Launch::new(&self.command[0]).args(&self.command[1..]).when_orphaned("TERM");
        for (name, value) in servers.addresses() {
            launch = launch.env(name, value);
        }
        launch
    }
}

/// What runs.
struct Servers {
    postgres: Postgres,
    kafka: Option<Kafka>,
}

impl Servers {
    /// The variables that tests read.
    fn addresses(&self) -> Vec<(&'static str, String)> {
        let postgres = self.postgres.url("").trim_end_matches('/').to_owned();
        let mut addresses = vec![("SKALD_TEST_POSTGRES", postgres)];
        addresses.extend(self.kafka.as_ref().map(|kafka| ("SKALD_TEST_KAFKA", kafka.bootstrap_servers())));
        addresses
    }

    async fn stop(&mut self) -> skald_local::Result<()> {
        let kafka = async {
            match &mut self.kafka {
                Some(kafka) => kafka.stop().await,
                None => Ok(()),
            }
        };
        tokio::try_join!(self.postgres.stop(), kafka).map(|_| ())
    }
}

/// A folder for this run. What earlier runs left behind, because they were killed, is removed.
fn temporary() -> PathBuf {
    let temp = std::env::temp_dir();
    for entry in std::fs::read_dir(&temp).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix("skald-up-")?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    temp.join(format!("skald-up-{}", std::process::id()))
}

async fn ended(child: &Child) -> skald_local::Result<ExitStatus> {
    loop {
        if let Some(status) = child.wait_for(Duration::from_secs(3600)).await? {
            return Ok(status);
        }
    }
}

/// The command's own code; 128 and the signal's number when one ended it, as shells do.
fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
