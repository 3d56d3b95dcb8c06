//! Child processes that die with us, even when we are killed with SIGKILL, and without `unsafe`.
//!
//! `setpriv --pdeathsig` asks the kernel to signal the child when its parent *thread* ends. So every child
//! is started from one thread that lives as long as the process. The signal is set in the innermost
//! `exec`: a change of user resets it.

use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use crate::{Error, Result};

/// How often a child is looked at while something waits for it.
const POLL: Duration = Duration::from_millis(5);

type Request = (Command, Sender<io::Result<std::process::Child>>);

/// The one thread that is the parent of every child: it ends only with the process.
static SPAWNER: LazyLock<Sender<Request>> = LazyLock::new(|| {
    let (sender, receiver) = channel::<Request>();
    std::thread::Builder::new()
        .name("skald-children".into())
        .spawn(move || {
            for (mut command, answer) in receiver {
                // The asker may be gone; then the child is dropped and dies with the process.
                let _ = answer.send(command.spawn());
            }
        })
        .expect("a thread for child processes can be started");
    sender
});

/// A command line that will be started as a child which dies with us.
#[derive(Debug, Clone)]
pub struct Launch {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    wrapper: Vec<OsString>,
    log: Option<PathBuf>,
    dir: Option<PathBuf>,
    orphaned: &'static str,
    own_group: bool,
}

impl Launch {
    /// A program by name or path. It inherits our terminal and gets SIGKILL if we die.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            wrapper: Vec::new(),
            log: None,
            dir: None,
            orphaned: "KILL",
            own_group: false,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable of the child's environment, beside those that it inherits.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Starts the child in this folder.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Appends what the child writes to this file, gives it no input, and a process group of its own, so
    /// that Ctrl-C in the terminal reaches only us.
    #[must_use]
    pub fn log(mut self, file: impl Into<PathBuf>) -> Self {
        self.log = Some(file.into());
        self.own_group = true;
        self
    }

    /// Starts through another command that ends in `exec` (a change of user).
    #[must_use]
    pub fn through<A: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = A>) -> Self {
        self.wrapper = wrapper.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        self
    }

    /// The signal (a name such as `TERM`) that the child gets when we are gone; SIGKILL by default.
    #[must_use]
    pub fn when_orphaned(mut self, signal: &'static str) -> Self {
        self.orphaned = signal;
        self
    }

    /// The whole command line, as `exec` will see it.
    fn command(&self) -> io::Result<Command> {
        let mut line = self.wrapper.clone();
        line.extend(["setpriv", "--pdeathsig", self.orphaned, "--"].map(OsString::from));
        line.push(self.program.clone());
        line.extend(self.args.iter().cloned());
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).envs(self.env.iter().map(|(key, value)| (key, value)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        if let Some(log) = &self.log {
            let file = OpenOptions::new().create(true).append(true).open(log)?;
            command.stdin(Stdio::null()).stderr(file.try_clone()?).stdout(file);
        }
        if self.own_group {
            command.process_group(0);
        }
        Ok(command)
    }

    /// Starts the child.
    ///
    /// # Errors
    /// When `setpriv` is missing, the log file cannot be opened, or the system refuses. A missing program
    /// shows as a child that ends with code 127.
    pub fn spawn(&self) -> Result<Child> {
        let name = self.program.to_string_lossy().into_owned();
        let (answer, spawned) = channel();
        let command = self.command().map_err(Error::io(format!("preparing {name}")))?;
        SPAWNER.send((command, answer)).expect("the thread for child processes lives as long as the process");
        let child = spawned.recv().expect("the thread for child processes answers").map_err(|source| {
            if source.kind() == io::ErrorKind::NotFound && self.wrapper.is_empty() {
                Error::Missing {
                    program: "setpriv",
                    hint: "apt-get install -y --no-install-recommends util-linux",
                }
            } else {
                Error::Io { what: format!("starting {name}"), source }
            }
        })?;
        Ok(Child { pid: child.id(), log: self.log.clone(), name, inner: Mutex::new(child) })
    }

    /// Runs the child to its end and fails with the last lines of its log unless it ends with code 0.
    ///
    /// # Errors
    /// As [`Launch::spawn`]; [`Error::Failed`] with another code; [`Error::Timeout`] after `limit`, when the
    /// child was killed.
    pub async fn run(&self, what: &str, limit: Duration) -> Result<()> {
        let child = self.spawn()?;
        match child.wait_for(limit).await? {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(Error::Failed {
                what: format!("{what} failed"),
                status: status.to_string(),
                log: child.tail(),
            }),
            None => {
                child.kill().await?;
                Err(Error::Timeout {
                    what: format!("{what} did not end"),
                    seconds: limit.as_secs(),
                    log: child.tail(),
                })
            }
        }
    }
}

/// A child process. Dropping it kills it with SIGKILL and reaps it.
#[derive(Debug)]
pub struct Child {
    inner: Mutex<std::process::Child>,
    pid: u32,
    name: String,
    log: Option<PathBuf>,
}

impl Child {
    /// Its process id: that of the program itself, for every wrapper ends in `exec`.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it ended, and how. Reaps it.
    ///
    /// # Errors
    /// When the system refuses to tell.
    pub fn try_wait(&self) -> Result<Option<ExitStatus>> {
        self.lock().try_wait().map_err(Error::io(format!("asking for {}", self.name)))
    }

    /// Sends a signal, unless it already ended.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let mut inner = self.lock();
        // Under the lock and not yet reaped: the number cannot belong to another process.
        if inner.try_wait().map_err(Error::io(format!("asking for {}", self.name)))?.is_none() {
            send(self.pid, signal).map_err(Error::io(format!("signalling {}", self.name)))?;
        }
        Ok(())
    }

    /// Waits until it ended, at most so long. `None` when it still runs.
    ///
    /// # Errors
    /// When the system refuses to tell.
    pub async fn wait_for(&self, limit: Duration) -> Result<Option<ExitStatus>> {
        let end = Instant::now() + limit;
        loop {
            let status = self.try_wait()?;
            if status.is_some() || Instant::now() >= end {
                return Ok(status);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// SIGKILL, and waits until it is gone, so that no zombie remains.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)?;
        while self.try_wait()?.is_none() {
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// A polite signal, a bounded wait, then SIGKILL.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn stop(&self, polite: Signal, limit: Duration) -> Result<()> {
        self.signal(polite)?;
        if self.wait_for(limit).await?.is_none() {
            tracing::warn!(process = %self.name, pid = self.pid, seconds = limit.as_secs(), "did not stop in time, killed");
            self.kill().await?;
        }
        Ok(())
    }

    /// The last lines of its log.
    #[must_use]
    pub fn tail(&self) -> String {
        self.log.as_deref().map(|log| tail(log, 30)).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, std::process::Child> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let mut inner = self.lock();
        if let Ok(None) = inner.try_wait() {
            let _ = inner.kill();
            let _ = inner.wait();
        }
    }
}

/// Sends a signal to a process; one that is gone is no error.
pub(crate) fn send(pid: u32, signal: Signal) -> io::Result<()> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    match kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// State letter and parent of a process, from `/proc`. `None` when it is gone.
pub(crate) fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything: what counts comes after the last one.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// The children of a process, from `/proc`.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&pid| stat(pid).is_some_and(|(_, ppid)| ppid == parent))
        .collect()
}

/// Whether a process still runs: a zombie does not.
pub(crate) fn runs(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

/// The last lines of a file, or nothing when it cannot be read.
#[must_use]
pub fn tail(file: &Path, lines: usize) -> String {
    let text =
        std::fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
