//! What whoever is on call would ask: `skald audit` (stock and money, over all databases) and `skald replay verify` (each history
//! leads, row by row, to its digests and to the stored state).

use std::{path::Path, process::Stdio};

use anyhow::{Context as _, Result};
use tokio::process::Command;

use super::Findings;
use crate::world::{World, service::Who};

/// Of what a command says, the end is kept.
const LINES: usize = 40;

pub(super) async fn judge(world: &World, skald: &Path, findings: &mut Findings) -> Result<()> {
    let url = |who: Who| format!("--{}={}", who.name(), world.url(who));
    let audit = ["audit".to_owned()].into_iter().chain(Who::ALL.map(url)).collect();
    ask("audit", skald, audit, findings).await?;
    let from = world.url(Who::Orchestrator);
    ask("replay", skald, ["replay", "verify", "--from", &from].map(str::to_owned).to_vec(), findings).await
}

async fn ask(promise: &'static str, skald: &Path, args: Vec<String>, findings: &mut Findings) -> Result<()> {
    let name = format!("skald {}", if promise == "audit" { "audit" } else { "replay verify" });
    let mut command = Command::new(skald);
    let output = command.args(args).stdin(Stdio::null()).output().await.with_context(|| name.clone())?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = text.lines().collect();
    let said = lines[lines.len().saturating_sub(LINES)..].join("\n");
    findings.check(promise, output.status.success(), || format!("{name}: {}\n{said}", output.status));
    findings.commands.push(format!("{name}: {said}"));
    Ok(())
}
