//! Where `initdb` and `postgres` are, and how they get onto a Debian machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::child::Launch;
use crate::{Error, Result, place};

/// Where Debian and its kin put them, one folder per major version.
const DEBIAN: &str = "/usr/lib/postgresql";

const MISSING: Error = Error::Missing {
    program: "PostgreSQL (initdb, postgres)",
    hint: "apt-get install -y --no-install-recommends postgresql",
};

/// The folder of PostgreSQL's programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binaries(PathBuf);

impl Binaries {
    /// On `PATH`, else the highest version under Debian's folder.
    pub(crate) fn find() -> Result<Self> {
        place::on_path("postgres")
            .and_then(|postgres| postgres.canonicalize().ok())
            .and_then(|postgres| Self::complete(postgres.parent()?))
            .or_else(|| Self::highest(Path::new(DEBIAN)))
            .ok_or(MISSING)
    }

    fn highest(folder: &Path) -> Option<Self> {
        std::fs::read_dir(folder)
            .ok()?
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let version: u32 = entry.file_name().to_str()?.parse().ok()?;
                Some((version, Self::complete(&entry.path().join("bin"))?))
            })
            .max_by_key(|(version, _)| *version)
            .map(|(_, found)| found)
    }

    fn complete(folder: &Path) -> Option<Self> {
        let has = |program| folder.join(program).is_file();
        (has("initdb") && has("postgres")).then(|| Self(folder.to_owned()))
    }

    pub(crate) fn postgres(&self) -> PathBuf {
        self.0.join("postgres")
    }

    pub(crate) fn initdb(&self) -> PathBuf {
        self.0.join("initdb")
    }
}

/// Installs Debian's package when PostgreSQL is missing; nothing to do otherwise. Needs root, or `sudo`.
/// What is run, and why, goes to `say`.
///
/// Debian's package creates a cluster of its own; it is not ours and is never touched.
///
/// # Errors
/// [`Error::Missing`] with the command to run by hand when there is no `apt-get`, or neither root nor
/// `sudo`; [`Error::Failed`] when the installation fails.
pub async fn install(mut say: impl FnMut(&str)) -> Result<()> {
    if Binaries::find().is_ok() {
        return Ok(());
    }
    let sudo = (!rustix::process::geteuid().is_root()).then_some("sudo");
    if place::on_path("apt-get").is_none() || sudo.is_some_and(|sudo| place::on_path(sudo).is_none()) {
        return Err(MISSING);
    }
    say(
        "installing the package postgresql with apt-get: the private cluster of `skald dev` needs its programs",
    );
    let apt = |args: &[&str]| {
        let mut line: Vec<&str> = sudo.into_iter().chain(["apt-get"]).collect();
        line.extend(args);
        Launch::new(line[0]).args(&line[1..]).env("DEBIAN_FRONTEND", "noninteractive")
    };
    let install = apt(&["install", "-y", "-qq", "--no-install-recommends", "postgresql"]);
    let limit = Duration::from_secs(600);
    if install.run("apt-get install postgresql", limit).await.is_err() {
        say("that failed; reading the list of packages and trying once more");
        apt(&["update", "-qq"]).run("apt-get update", limit).await?;
        install.run("apt-get install postgresql", limit).await?;
    }
    Binaries::find().map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_highest_complete_version() {
        let folder = std::env::temp_dir().join(format!("skald-binaries-{}", std::process::id()));
        for (version, programs) in
            [("9", &["initdb", "postgres"][..]), ("15", &["initdb", "postgres"]), ("17", &["initdb"])]
        {
            let bin = folder.join(version).join("bin");
            std::fs::create_dir_all(&bin).expect("a folder");
            for program in programs {
                std::fs::write(bin.join(program), "").expect("a file");
            }
        }
        assert_eq!(Binaries::highest(&folder), Some(Binaries(folder.join("15/bin"))));
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
