//! A real Apache Kafka (KRaft, one node that is broker and controller): started, stopped, killed and
//! started again. Three of them are a [`Cluster`].

mod admin;
mod cluster;
mod config;
mod distribution;
mod ready;

use std::path::PathBuf;
use std::time::Duration;

pub use cluster::{Cluster, ClusterOptions};
pub use config::kafka_settings;
pub use ready::await_kafka;

use crate::child::{Child, Signal};
use crate::port::wait_free;
use crate::{Result, free_port, place};
use config::Config;
use distribution::Distribution;

/// From the start to the first metadata answer, recovery of the logs included.
const READY: Duration = Duration::from_secs(120);
/// How long a controlled shutdown may take.
const STOP: Duration = Duration::from_secs(20);
/// Where a broker's output goes, in its folder.
const LOG: &str = "kafka.log";

/// What the Java machine is tuned for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Jvm {
    /// Up in about a second, 170 MB resident: tests, `skald dev`.
    #[default]
    FastStart,
    /// The optimising compiler and a larger heap: benchmarks. Cold for its first seconds: warm it up.
    Throughput,
}

impl Jvm {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::FastStart => {
                &["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]
            }
            Self::Throughput => &["-Xms512m", "-Xmx512m", "-XX:+UseParallelGC", "-XX:-UsePerfData"],
        }
    }
}

/// How a native Kafka is to run.
#[derive(Debug, Clone, Default)]
pub struct KafkaOptions {
    /// The folder for its logs (the data), configuration and `kafka.log`; made when absent, kept otherwise.
    pub dir: PathBuf,
    /// The clients' port on 127.0.0.1; `None` takes a free one below 32768.
    pub port: Option<u16>,
    /// What the Java machine is tuned for.
    pub jvm: Jvm,
}

impl KafkaOptions {
    /// A broker in this folder, on a free port, tuned for a fast start.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), ..Self::default() }
    }

    /// Listens on this port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Tunes the Java machine.
    #[must_use]
    pub fn jvm(mut self, jvm: Jvm) -> Self {
        self.jvm = jvm;
        self
    }
}

/// A native Kafka. Dropping it kills it; [`Kafka::stop`] ends it cleanly. If this process dies, the kernel
/// kills it.
#[derive(Debug)]
pub struct Kafka {
    distribution: Distribution,
    folder: PathBuf,
    port: u16,
    controller_port: u16,
    jvm: Jvm,
    child: Option<Child>,
    remove: bool,
}

impl Kafka {
    /// Fetches Kafka into `.skald/kafka` when it is not there yet (once, 46 MB through Maven), formats the
    /// folder when it is new, starts the broker, and returns when it answers with itself as a live broker.
    /// Topics are not made by merely naming them.
    ///
    /// # Errors
    /// [`Error::Missing`] without Java or Maven, [`Error::Failed`] and [`Error::Timeout`] with the log's last
    /// lines.
    pub async fn start(options: KafkaOptions) -> Result<Self> {
        let distribution = Distribution::ready().await?;
        let folder = place::folder(&options.dir)?;
        let data = folder.join("data");
        if !data.join("meta.properties").is_file() {
            place::copy(&distribution.formatted(), &data)?;
        }
        let port = options.port.map_or_else(free_port, Ok)?;
        let controller_port = free_port()?;
        let mut server = Self {
            distribution,
            folder,
            port,
            controller_port,
            jvm: options.jvm,
            child: None,
            remove: false,
        };
        server.launch().await?;
        Ok(server)
    }

    /// What clients connect to.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The clients' port on 127.0.0.1; it stays the same over restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The broker's process id; 0 while stopped.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::pid)
    }

    /// The file that the broker writes its log to.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join(LOG)
    }

    /// Makes dropping it remove the folder: for tests.
    #[must_use]
    pub fn remove_on_drop(mut self) -> Self {
        self.remove = true;
        self
    }

    /// A controlled shutdown (SIGTERM), killed when that takes longer than 20 s. No error when it is already
    /// stopped.
    ///
    /// # Errors
    /// When the system refuses the signal.
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(child) = self.child.take() {
            child.stop(Signal::TERM, STOP).await?;
        }
        Ok(())
    }

    /// SIGKILL. Returns when it is gone and reaped, so that a restart can follow.
    ///
    /// # Errors
    /// When the system refuses the signal.
    pub async fn kill(&mut self) -> Result<()> {
        if let Some(child) = self.child.take() {
            child.kill().await?;
        }
        Ok(())
    }

    /// Starts it again on the same folder and port, after a clean stop if it still runs.
    ///
    /// # Errors
    /// As [`Kafka::start`].
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        self.launch().await
    }

    /// Makes a topic unless it exists.
    ///
    /// # Errors
    /// [`Error::Kafka`] when the broker refuses.
    pub async fn create_topic(&self, name: &str, partitions: i32) -> Result<()> {
        admin::create_topic(&self.bootstrap_servers(), name, partitions, 1).await
    }

    async fn launch(&mut self) -> Result<()> {
        wait_free(self.port).await?;
        let config = Config::alone(self.port, self.controller_port);
        let child = self.distribution.launch(&config, self.jvm, &self.folder)?;
        ready::await_metadata(&self.bootstrap_servers(), config.node, &child, READY).await?;
        tracing::debug!(pid = child.pid(), port = self.port, folder = %self.folder.display(), "Kafka answers");
        self.child = Some(child);
        Ok(())
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.child = None; // kills and reaps
        if self.remove {
            place::remove(&self.folder);
        }
    }
}
