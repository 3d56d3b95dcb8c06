//! Where things lie on the disk: the `.skald` folder, and stand-ins for folders that a server's user cannot reach.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf, absolute};

use crate::{Error, Result};

/// The folder for everything that is kept between runs: `SKALD_HOME` when set, else `.skald` in the nearest
/// folder upwards that holds a `Cargo.lock` (the checkout), else `.skald` here.
#[must_use]
pub fn home() -> PathBuf {
    if let Some(home) = std::env::var_os("SKALD_HOME") {
        return PathBuf::from(home);
    }
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let root = here.ancestors().find(|folder| folder.join("Cargo.lock").is_file()).unwrap_or(&here);
    root.join(".skald")
}

/// Creates a folder with its parents and gives its absolute path.
pub(crate) fn folder(path: &Path) -> Result<PathBuf> {
    let what = || format!("creating {}", path.display());
    fs::create_dir_all(path).map_err(Error::io(what()))?;
    absolute(path).map_err(Error::io(what()))
}

/// The stand-in below the system's temp folder for a folder that cannot be used: the same one each time.
pub(crate) fn stand_in(wanted: &Path) -> PathBuf {
    std::env::temp_dir().join(format!("skald-{}", digest(wanted)))
}

/// Sixteen hexadecimal digits that stand for a value. Names a folder of this machine, nothing more: not
/// stable across compilers.
pub(crate) fn digest(value: impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Copies a folder with all that it holds.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    let what = || format!("copying {} to {}", from.display(), to.display());
    fs::create_dir_all(to).map_err(Error::io(what()))?;
    for entry in fs::read_dir(from).map_err(Error::io(what()))? {
        let entry = entry.map_err(Error::io(what()))?;
        let target = to.join(entry.file_name());
        if entry.file_type().map_err(Error::io(what()))?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target).map_err(Error::io(what()))?;
        }
    }
    Ok(())
}

/// The first program of this name on `PATH`.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Removes a folder that nobody needs any more; what cannot be removed stays, with a log line.
pub(crate) fn remove(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder) {
        tracing::warn!(folder = %folder.display(), %error, "not removed");
    }
}
