//! Where `skald dev` lives: its folder, which one process has at a time, and its six ports.

use std::{
    fs::{self, File, TryLockError},
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use crate::exit::{Exit, Failure};

/// The first of the six, unless it is moved.
pub(super) const PORT_BASE: u16 = 7070;

/// The folder, locked until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) folder: PathBuf,
    _lock: File,
}

impl Place {
    /// Takes the folder.
    ///
    /// # Errors
    /// Another `skald dev` has it, or it can't be made.
    pub(super) fn take(folder: PathBuf) -> Result<Place, Failure> {
        let cannot = |error: std::io::Error| {
            Failure::new(Exit::Failed, format!("the folder {}: {error}", folder.display()))
                .advice("--data DIR names another one")
        };
        fs::create_dir_all(&folder).map_err(cannot)?;
        let path = folder.join("lock");
        let mut lock = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(cannot)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(taken(&folder, &path)),
            Err(TryLockError::Error(error)) => return Err(cannot(error)),
        }
        lock.set_len(0).and_then(|()| write!(lock, "{}", std::process::id())).map_err(cannot)?;
        Ok(Place { folder, _lock: lock })
    }
}

fn taken(folder: &Path, lock: &Path) -> Failure {
    let by = match fs::read_to_string(lock) {
        Ok(pid) if !pid.trim().is_empty() => format!(" (process {})", pid.trim()),
        _ => String::new(),
    };
    Failure::new(Exit::Refused, format!("another `skald dev`{by} runs on {}", folder.display()))
        .advice("use that one, stop it with Ctrl-C, or start beside it with --data DIR --port-base N")
}

/// Where a service listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) base: u16,
}

impl Ports {
    pub(super) fn orchestrator(self) -> (SocketAddr, SocketAddr) {
        self.pair(0)
    }

    pub(super) fn inventory(self) -> (SocketAddr, SocketAddr) {
        self.pair(10)
    }

    pub(super) fn payment(self) -> (SocketAddr, SocketAddr) {
        self.pair(20)
    }

    fn pair(self, offset: u16) -> (SocketAddr, SocketAddr) {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        (at(self.base + offset), at(self.base + offset + 1))
    }

    /// Says which ports someone else has.
    ///
    /// # Errors
    /// At least one.
    pub(super) fn check(self) -> Result<(), Failure> {
        let mut taken = Vec::new();
        for (name, (grpc, http)) in [
            ("orchestrator", self.orchestrator()),
            ("inventory", self.inventory()),
            ("payment", self.payment()),
        ] {
            for (what, address) in [("gRPC", grpc), ("HTTP", http)] {
                if let Err(error) = TcpListener::bind(address) {
                    taken.push((format!("port {}", address.port()), format!("for {name}'s {what}: {error}")));
                }
            }
        }
        if taken.is_empty() {
            return Ok(());
        }
        let mut failure = Failure::new(Exit::Failed, "ports that are needed are taken")
            .advice("stop what listens there, or move all six with --port-base N, such as --port-base 8070");
        failure.fields = taken;
        Err(failure)
    }
}
