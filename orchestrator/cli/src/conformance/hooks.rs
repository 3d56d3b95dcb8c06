//! How the participant is killed and started again: by commands of the shell, or by the person at the terminal.

use std::io::Write as _;

use skald_conformance::{Doing, Hooks};
use tokio::process::Command;

#[derive(Debug, clap::Args)]
pub(super) struct Crash {
    /// A command that kills it in the middle, as kill -9 does, and returns when it is gone
    #[arg(long, value_name = "COMMAND", requires = "restart_hook", conflicts_with = "ask")]
    kill_hook: Option<String>,
    /// A command that starts it again, and returns
    #[arg(long, value_name = "COMMAND", requires = "kill_hook")]
    restart_hook: Option<String>,
    /// Ask the person at the terminal to kill and to start it
    #[arg(long)]
    ask: bool,
}

impl Crash {
    pub(super) fn hooks(&self) -> Hooks {
        match (&self.kill_hook, &self.restart_hook) {
            (Some(kill), Some(restart)) => {
                let (kill, restart) = (kill.clone(), restart.clone());
                Hooks::new(Box::new(move || shell(kill.clone())), Box::new(move || shell(restart.clone())))
            }
            _ if self.ask => {
                let kill = || asked("Kill the participant now (kill -9), then press Enter: ");
                let restart = || asked("Start it again, then press Enter: ");
                Hooks::new(Box::new(kill), Box::new(restart)).by_hand()
            }
            _ => Hooks::default(),
        }
    }
}

fn shell(command: String) -> Doing {
    Box::pin(async move {
        let status = Command::new("sh").arg("-c").arg(&command).status().await;
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("{command:?} ended with {status}")),
            Err(error) => Err(format!("{command:?}: {error}")),
        }
    })
}

fn asked(question: &'static str) -> Doing {
    Box::pin(async move {
        let answered = tokio::task::spawn_blocking(move || {
            // beside the report, which may go into a file
            let mut terminal = std::io::stderr().lock();
            write!(terminal, "{question}")?;
            terminal.flush()?;
            std::io::stdin().read_line(&mut String::new())
        });
        match answered.await {
            Ok(Ok(1..)) => Ok(()),
            Ok(Ok(0)) => Err("nobody is at the terminal".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    })
}
