//! Kafka itself on this machine: its jars, a formatted folder to copy, and the class archive that makes
//! starts fast. Made once below `.skald/kafka`, by one process at a time.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::config::{Config, TEMPLATE};
use super::{Jvm, LOG, ready};
use crate::child::{Child, Launch, Signal};
use crate::{Error, Result, free_port, place};

const POM: &str = include_str!("../../pom.xml");
/// Any 22 characters of the URL-safe alphabet that decode to 16 bytes.
const CLUSTER: &str = "c2thbGQtbG9jYWwta2Fma2";

const JAVA: Error = Error::Missing {
    program: "java (17 or later)",
    hint: "apt-get install -y --no-install-recommends default-jre-headless",
};
const MAVEN: Error = Error::Missing {
    program: "mvn (Maven, which fetches Kafka once)",
    hint: "apt-get install -y --no-install-recommends maven",
};

/// Where Kafka and what it needs lie.
#[derive(Debug, Clone)]
pub(super) struct Distribution {
    java: PathBuf,
    home: PathBuf,
    class_path: OsString,
    /// Stands for all that the archive depends on.
    key: String,
}

impl Distribution {
    /// Gives it, and makes what is missing.
    pub(super) async fn ready() -> Result<Self> {
        let java = java().ok_or(JAVA)?;
        let home = place::folder(&place::home().join("kafka"))?;
        let lock = lock(home.join("lock")).await?;
        fetch(&home).await?;
        let class_path = class_path(&home.join("lib"))?;
        let version = fs::canonicalize(&java).unwrap_or_else(|_| java.clone());
        let built = fs::metadata(&version).and_then(|meta| meta.modified()).ok();
        let key = place::digest((&class_path, &version, built, POM, TEMPLATE));
        let this = Self { java, home, class_path, key };
        if !this.formatted().is_dir() {
            this.format().await?;
        }
        if !this.archive().is_file() {
            this.make_archive().await?;
        }
        drop(lock);
        Ok(this)
    }

    /// A formatted data folder, to be copied.
    pub(super) fn formatted(&self) -> PathBuf {
        self.home.join(format!("formatted-{}", self.key))
    }

    /// The class archive; a Java machine that cannot use it ignores it.
    pub(super) fn archive(&self) -> PathBuf {
        self.home.join(format!("classes-{}.jsa", self.key))
    }

    /// Starts a broker on the data in `folder`, where its configuration and its log go, too.
    pub(super) fn launch(&self, config: &Config, jvm: Jvm, folder: &Path) -> Result<Child> {
        let archive = format!("-XX:SharedArchiveFile={}", self.archive().display());
        self.broker(config, jvm, &archive, folder)
    }

    fn broker(&self, config: &Config, jvm: Jvm, archive: &str, folder: &Path) -> Result<Child> {
        let log4j = config.write(folder)?;
        Launch::new(&self.java)
            .args(jvm.flags())
            .arg(archive)
            .arg(format!("-Dlog4j2.configurationFile={}", log4j.display()))
            .arg("-cp")
            .arg(&self.class_path)
            .arg("kafka.Kafka")
            .arg(folder.join("server.properties"))
            .log(folder.join(LOG))
            .spawn()
    }

    async fn format(&self) -> Result<()> {
        let work = self.workplace("format")?;
        Config::alone(1, 2).write(&work)?; // the ports are not kept
        Launch::new(&self.java)
            .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"])
            .arg(&self.class_path)
            .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c"])
            .arg(work.join("server.properties"))
            .log(work.join("format.log"))
            .run("formatting Kafka's folder", Duration::from_secs(60))
            .await?;
        fs::rename(work.join("data"), self.formatted())
            .map_err(Error::io("keeping Kafka's formatted folder"))?;
        place::remove(&work);
        Ok(())
    }

    /// Runs a broker once, to archive the classes that it loads. Without one, starts are slower: no error.
    async fn make_archive(&self) -> Result<()> {
        let work = self.workplace("archive")?;
        place::copy(&self.formatted(), &work.join("data"))?;
        let port = free_port()?;
        let config = Config::alone(port, free_port()?);
        let made = work.join("classes.jsa");
        let archive = format!("-XX:ArchiveClassesAtExit={}", made.display());
        let child = self.broker(&config, Jvm::FastStart, &archive, &work)?;
        ready::await_metadata(&format!("127.0.0.1:{port}"), config.node, &child, super::READY).await?;
        child.stop(Signal::TERM, Duration::from_secs(60)).await?;
        if fs::rename(&made, self.archive()).is_err() {
            tracing::warn!("this Java makes no class archive; Kafka starts a second slower");
            File::create(self.archive()).map_err(Error::io("noting that there is no class archive"))?;
        }
        place::remove(&work);
        Ok(())
    }

    /// An empty folder to work in.
    fn workplace(&self, name: &str) -> Result<PathBuf> {
        let work = self.home.join(format!("{name}.partial"));
        if work.exists() {
            fs::remove_dir_all(&work).map_err(Error::io(format!("removing {}", work.display())))?;
        }
        place::folder(&work)
    }
}

/// Copies the jars with Maven, unless they are there and come from this pom.
async fn fetch(home: &Path) -> Result<()> {
    let lib = home.join("lib");
    if fs::read_to_string(lib.join("pom.xml")).is_ok_and(|pom| pom == POM) {
        return Ok(());
    }
    let mvn = place::on_path("mvn").ok_or(MAVEN)?;
    let partial = home.join("lib.partial");
    for old in [&partial, &lib] {
        if old.exists() {
            fs::remove_dir_all(old).map_err(Error::io(format!("removing {}", old.display())))?;
        }
    }
    place::folder(&partial)?;
    let pom = home.join("pom.xml");
    fs::write(&pom, POM).map_err(Error::io(format!("writing {}", pom.display())))?;
    tracing::info!(folder = %lib.display(), "fetching Apache Kafka through Maven, once (46 MB)");
    Launch::new(mvn)
        .args(["-B", "-q", "-C", "-f"])
        .arg(&pom)
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", partial.display()))
        .log(home.join("maven.log"))
        .run("fetching Kafka with Maven", Duration::from_secs(900))
        .await?;
    fs::copy(&pom, partial.join("pom.xml"))
        .and_then(|_| fs::rename(&partial, &lib))
        .map_err(Error::io(format!("keeping Kafka's jars in {}", lib.display())))
}

/// Every jar by name, in one order: the class archive is only good for the same class path.
fn class_path(lib: &Path) -> Result<OsString> {
    let what = || format!("reading {}", lib.display());
    let mut jars = Vec::new();
    for entry in fs::read_dir(lib).map_err(Error::io(what()))? {
        let path = entry.map_err(Error::io(what()))?.path();
        if path.extension().is_some_and(|extension| extension == "jar") {
            jars.push(path);
        }
    }
    jars.sort();
    std::env::join_paths(jars).map_err(|e| Error::Io { what: what(), source: std::io::Error::other(e) })
}

fn java() -> Option<PathBuf> {
    let home = std::env::var_os("JAVA_HOME").map(|home| PathBuf::from(home).join("bin/java"));
    home.filter(|java| java.is_file()).or_else(|| place::on_path("java"))
}

/// Waits for the lock without holding up the runtime.
async fn lock(path: PathBuf) -> Result<File> {
    let what = format!("locking {}", path.display());
    tokio::task::spawn_blocking(move || {
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        file.lock()?;
        Ok(file)
    })
    .await
    .expect("locking a file does not panic")
    .map_err(Error::io(what))
}
