//! Orchestrator, inventory and payment: each a process of its own, as in production, with a log file.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use skald_local::child::{Child, Launch, Signal, tail};
use skald_local::free_port;

use super::Setting;
use super::servers::Servers;
use super::usage::Who;
use super::web::{self, Metrics};

/// Who runs.
pub(super) const NAMES: [&str; 3] = ["orchestrator", "inventory", "payment"];
/// From the start to "ready": migrations, partitions, topics.
const READY: Duration = Duration::from_secs(60);
/// A soft stop.
const STOP: Duration = Duration::from_secs(25);
/// Lines of a log that are shown when something went wrong.
const TAIL: usize = 25;

/// One process.
#[derive(Debug)]
struct Service {
    name: &'static str,
    child: Child,
    grpc: u16,
    http: u16,
    log: PathBuf,
}

/// The three of them. Dropping them kills them.
#[derive(Debug)]
pub(super) struct Services {
    all: Vec<Service>,
}

impl Services {
    /// Starts them and waits until each is ready.
    pub(super) async fn start(servers: &Servers, folder: &Path, settings: &[Setting]) -> Result<Self> {
        let mut services = Self { all: Vec::new() };
        for name in NAMES {
            let own: Vec<&Setting> = settings.iter().filter(|s| s.service == name).collect();
            services.all.push(launch(servers, folder, name, &own)?);
        }
        let end = Instant::now() + READY;
        for service in &services.all {
            while !matches!(web::get(service.http, "/health/ready").await, Ok((200, _))) {
                services.check()?;
                if Instant::now() >= end {
                    bail!("{} is not ready after {} s\n{}", service.name, READY.as_secs(), service.tail());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(services)
    }

    /// The gRPC port of a service.
    pub(super) fn port(&self, name: &str) -> Result<u16> {
        let service = self.all.iter().find(|service| service.name == name);
        Ok(service.with_context(|| format!("{name} does not run"))?.grpc)
    }

    /// Whose cost is measured.
    pub(super) fn processes(&self) -> Vec<(String, Who)> {
        self.all.iter().map(|s| (s.name.to_owned(), Who::One(s.child.pid()))).collect()
    }

    /// Fails when one of them has ended, with the end of its log.
    pub(super) fn check(&self) -> Result<()> {
        for service in &self.all {
            if let Some(status) = service.child.try_wait()? {
                bail!("{} ended ({status}):\n{}", service.name, service.tail());
            }
        }
        Ok(())
    }

    /// What each has counted so far.
    pub(super) async fn metrics(&self) -> Result<Vec<(&'static str, Metrics)>> {
        let mut all = Vec::new();
        for service in &self.all {
            let (_, text) = web::get(service.http, "/metrics").await?;
            all.push((service.name, Metrics::parse(&text)));
        }
        Ok(all)
    }

    /// The ends of all logs, for a person who wants to know what went wrong.
    pub(super) fn logs(&self) -> String {
        let part = |s: &Service| format!("---- {} ({})\n{}", s.name, s.log.display(), s.tail());
        self.all.iter().map(part).collect::<Vec<_>>().join("\n")
    }

    /// Stops them softly; one that takes too long is an error.
    pub(super) async fn stop(self) -> Result<()> {
        for service in &self.all {
            service.child.signal(Signal::TERM)?;
        }
        for service in &self.all {
            let status = service.child.wait_for(STOP).await?;
            let status = status.with_context(|| format!("{} does not stop", service.name))?;
            ensure!(status.success(), "{} stopped with {status}:\n{}", service.name, service.tail());
        }
        Ok(())
    }
}

impl Service {
    fn tail(&self) -> String {
        tail(&self.log, TAIL)
    }
}

fn launch(servers: &Servers, folder: &Path, name: &'static str, settings: &[&Setting]) -> Result<Service> {
    let (grpc, http) = (free_port()?, free_port()?);
    let log = folder.join(format!("{name}.log"));
    let kafka = &servers.client;
    let mut launch = Launch::new(std::env::current_exe().context("the path of this program")?)
        .args(["serve", name])
        .env("SKALD_POSTGRES__URL", servers.database_url(name))
        .env("SKALD_KAFKA__BOOTSTRAP_SERVERS", &kafka.bootstrap_servers)
        .env("SKALD_KAFKA__TOPIC_PREFIX", &kafka.topic_prefix)
        .env("SKALD_KAFKA__PARTITIONS", kafka.partitions.to_string())
        .env("SKALD_LISTEN__GRPC", format!("127.0.0.1:{grpc}"))
        .env("SKALD_LISTEN__HTTP", format!("127.0.0.1:{http}"))
        .log(&log);
    for setting in settings {
        launch = launch.env(&setting.variable, &setting.value);
    }
    Ok(Service { name, child: launch.spawn()?, grpc, http, log })
}
