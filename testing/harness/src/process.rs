//! One of our real programs as a child process: its log in a file, killed when dropped, the log's end
//! printed when the test fails.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use skald_local::child::{Child, Launch, Signal, tail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{eventually, scratch};

/// How long [`Process::wait_ready`] waits.
const READY: Duration = Duration::from_secs(60);
/// How many lines of its log a failing test shows.
const TAIL: usize = 60;

/// The path of one of this workspace's programs, beside the running test's own: `binary("skald")`.
/// Cargo builds it for the tests of its own package; there, `env!("CARGO_BIN_EXE_skald")` does as well.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let found = test.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not built: cargo build --workspace --bins"))
}

/// A command line that becomes a [`Process`].
#[derive(Debug, Clone)]
pub struct ProcessBuilder {
    name: String,
    launch: Launch,
}

impl ProcessBuilder {
    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.launch = self.launch.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.launch = self.launch.args(args);
        self
    }

    /// Sets a variable of its environment, beside those that it inherits.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.launch = self.launch.env(key, value);
        self
    }

    /// Starts it in this folder.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.launch = self.launch.dir(dir);
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When that is not possible.
    #[must_use]
    pub fn spawn(self) -> Process {
        let log = scratch("process").join(format!("{}.log", self.name));
        let child = self.launch.log(&log).spawn().unwrap_or_else(|error| panic!("{}: {error}", self.name));
        Process { name: self.name, child, log }
    }
}

/// One of our programs, running. It dies with the test process, however that ends.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// A program that is to be started; `name` stands in messages.
    pub fn builder(name: impl Into<String>, program: impl AsRef<Path>) -> ProcessBuilder {
        ProcessBuilder { name: name.into(), launch: Launch::new(program.as_ref()) }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Everything that it wrote so far, standard output and error together.
    #[must_use]
    pub fn log(&self) -> String {
        tail(&self.log, usize::MAX)
    }

    /// The file that [`Process::log`] reads.
    #[must_use]
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// Waits until this http address answers 200, at most 30 s.
    ///
    /// # Panics
    /// When it does not, or when the process ends before.
    pub async fn wait_ready(&self, url: &str) {
        eventually(&format!("{} to be ready at {url}", self.name), READY, async || {
            if let Some(status) = self.status() {
                panic!("{} ended before it was ready: {status}", self.name);
            }
            match http_status(url).await {
                Ok(200) => Ok(()),
                Ok(other) => Err(format!("status {other}")),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
    }

    /// How it ended; `None` while it runs.
    ///
    /// # Panics
    /// When the system refuses to tell.
    #[must_use]
    pub fn status(&self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// Asks it to stop: SIGTERM.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn sigterm(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends any signal: STOP and CONT freeze and thaw it.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn signal(&self, signal: Signal) {
        self.child.signal(signal).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Panics
    /// When the system refuses.
    pub async fn kill9(&self) {
        self.child.kill().await.unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// Waits until it ended by itself.
    ///
    /// # Panics
    /// When it still runs after `limit`.
    pub async fn wait(&self, limit: Duration) -> ExitStatus {
        let status =
            self.child.wait_for(limit).await.unwrap_or_else(|error| panic!("{}: {error}", self.name));
        status.unwrap_or_else(|| panic!("{} still runs after {limit:?}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let text = tail(&self.log, TAIL);
            eprintln!("---- the end of {}'s log ({}) ----\n{text}\n----", self.name, self.log.display());
        }
        // `Child` kills and reaps.
    }
}

/// The status code that a plain `http://host:port/path` answers.
///
/// # Errors
/// When nobody answers, or not in HTTP.
pub async fn http_status(url: &str) -> std::io::Result<u16> {
    let bad = |text: &str| std::io::Error::other(format!("{text}: {url}"));
    let rest = url.strip_prefix("http://").ok_or_else(|| bad("not an http address"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let ask = async {
        let mut stream = TcpStream::connect(host).await?;
        stream
            .write_all(
                format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes(),
            )
            .await?;
        let mut start = [0; 12]; // "HTTP/1.1 200"
        stream.read_exact(&mut start).await?;
        std::str::from_utf8(&start[9..])
            .ok()
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| bad("no HTTP answer"))
    };
    tokio::time::timeout(Duration::from_secs(5), ask).await.map_err(|_| bad("no answer in 5 s"))?
}
