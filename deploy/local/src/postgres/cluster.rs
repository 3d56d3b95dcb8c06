//! The cluster's folder: where it lies, that its user can reach it, `initdb`, and who has it open.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::account::Account;
use super::binaries::Binaries;
use crate::child::{Launch, runs};
use crate::{Error, Result, place};

/// What a server that lost its parent needs for an immediate stop.
const DYING: Duration = Duration::from_secs(7);

/// The cluster itself, inside our folder.
pub(super) fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// Makes the folder ready and gives the one that is really used.
pub(super) async fn prepare(wanted: &Path, account: &Account, binaries: &Binaries) -> Result<PathBuf> {
    let folder = reachable(wanted, account)?;
    if !data(&folder).join("PG_VERSION").is_file() {
        initdb(&folder, account, binaries).await?;
    }
    Ok(folder)
}

/// The wanted folder, or its stand-in when the server's user cannot reach that.
fn reachable(wanted: &Path, account: &Account) -> Result<PathBuf> {
    let folder = place::folder(wanted)?;
    account.own(&folder)?;
    if account.reaches(&folder) {
        return Ok(folder);
    }
    let instead = place::folder(&place::stand_in(&folder))?;
    account.own(&instead)?;
    tracing::warn!(
        wanted = %folder.display(),
        used = %instead.display(),
        "PostgreSQL's user cannot reach the wanted folder; another one stands in for it"
    );
    Ok(instead)
}

/// Makes a cluster; it gets its name when it is complete, so that an interrupted one is not taken for one.
async fn initdb(folder: &Path, account: &Account, binaries: &Binaries) -> Result<()> {
    let partial = folder.join("data.partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(Error::io(format!("removing {}", partial.display())))?;
    }
    Launch::new(binaries.initdb())
        .through(account.wrapper())
        .log(folder.join("initdb.log"))
        .dir(folder)
        .arg("-D")
        .arg(&partial)
        .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"])
        .run("initdb", Duration::from_secs(120))
        .await?;
    let data = data(folder);
    fs::rename(&partial, &data).map_err(Error::io(format!("renaming {}", partial.display())))
}

/// Waits for a server that is just ending, and refuses a folder that another one serves.
pub(super) async fn wait_unused(folder: &Path) -> Result<()> {
    let end = Instant::now() + DYING;
    while let Some(pid) = served_by(folder) {
        if Instant::now() >= end {
            return Err(Error::InUse { folder: folder.to_owned(), pid });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// The postmaster that has the folder open, if it still runs.
fn served_by(folder: &Path) -> Option<u32> {
    let file = fs::read_to_string(data(folder).join("postmaster.pid")).ok()?;
    let pid = file.lines().next()?.trim().parse().ok()?;
    // After a crash the number may by now be another program's.
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    (runs(pid) && name.trim() == "postgres").then_some(pid)
}
