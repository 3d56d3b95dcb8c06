//! A private PostgreSQL cluster: made when its folder is new, started, stopped, killed and started again.
//!
//! Durability is PostgreSQL's own: fsync stays on. It listens on 127.0.0.1 only and has no Unix socket.

mod account;
mod binaries;
mod cluster;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

pub use binaries::install as install_postgres;

use crate::child::{Child, Launch, Signal, children, runs, send};
use crate::port::wait_free;
use crate::{Error, Result, free_port, place};
use account::Account;
use binaries::Binaries;

/// From the start to the first answered query, recovery included.
const READY: Duration = Duration::from_secs(120);
/// How long a fast stop may take: it writes a checkpoint.
const STOP: Duration = Duration::from_secs(20);

/// How a private PostgreSQL is to run.
#[derive(Debug, Clone, Default)]
pub struct PostgresOptions {
    /// The folder for the cluster and its log; made when absent, kept when it holds a cluster.
    pub data_dir: PathBuf,
    /// The port on 127.0.0.1; `None` takes a free one below 32768.
    pub port: Option<u16>,
    /// Settings as in `postgresql.conf`, given on the command line.
    pub settings: Vec<(String, String)>,
}

impl PostgresOptions {
    /// A cluster in this folder, on a free port, with PostgreSQL's own settings.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), ..Self::default() }
    }

    /// Listens on this port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Adds one setting.
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }
}

/// A private PostgreSQL. Dropping it kills it (nothing that was committed is lost); [`Postgres::stop`] ends
/// it cleanly. If this process dies, it gets SIGQUIT from the kernel: an immediate stop.
#[derive(Debug)]
pub struct Postgres {
    binaries: Binaries,
    account: Account,
    folder: PathBuf,
    port: u16,
    settings: Vec<(String, String)>,
    child: Option<Child>,
    remove: bool,
}

impl Postgres {
    /// Makes the cluster when the folder is new, starts it, and returns when it answers a query.
    ///
    /// As root it runs as the user `postgres`, or without such an account in a user namespace. When that
    /// user cannot reach the folder (a checkout below a closed home), a folder in the system's temp folder
    /// stands in for it, always the same one; a log line says so.
    ///
    /// # Errors
    /// [`Error::Missing`] without PostgreSQL on this machine, [`Error::InUse`] when another server has the
    /// folder, [`Error::Failed`] and [`Error::Timeout`] with the log's last lines.
    pub async fn start(options: PostgresOptions) -> Result<Self> {
        let account = Account::detect();
        Self::start_as(options, account).await
    }

    async fn start_as(options: PostgresOptions, account: Account) -> Result<Self> {
        let binaries = Binaries::find()?;
        let folder = cluster::prepare(&options.data_dir, &account, &binaries).await?;
        let port = options.port.map_or_else(free_port, Ok)?;
        let mut server =
            Self { binaries, account, folder, port, settings: options.settings, child: None, remove: false };
        server.launch().await?;
        Ok(server)
    }

    /// The address of a database, for sqlx, psql and friends.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The port on 127.0.0.1; it stays the same over restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The postmaster's process id; 0 while stopped.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::pid)
    }

    /// The file that PostgreSQL writes its log to.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("postgres.log")
    }

    /// The folder that is really used: the wanted one, or its stand-in.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// Makes dropping it remove the folder: for tests.
    #[must_use]
    pub fn remove_on_drop(mut self) -> Self {
        self.remove = true;
        self
    }

    /// A clean stop: connections are cut, a checkpoint is written (SIGINT, "fast"). Killed when that takes
    /// longer than 20 s. No error when it is already stopped.
    ///
    /// # Errors
    /// When the system refuses the signal.
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(child) = &self.child {
            child.signal(Signal::INT)?;
            if child.wait_for(STOP).await?.is_none() {
                self.kill().await?;
            }
        }
        self.child = None;
        Ok(())
    }

    /// SIGKILL to the postmaster and all its processes at once, as a crash of the machine's service would
    /// be. Returns when they are gone and reaped, so that a restart can follow.
    ///
    /// # Errors
    /// When the system refuses a signal.
    pub async fn kill(&mut self) -> Result<()> {
        let Some(child) = self.child.take() else { return Ok(()) };
        let rest = slay(&child)?;
        child.kill().await?;
        while rest.iter().any(|pid| runs(*pid)) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Starts it again on the same folder and port, after a clean stop if it still runs. Returns when it
    /// answers a query.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        self.launch().await
    }

    /// Waits until it answers; one that has ended by itself (its disk was full) is started again.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub async fn revive(&mut self) -> Result<()> {
        if let Some(child) = &self.child
            && self.await_answer(child).await.is_ok()
        {
            return Ok(());
        }
        self.kill().await?;
        self.launch().await
    }

    /// Creates a database unless it exists.
    ///
    /// # Errors
    /// [`Error::Name`] for a name that would need quoting; [`Error::Postgres`] when PostgreSQL refuses.
    pub async fn create_database(&self, name: &str) -> Result<()> {
        let plain = name.len() <= 63
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !plain {
            return Err(Error::Name(name.to_owned()));
        }
        let mut connection = PgConnection::connect(&self.url("postgres")).await?;
        // The name was checked above: nothing in it needs quoting.
        let created =
            sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await;
        connection.close().await?;
        match created {
            Ok(_) => Ok(()),
            // 42P04: it exists; 23505: someone else was first by a hair.
            Err(sqlx::Error::Database(e)) if matches!(e.code().as_deref(), Some("42P04" | "23505")) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Starts the postmaster and waits for the first answer.
    async fn launch(&mut self) -> Result<()> {
        cluster::wait_unused(&self.folder).await?;
        wait_free(self.port).await?;
        let mut launch = Launch::new(self.binaries.postgres())
            .through(self.account.wrapper())
            .when_orphaned("QUIT")
            .log(self.log())
            .dir(&self.folder)
            .arg("-D")
            .arg(cluster::data(&self.folder))
            .args(["-p", &self.port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        for (name, value) in &self.settings {
            launch = launch.arg("-c").arg(format!("{name}={value}"));
        }
        let child = launch.spawn()?;
        self.await_answer(&child).await?;
        tracing::debug!(pid = child.pid(), port = self.port, folder = %self.folder.display(), "PostgreSQL answers");
        self.child = Some(child);
        Ok(())
    }

    /// Ready is an answered query: an open port is not, for recovery may still run.
    async fn await_answer(&self, child: &Child) -> Result<()> {
        let url = self.url("postgres");
        let end = Instant::now() + READY;
        loop {
            if let Some(status) = child.try_wait()? {
                let what = format!("PostgreSQL on port {} ended before it was ready", self.port);
                return Err(Error::Failed { what, status: status.to_string(), log: child.tail() });
            }
            let answer = async {
                let mut connection = PgConnection::connect(&url).await?;
                sqlx::query("SELECT 1").execute(&mut connection).await?;
                connection.close().await
            };
            if let Ok(Ok(())) = tokio::time::timeout(Duration::from_secs(5), answer).await {
                return Ok(());
            }
            if Instant::now() >= end {
                let what = format!("PostgreSQL on port {} answered no query", self.port);
                return Err(Error::Timeout { what, seconds: READY.as_secs(), log: child.tail() });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            let rest = slay(&child);
            drop(child);
            // A second is plenty for SIGKILL; a folder that is still written to would not go away.
            let end = Instant::now() + Duration::from_secs(1);
            while rest.iter().flatten().any(|pid| runs(*pid)) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        if self.remove {
            place::remove(&self.folder);
        }
    }
}

/// SIGKILL to a postmaster and its children; the children are returned, for they are not ours to wait for.
fn slay(child: &Child) -> Result<Vec<u32>> {
    // Stopped first, so that it starts nobody while we look.
    child.signal(Signal::STOP)?;
    let rest = children(child.pid());
    child.signal(Signal::KILL)?;
    for pid in &rest {
        send(*pid, Signal::KILL).map_err(Error::io("killing PostgreSQL's processes"))?;
    }
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The way of a root user on a machine without an account `postgres`.
    #[tokio::test]
    async fn runs_in_a_user_namespace() {
        if !rustix::process::geteuid().is_root() {
            return; // only root needs this way
        }
        let folder = std::env::temp_dir().join(format!("skald-unshare-{}", std::process::id()));
        let mut server = Postgres::start_as(PostgresOptions::new(folder), Account::Namespace)
            .await
            .expect("starts")
            .remove_on_drop();
        server.create_database("shop").await.expect("creates");
        server.create_database("shop").await.expect("creates twice");
        server.kill().await.expect("killed");
        server.restart().await.expect("starts again");
        server.stop().await.expect("stops");
    }

    #[tokio::test]
    async fn refuses_names_that_need_quoting() {
        let folder = std::env::temp_dir().join(format!("skald-names-{}", std::process::id()));
        let server = Postgres::start(PostgresOptions::new(folder)).await.expect("starts").remove_on_drop();
        for name in ["", "Shop", "1shop", "shop;drop", "a b"] {
            assert!(matches!(server.create_database(name).await, Err(Error::Name(_))), "{name}");
        }
    }
}
