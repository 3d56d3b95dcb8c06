//! A small disk of its own for PostgreSQL: an ext4 file system in a file. It can be filled to the last byte, and it can stall.
//! Only root can have one.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

/// Bytes; the file is sparse.
const SIZE: u64 = 6 << 30;
/// Left in the ballast's way: what a file system keeps for itself.
const STEP: u64 = 1 << 20;

/// A mounted file system; unmounted when dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    image: PathBuf,
    /// Where it is mounted.
    pub(crate) at: PathBuf,
}

impl Disk {
    /// Made and mounted.
    ///
    /// # Errors
    /// The machine does not allow it: not root, no loop device, no mkfs.
    pub(crate) async fn mount(folder: &Path) -> Result<Disk> {
        let (image, at) = (folder.join("disk.img"), folder.join("disk"));
        fs::create_dir_all(&at)?;
        File::create(&image)?.set_len(SIZE)?;
        // No blocks kept back for root: full is full for everybody.
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image)).await?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at)).await?;
        Ok(Disk { image, at })
    }

    /// Not one more byte fits; gives how many were free.
    ///
    /// # Errors
    /// It can't be written for another reason.
    pub(crate) async fn fill(&self) -> Result<u64> {
        let ballast = File::create(self.ballast())?;
        tokio::task::spawn_blocking(move || {
            let mut length = 0;
            for step in [256 * STEP, 16 * STEP, STEP, 4096] {
                loop {
                    use rustix::fs::{FallocateFlags, fallocate};
                    match fallocate(&ballast, FallocateFlags::empty(), length, step) {
                        Ok(()) => length += step,
                        Err(rustix::io::Errno::NOSPC) => break,
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            Ok(length)
        })
        .await?
    }

    /// There is room again.
    ///
    /// # Errors
    /// It can't be removed.
    pub(crate) fn clear(&self) -> Result<()> {
        match fs::remove_file(self.ballast()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// For so long no write comes to an end. Whoever dies meanwhile, it ends.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) async fn stall(&self, time: Duration) -> Result<()> {
        let script = "fsfreeze -f \"$1\" && sleep \"$2\"; fsfreeze -u \"$1\"";
        let seconds = format!("{:.3}", time.as_secs_f64());
        run(Command::new("sh").args(["-c", script, "stall"]).arg(&self.at).arg(seconds)).await
    }

    fn ballast(&self) -> PathBuf {
        self.at.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What PostgreSQL wrote about itself outlives its disk.
        let _ = fs::copy(self.at.join("postgres/postgres.log"), self.image.with_file_name("postgres.log"));
        // Lazily: a postmaster may be ending on it.
        let unmounted = std::process::Command::new("umount").arg("-l").arg(&self.at).status();
        if unmounted.is_ok_and(|status| status.success()) {
            let _ = fs::remove_file(&self.image);
        }
    }
}

async fn run(command: &mut Command) -> Result<()> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().await.with_context(|| name.clone())?;
    if !output.status.success() {
        bail!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
