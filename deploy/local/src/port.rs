//! Free ports below 32768: above begin the ports that the system gives to outgoing connections, and a
//! readiness poll that connects there can connect to itself and block the server's bind.

use std::fs::{File, OpenOptions, create_dir_all};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::{Error, Result};

const FROM: u16 = 20_000;
const TO: u16 = 32_000;
/// How long a server of an earlier run may take to end.
const ENDING: Duration = Duration::from_secs(3);

/// Locks that keep other processes off the ports that we took; held until this process ends.
static TAKEN: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port on 127.0.0.1 that nobody listens on and that no other call, in this process or another of the
/// same user, gets while this process lives: a lock file per port keeps them apart.
///
/// # Errors
/// [`Error::NoPort`] when all are taken; [`Error::Io`] when the temp folder cannot be written.
pub fn free_port() -> Result<u16> {
    free_ports(&[0])
}

/// A base such that `base + offset` is free for each offset, and taken for us, all or none: see [`free_port`].
///
/// # Errors
/// As [`free_port`].
pub fn free_ports(offsets: &[u16]) -> Result<u16> {
    let user = rustix::process::getuid().as_raw();
    let folder = std::env::temp_dir().join(format!("skald-ports-{user}"));
    create_dir_all(&folder).map_err(Error::io(format!("creating {}", folder.display())))?;
    // Different processes begin at different places.
    let span = u32::from(TO - FROM);
    let start = std::process::id().wrapping_mul(97) % span;
    let mut taken = TAKEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for step in 0..span {
        let base = FROM + u16::try_from((start + step) % span).expect("the span fits");
        let files: Option<Vec<File>> = offsets.iter().map(|offset| take(&folder, base + offset)).collect();
        if let Some(files) = files {
            taken.extend(files);
            return Ok(base);
        }
    }
    Err(Error::NoPort { from: FROM, to: TO })
}

/// The lock on a port that nobody has. The lock first: it is the cheaper test for a port that one of ours took but does
/// not listen on yet.
fn take(folder: &Path, port: u16) -> Option<File> {
    let path = folder.join(port.to_string());
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).ok()?;
    (file.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok()).then_some(file)
}

/// Refuses a port that someone listens on: else *their* answer would be taken for that of our server. One
/// that is just ending gets a moment.
pub(crate) async fn wait_free(port: u16) -> Result<()> {
    let end = Instant::now() + ENDING;
    while TcpListener::bind(("127.0.0.1", port)).is_err() {
        if Instant::now() >= end {
            return Err(Error::PortTaken(port));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_distinct_and_low() {
        let ports: std::collections::BTreeSet<u16> = (0..50).map(|_| free_port().expect("a port")).collect();
        assert_eq!(ports.len(), 50);
        assert!(ports.iter().all(|port| *port < 32_768));
    }

    #[tokio::test]
    async fn a_taken_port_is_refused() {
        let port = free_port().expect("a port");
        wait_free(port).await.expect("free");
        let _listener = TcpListener::bind(("127.0.0.1", port)).expect("bound");
        assert!(matches!(wait_free(port).await, Err(Error::PortTaken(taken)) if taken == port));
    }
}
