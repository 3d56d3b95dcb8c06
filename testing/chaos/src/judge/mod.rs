//! The judge: when everything has been healed and has come to rest, what clients were told, what the databases hold and what the
//! gateway's books say is held against the promises. One file per kind of question; the services are asked nothing but to be ready.

mod budget;
mod commands;
mod leftovers;
mod lost;
mod money;

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{
    clients::Clients,
    watch::Seen,
    world::{World, service::Who},
};

/// Between two looks.
const POLL: Duration = Duration::from_millis(200);

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// All that is wrong, each with its promise.
    pub(crate) violations: Vec<(&'static str, String)>,
    /// How many orders ended how: `COMPLETED`, or the reason.
    pub(crate) ends: BTreeMap<String, usize>,
    /// What `skald audit` and `skald replay verify` said.
    pub(crate) commands: Vec<String>,
    /// Re-sendings into silence, and answers, over all lives that were seen.
    pub(crate) budget: (f64, f64),
}

impl Findings {
    fn check(&mut self, promise: &'static str, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.violations.push((promise, otherwise()));
        }
    }
}

/// Waits until no saga is under way, no call is open and every event is at the brokers; gives how long that took, or what is left when
/// `limit` is over.
///
/// # Errors
/// PostgreSQL does not answer.
pub(crate) async fn rest(world: &World, limit: Duration) -> Result<Result<Duration, String>> {
    let queries = [
        (Who::Orchestrator, "sagas under way", "select count(*) from public.saga where wake_at is not null"),
        (Who::Orchestrator, "events", "select count(*) from skald.outbox"),
        (Who::Inventory, "events", "select count(*) from skald.outbox"),
        (Who::Payment, "events", "select count(*) from skald.outbox"),
        (Who::Payment, "open calls", "select count(*) from skald.intent"),
    ];
    let begin = Instant::now();
    for (who, what, query) in queries {
        let mut conn = world.sql(who).await?;
        loop {
            let left: i64 = sqlx::query_scalar(query).fetch_one(&mut conn).await?;
            if left == 0 {
                break;
            }
            if begin.elapsed() > limit {
                return Ok(Err(format!("{left} {what} at {}", who.name())));
            }
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(Ok(begin.elapsed()))
}

/// Judges it all.
///
/// # Errors
/// Something can't be read.
pub(crate) async fn judge(world: &World, clients: &Clients, seen: &Seen, skald: &Path) -> Result<Findings> {
    let mut findings = Findings::default();
    for what in clients.complaints() {
        findings.violations.push(("served", what));
    }
    for how in &seen.ended {
        findings.violations.push(("resumes by itself", how.clone()));
    }
    let ledger = clients.ledger();
    let ended = lost::judge(world, &ledger, &mut findings).await.context("reading sagas")?;
    for reason in ended.values() {
        *findings.ends.entry(reason.clone().unwrap_or_else(|| "COMPLETED".into())).or_default() += 1;
    }
    money::judge(world, &ledger, &ended, &mut findings).await.context("reading the gateway's books")?;
    leftovers::judge(world, &ended, &mut findings).await.context("looking for what is left")?;
    commands::judge(world, skald, &mut findings).await?;
    budget::judge(seen, &mut findings);
    for service in Who::ALL.into_iter().flat_map(|who| world.all(who)) {
        let service = service.lock().await;
        let panics = service.panics();
        findings.check("panics", panics.is_empty(), || format!("{}: {panics:?}", service.name));
    }
    Ok(findings)
}
