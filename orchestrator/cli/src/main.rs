//! The skald command: parses, builds, runs.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = skald_cli::Cli::parse();
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(skald_cli::run(cli)),
        Err(error) => {
            eprintln!("skald: cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}
