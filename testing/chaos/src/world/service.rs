//! One of our processes: killed, frozen, thawed and started again, always at the same address.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use skald_local::child::{Child, Launch, Signal, tail};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// From the start to "ready", on a busy machine that is under faults.
const READY: Duration = Duration::from_secs(120);
/// A soft stop: its own deadline is 20 s.
const STOP: Duration = Duration::from_secs(30);
/// One question.
const ASK: Duration = Duration::from_secs(3);

/// Which service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    Orchestrator,
    Inventory,
    Payment,
}

impl Who {
    pub(crate) const ALL: [Who; 3] = [Who::Orchestrator, Who::Inventory, Who::Payment];

    /// As on the command line, in topics and in commands.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Who::Orchestrator => "orchestrator",
            Who::Inventory => "inventory",
            Who::Payment => "payment",
        }
    }

    /// Its database.
    pub(crate) fn database(self) -> String {
        format!("skald_{}", self.name())
    }
}

/// A process.
#[derive(Debug)]
pub(crate) struct Service {
    /// Such as `payment-1`.
    pub(crate) name: String,
    launch: Launch,
    upgraded: Launch,
    child: Option<Child>,
    http: u16,
    log: PathBuf,
}

impl Service {
    /// Starts the first of two binaries.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn start(name: String, binaries: [Launch; 2], http: u16, folder: &Path) -> Result<Service> {
        let log = folder.join(format!("{name}.log"));
        let [launch, upgraded] = binaries.map(|launch| launch.log(&log));
        let child = Some(launch.spawn()?);
        Ok(Service { name, launch, upgraded, child, http, log })
    }

    /// From its next start on, the second binary.
    pub(crate) fn upgrade(&mut self) {
        self.launch = self.upgraded.clone();
    }

    /// SIGKILL; it is gone when this returns.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        if let Some(child) = self.child.take() {
            child.kill().await?;
        }
        Ok(())
    }

    /// SIGSTOP or SIGCONT.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        self.child.as_ref().map_or(Ok(()), |child| Ok(child.signal(signal)?))
    }

    /// SIGTERM; gives whether it ended by itself in time and with code 0.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) async fn stop(&mut self) -> Result<bool> {
        let Some(child) = self.child.take() else { return Ok(true) };
        child.signal(Signal::TERM)?;
        match child.wait_for(STOP).await? {
            Some(status) => Ok(status.success()),
            None => {
                child.kill().await?;
                Ok(false)
            }
        }
    }

    /// Starts it unless it runs.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn launch(&mut self) -> Result<()> {
        let runs = match &self.child {
            Some(child) => child.try_wait()?.is_none(),
            None => false,
        };
        if !runs {
            self.child = Some(self.launch.spawn()?);
        }
        Ok(())
    }

    /// How it ended though nobody told it to.
    pub(crate) fn ended(&self) -> Option<String> {
        let status = self.child.as_ref()?.try_wait().ok()??;
        Some(format!("{} ended by itself ({status}):\n{}", self.name, self.tail()))
    }

    /// The lines of its log that tell of a panic, over all its lives.
    pub(crate) fn panics(&self) -> Vec<String> {
        let text = tail(&self.log, usize::MAX);
        text.lines().filter(|line| line.contains("panicked at")).map(str::to_owned).collect()
    }

    /// The end of its log.
    pub(crate) fn tail(&self) -> String {
        tail(&self.log, 30)
    }

    /// Its http port.
    pub(crate) fn http(&self) -> u16 {
        self.http
    }
}

/// Waits until whoever is at this port takes work.
///
/// # Errors
/// It does not, for two minutes.
pub(crate) async fn ready(name: &str, http: u16) -> Result<()> {
    let end = Instant::now() + READY;
    loop {
        let said = get(http, "/health/ready").await;
        if matches!(said, Ok((200, _))) {
            return Ok(());
        }
        if Instant::now() > end {
            let said =
                said.map_or_else(|error| format!("{error:#}"), |(code, text)| format!("{code} {text}"));
            bail!("{name} takes no work after {} s: {said}", READY.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Status code and body of `GET path` on 127.0.0.1.
///
/// # Errors
/// Nobody answers, or not in HTTP.
pub(crate) async fn get(port: u16, path: &str) -> Result<(u16, String)> {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = tokio::time::timeout(ASK, ask).await.context("no answer over HTTP")??;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no HTTP status")?;
    Ok((code, body.to_owned()))
}
