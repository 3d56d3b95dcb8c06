//! What can go wrong when a native server is started, stopped or asked.

use std::path::PathBuf;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a native server is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program that is needed is not on this machine; `hint` is the command that brings it.
    #[error("{program} was not found on this machine; install it with: {hint}")]
    Missing {
        /// The program that was looked for.
        program: &'static str,
        /// A command line that installs it.
        hint: &'static str,
    },
    /// A program ran and failed, or ended before it was ready.
    #[error("{what} ({status})\n{log}")]
    Failed {
        /// What was attempted.
        what: String,
        /// How the program ended.
        status: String,
        /// The last lines that it wrote.
        log: String,
    },
    /// A server did not answer in time.
    #[error("{what} within {seconds} s\n{log}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long, in seconds.
        seconds: u64,
        /// The last lines that the server wrote.
        log: String,
    },
    /// Another process serves this folder.
    #[error("{folder} is in use by process {pid}; stop that one first, or choose another folder")]
    InUse {
        /// The data folder.
        folder: PathBuf,
        /// The process that holds it.
        pid: u32,
    },
    /// Someone else listens on the port that was asked for.
    #[error("port {0} on 127.0.0.1 is taken by another process")]
    PortTaken(u16),
    /// No port below 32768 was free.
    #[error("no free port between {from} and {to} on 127.0.0.1")]
    NoPort {
        /// The first port tried.
        from: u16,
        /// The last port tried.
        to: u16,
    },
    /// A name that cannot be a database's.
    #[error("`{0}` is no database name: use lower-case letters, digits and _, at most 63, a letter first")]
    Name(String),
    /// The file system or a process refused.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted, with the path.
        what: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// PostgreSQL refused a statement.
    #[error("PostgreSQL: {0}")]
    Postgres(#[from] sqlx::Error),
    /// Kafka refused a request.
    #[error("Kafka: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
}

impl Error {
    /// Wraps an I/O error with what was attempted.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
