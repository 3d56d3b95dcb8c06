//! `skald replay`: what was recorded, judged by this binary before it is deployed, or told once more. Reads the database,
//! and changes nothing in it.

mod database;
mod events;
mod export;
mod file;
mod progress;
pub mod scrub;
pub mod source;
mod verify;
pub mod view;
mod what_if;

use std::time::SystemTime;

use uuid::Uuid;

use crate::{
    exit::{Exit, Failure},
    output::{Format, text::point},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Fold every history to its digests, and try each possible next input on every active saga
    Verify(verify::Args),
    /// Write histories to a file that `verify` and `what-if` read
    Export(export::Args),
    /// Run the recorded inputs under another definition and show what would have ended otherwise
    WhatIf(what_if::Args),
    /// Publish domain events of a time range again, for a consumer that lost its data
    Events(Box<events::Args>),
}

/// Where the histories are.
#[derive(Debug, clap::Args)]
struct Origin {
    /// A database (postgres://…), which is only read, or a file of `skald replay export`
    #[arg(long = "from", value_name = "DSN|FILE")]
    from: String,
    /// Sagas that began since then: 2026-11-21, 2026-11-21T04:00:00Z, or an age such as 7d
    #[arg(long, value_name = "TIME", value_parser = since, default_value = "", hide_default_value = true)]
    since: Uuid,
}

impl Args {
    pub(crate) fn format(&self) -> Format {
        match &self.command {
            Command::Verify(args) => args.output,
            Command::WhatIf(args) => args.output,
            Command::Events(args) => args.output,
            Command::Export(_) => Format::Table,
        }
    }
}

pub(crate) async fn run(args: Args) -> Result<Exit, Failure> {
    match args.command {
        Command::Verify(args) => verify::run(args).await,
        Command::Export(args) => export::run(args).await,
        Command::WhatIf(args) => what_if::run(args).await,
        Command::Events(args) => events::run(*args).await,
    }
}

/// The lowest id of a saga that began then; the nil id for an empty text.
fn since(text: &str) -> Result<Uuid, String> {
    if text.is_empty() { Ok(Uuid::nil()) } else { time(text).map(skald_kit::ids::lower_bound) }
}

/// A time or an age, Unix milliseconds.
fn time(text: &str) -> Result<i64, String> {
    let at = point(text)?;
    Ok(at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64))
}
