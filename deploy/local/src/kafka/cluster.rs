//! Three Kafka nodes (KRaft, each broker and controller) that tests and the chaos tool break: killed, halted,
//! cut off from clients and from each other, started again.
//!
//! Every connection has a listener of its own, so that a proxy can stand in its way: one for each group of
//! clients that the caller names, one for tools that no proxy touches, and for each node one by which it
//! reaches the others as a broker and one as a voter. Ports are known before anything starts.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::config::{Config, Copies, Listener};
use super::distribution::Distribution;
use super::{Jvm, LOG, READY, STOP, admin, ready};
use crate::child::{Child, Signal};
use crate::port::wait_free;
use crate::{Error, Result, free_port, place};

/// The listener that no proxy stands before.
const DIRECT: &str = "DIRECT";

/// How a cluster is to run.
#[derive(Debug, Clone, Default)]
pub struct ClusterOptions {
    /// The folder for the nodes' folders; made when absent, kept otherwise.
    pub dir: PathBuf,
    /// Names of the clients' listeners.
    pub listeners: Vec<String>,
    /// Settings as in `server.properties`, for every node; they win over ours.
    pub settings: Vec<(String, String)>,
}

impl ClusterOptions {
    /// Three nodes below this folder, with a direct listener and those by which they reach each other.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), ..Self::default() }
    }

    /// Adds a listener for clients, by a name of capital letters, digits and `_`.
    #[must_use]
    pub fn listener(mut self, name: impl Into<String>) -> Self {
        self.listeners.push(name.into());
        self
    }

    /// Adds one setting.
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }
}

/// Three nodes, numbered 1 to 3. Replication is 3 and two replicas acknowledge. Dropping it kills them;
/// [`Cluster::stop_all`] ends them cleanly. If this process dies, the kernel kills them.
///
/// Methods that take a node or a listener panic when there is none of that number or name.
#[derive(Debug)]
pub struct Cluster {
    distribution: Distribution,
    folder: PathBuf,
    clients: Vec<String>,
    settings: Vec<(String, String)>,
    ports: BTreeMap<(String, u8), Port>,
    children: BTreeMap<u8, Child>,
    remove: bool,
}

/// Where a listener is, and where it says that it is.
#[derive(Debug, Clone, Copy)]
struct Port {
    real: u16,
    advertised: u16,
}

impl Cluster {
    /// Their numbers.
    pub const NODES: [u8; 3] = [1, 2, 3];

    /// Reserves every port, makes the folders and, as [`crate::Kafka::start`] does, fetches Kafka when it is
    /// not there. Nothing listens yet: this is the moment to set up proxies and to
    /// [`advertise`](Cluster::advertise) their ports.
    ///
    /// # Errors
    /// [`Error::Missing`] without Java or Maven, [`Error::NoPort`], [`Error::Io`].
    ///
    /// # Panics
    /// When two listeners have one name.
    pub async fn prepare(options: ClusterOptions) -> Result<Self> {
        let distribution = Distribution::ready().await?;
        let folder = place::folder(&options.dir)?;
        let mut ports = BTreeMap::new();
        let between = Self::NODES.iter().flat_map(|&from| [Self::replication(from), Self::quorum(from)]);
        for name in [DIRECT.to_owned()].into_iter().chain(between).chain(options.listeners.iter().cloned()) {
            for node in Self::NODES {
                let real = free_port()?;
                let before = ports.insert((name.clone(), node), Port { real, advertised: real });
                assert!(before.is_none(), "two listeners are called {name}");
            }
        }
        for node in Self::NODES {
            let data = folder.join(format!("node-{node}")).join("data");
            if !data.join("meta.properties").is_file() {
                place::copy(&distribution.formatted(), &data)?;
                rename_node(&data, node)?;
            }
        }
        Ok(Self {
            distribution,
            folder,
            clients: options.listeners,
            settings: options.settings,
            ports,
            children: BTreeMap::new(),
            remove: false,
        })
    }

    /// The listener by which this node reaches other brokers: to replicate from them.
    #[must_use]
    pub fn replication(from: u8) -> String {
        format!("BROKER{from}")
    }

    /// The listener by which this node reaches other controllers: votes, metadata and heartbeats.
    #[must_use]
    pub fn quorum(from: u8) -> String {
        format!("CONTROLLER{from}")
    }

    /// The port on 127.0.0.1 where this node really listens; it stays the same over restarts.
    #[must_use]
    pub fn port(&self, listener: &str, node: u8) -> u16 {
        self.at(listener, node).real
    }

    /// Lets a node tell those who use this listener to connect to this port of 127.0.0.1, a proxy's, instead of
    /// its own. Holds from the next start of every node on: voters are told to each other by configuration.
    /// What a node connects to at itself is better left without a proxy.
    pub fn advertise(&mut self, listener: &str, node: u8, port: u16) {
        self.ports
            .get_mut(&(listener.to_owned(), node))
            .unwrap_or_else(|| panic!("node {node} has no listener {listener}"))
            .advertised = port;
    }

    /// What clients of this listener connect to: the advertised addresses of all nodes.
    #[must_use]
    pub fn bootstrap(&self, listener: &str) -> String {
        let addresses = Self::NODES.map(|node| format!("127.0.0.1:{}", self.at(listener, node).advertised));
        addresses.join(",")
    }

    /// What tools connect to: no proxy stands before it.
    #[must_use]
    pub fn direct(&self) -> String {
        self.bootstrap(DIRECT)
    }

    /// The node's process id; 0 while it is stopped.
    #[must_use]
    pub fn pid(&self, node: u8) -> u32 {
        self.children.get(&node).map_or(0, Child::pid)
    }

    /// Whether the node's process is there: it was started, and did not end by itself.
    ///
    /// # Errors
    /// When the system refuses to tell.
    pub fn runs(&self, node: u8) -> Result<bool> {
        self.children.get(&node).map_or(Ok(false), |child| Ok(child.try_wait()?.is_none()))
    }

    /// The file that the node writes its log to.
    #[must_use]
    pub fn log(&self, node: u8) -> PathBuf {
        self.place(node).join(LOG)
    }

    /// Makes dropping it remove the folder: for tests.
    #[must_use]
    pub fn remove_on_drop(mut self) -> Self {
        self.remove = true;
        self
    }

    /// Starts every node that does not run, and returns when each of them answers as a live broker.
    ///
    /// # Errors
    /// [`Error::PortTaken`], [`Error::Failed`] and [`Error::Timeout`] with the log's last lines.
    pub async fn start(&mut self) -> Result<()> {
        for node in Self::NODES {
            self.spawn(node).await?;
        }
        let [one, two, three] = Self::NODES.map(|node| self.await_ready(node, READY));
        tokio::try_join!(one, two, three)?;
        Ok(())
    }

    /// Starts a node and returns when it answers as a live broker. With the two others down it never does:
    /// use [`Cluster::spawn`] then.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub async fn launch(&mut self, node: u8) -> Result<()> {
        self.spawn(node).await?;
        self.await_ready(node, READY).await
    }

    /// Starts a node's process, unless it runs, and waits for nothing.
    ///
    /// # Errors
    /// [`Error::PortTaken`] when someone else listens on one of its ports; when the system refuses.
    pub async fn spawn(&mut self, node: u8) -> Result<()> {
        if self.runs(node)? {
            return Ok(());
        }
        for ((_, owner), port) in &self.ports {
            if *owner == node {
                wait_free(port.real).await?;
            }
        }
        let child = self.distribution.launch(&self.config(node), Jvm::FastStart, &self.place(node))?;
        tracing::debug!(node, pid = child.pid(), "Kafka node started");
        self.children.insert(node, child);
        Ok(())
    }

    /// Waits until a node that was started answers as a live broker.
    ///
    /// # Errors
    /// [`Error::Failed`] when it ended or is stopped, [`Error::Timeout`] after `limit`.
    pub async fn await_ready(&self, node: u8, limit: Duration) -> Result<()> {
        let address = self.address(node);
        let Some(child) = self.children.get(&node) else {
            let what = format!("Kafka node {node} at {address} is not started");
            return Err(Error::Failed { what, status: "stopped".into(), log: String::new() });
        };
        ready::await_metadata(&address, node, child, limit).await
    }

    /// Sends the node a signal: `STOP` halts it, `CONT` lets it go on.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn signal(&self, node: u8, signal: Signal) -> Result<()> {
        self.children.get(&node).map_or(Ok(()), |child| child.signal(signal))
    }

    /// SIGKILL. Returns when it is gone and reaped, so that a restart can follow. When all three were killed,
    /// partitions come back when all three are back: Kafka trusts no log that was not closed while another
    /// may have more.
    ///
    /// # Errors
    /// When the system refuses the signal.
    pub async fn kill(&mut self, node: u8) -> Result<()> {
        match self.children.remove(&node) {
            Some(child) => child.kill().await,
            None => Ok(()),
        }
    }

    /// A controlled shutdown, killed when that takes longer than 20 s: so with no other node running, for
    /// there is no quorum to tell. A halted node goes on to be stopped.
    ///
    /// # Errors
    /// When the system refuses the signal.
    pub async fn stop(&mut self, node: u8) -> Result<()> {
        match self.children.remove(&node) {
            Some(child) => {
                child.signal(Signal::TERM)?;
                child.stop(Signal::CONT, STOP).await // a halted one goes on, to hear the first signal
            }
            None => Ok(()),
        }
    }

    /// All at once, for the last of three that are stopped one after another never ends by itself; killed
    /// when that takes longer than 20 s.
    ///
    /// # Errors
    /// When the system refuses a signal.
    pub async fn stop_all(&mut self) -> Result<()> {
        let children = std::mem::take(&mut self.children);
        for child in children.values() {
            child.signal(Signal::TERM)?;
        }
        let end = Instant::now() + STOP;
        for child in children.values() {
            let left = end.saturating_duration_since(Instant::now());
            child.stop(Signal::CONT, left).await?; // a halted one goes on, to hear the first signal
        }
        Ok(())
    }

    /// Makes a topic with three replicas unless it exists.
    ///
    /// # Errors
    /// [`Error::Kafka`] when the brokers refuse: with fewer than three live nodes they do.
    pub async fn create_topic(&self, name: &str, partitions: i32) -> Result<()> {
        admin::create_topic(&self.direct(), name, partitions, copies()).await
    }

    /// Waits until every node says that every partition has three replicas in sync.
    ///
    /// # Errors
    /// [`Error::Timeout`] after `limit`, with the partitions that have not, or the nodes that do not answer.
    pub async fn wait_in_sync(&self, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            let servers = Self::NODES.map(|node| (node, self.address(node)));
            let lacking = tokio::task::spawn_blocking(move || {
                servers.iter().find_map(|(node, server)| {
                    match admin::out_of_sync(server, Self::NODES.len()) {
                        Ok(lacking) if lacking.is_empty() => None,
                        Ok(lacking) => Some(format!("node {node} says: {}", lacking.join("; "))),
                        Err(error) => Some(format!("node {node} does not answer: {error}")),
                    }
                })
            });
            match lacking.await.expect("asking for replicas does not panic") {
                None => return Ok(()),
                Some(log) if Instant::now() >= end => {
                    let what = "not all replicas were in sync".into();
                    return Err(Error::Timeout { what, seconds: limit.as_secs(), log });
                }
                Some(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    fn at(&self, listener: &str, node: u8) -> Port {
        let port = self.ports.get(&(listener.to_owned(), node));
        *port.unwrap_or_else(|| panic!("node {node} has no listener {listener}"))
    }

    /// One node's direct address.
    fn address(&self, node: u8) -> String {
        format!("127.0.0.1:{}", self.port(DIRECT, node))
    }

    fn place(&self, node: u8) -> PathBuf {
        self.folder.join(format!("node-{node}"))
    }

    fn config(&self, node: u8) -> Config {
        let listener = |name: String| {
            let Port { real, advertised } = self.at(&name, node);
            Listener { name, port: real, advertised }
        };
        let quorum = Self::quorum(node);
        let voters = Self::NODES.map(|other| (other, self.at(&quorum, other).advertised));
        // Its own name first: by that one it connects to the others.
        let others = Self::NODES.into_iter().filter(|&other| other != node).map(Self::quorum);
        Config {
            node,
            brokers: [DIRECT.to_owned()]
                .into_iter()
                .chain(Self::NODES.map(Self::replication))
                .chain(self.clients.iter().cloned())
                .map(listener)
                .collect(),
            between: Self::replication(node),
            controllers: [quorum].into_iter().chain(others).map(listener).collect(),
            voters: voters.to_vec(),
            copies: Copies::Three,
            settings: self.settings.clone(),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.children.clear(); // kills and reaps
        if self.remove {
            place::remove(&self.folder);
        }
    }
}

fn copies() -> i32 {
    i32::try_from(Cluster::NODES.len()).expect("three")
}

/// Makes a copy of a formatted folder this node's own: its number, and an id that no other folder has.
fn rename_node(data: &Path, node: u8) -> Result<()> {
    let file = data.join("meta.properties");
    let what = || format!("naming node {node} in {}", file.display());
    let text = fs::read_to_string(&file).map_err(Error::io(what()))?;
    let own = text.lines().map(|line| match line.split_once('=') {
        Some(("node.id", _)) => format!("node.id={node}\n"),
        // 22 characters of the URL-safe alphabet are the 16 bytes of an id.
        Some(("directory.id", _)) => format!("directory.id=skald-{node}-kafka-data-dig\n"),
        _ => format!("{line}\n"),
    });
    fs::write(&file, own.collect::<String>()).map_err(Error::io(what()))
}
