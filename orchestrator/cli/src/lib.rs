//! What the one binary is made of: services to run, a place to try them out, and a client of their gRPC APIs.
//!
//! A library only so that its own tests can look at what it prints.

mod args;
pub mod bench;
mod client;
pub mod dev;
pub mod exit;
pub mod orders;
pub mod output;
mod serve;
mod topics;

use std::process::ExitCode;

pub use args::Cli;
use args::Command;
use exit::Failure;

/// Runs what was asked for, tells what went wrong, and gives the exit code that `--help` documents.
pub async fn run(cli: Cli) -> ExitCode {
    let ended = match cli.command {
        Command::Dev(dev) => dev::run(dev).await.map(ExitCode::from),
        Command::Serve(serve) => serve::run(serve).await.map(ExitCode::from),
        Command::Bench(bench) => bench::run(bench).await.map_err(Failure::from),
    };
    match ended {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit.into()
        }
    }
}
