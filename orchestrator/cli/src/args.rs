//! The command line: its words, options and help. Does nothing.

use clap::{Parser, Subcommand};

use crate::{bench, dev, serve};

/// A durable saga orchestrator: takes orders, moves each through its steps, undoes what was done when one fails.
#[derive(Debug, Parser)]
#[command(
    name = "skald",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Try it: everything in one process, with sample orders that can be watched
    Dev(dev::Args),
    /// Run one service, for production
    Serve(serve::Args),
    /// Measure: real servers, separate processes, a load generator, a verification at the end
    Bench(bench::Args),
}
