//! What the one binary is made of: services to run, a place to try them out, and a client of their gRPC APIs.
//!
//! A library only so that its own tests can look at what it prints.

mod args;
pub mod audit;
pub mod bench;
pub mod client;
pub mod conformance;
pub mod definition;
pub mod dev;
pub mod exit;
mod migrate;
pub mod operator;
pub mod orders;
pub mod output;
pub mod payment;
pub mod replay;
pub mod sagas;
mod serve;
pub mod stock;
mod topics;

use std::process::ExitCode;

pub use args::Cli;
use args::Command;
use exit::Failure;
pub use migrate::with_database;
use output::Format;

/// Runs what was asked for, tells what went wrong, and gives the exit code that `--help` documents.
pub async fn run(cli: Cli) -> ExitCode {
    let format = cli.command.format();
    match dispatch(cli.command).await {
        Ok(code) => code,
        Err(failure) => {
            match format {
                Format::Table => {
                    eprintln!("{}", failure.text(output::style::colours(&std::io::stderr())));
                }
                Format::Json | Format::Jsonl => eprintln!("{}", failure.json()),
            }
            failure.exit.into()
        }
    }
}

async fn dispatch(command: Command) -> Result<ExitCode, Failure> {
    let exit = match command {
        Command::Dev(args) => dev::run(args).await?,
        Command::Serve(args) => serve::run(args).await?,
        Command::Order(args) => orders::run(args).await?,
        Command::Stock(args) => stock::run(args).await?,
        Command::Payment(args) => payment::run(args).await?,
        Command::Saga(args) => sagas::run(args).await?,
        Command::Attention(args) => operator::attention::run(args).await?,
        Command::Dlq(args) => operator::letters::run(args).await?,
        Command::Stats(args) => operator::stats::run(args).await?,
        Command::Bulk(args) => operator::bulk::run(args).await?,
        Command::Participant(args) => operator::participants::run(args).await?,
        Command::Audit(args) => audit::run(args).await?,
        Command::Replay(args) => replay::run(args).await?,
        Command::Definition(args) => definition::run(args).await?,
        Command::Conformance(args) => conformance::run(args).await?,
        Command::Migrate(args) => migrate::run(args).await?,
        Command::Topics(args) => topics::run(args).await?,
        Command::Bench(args) => return Ok(bench::run(args).await?),
    };
    Ok(exit.into())
}
