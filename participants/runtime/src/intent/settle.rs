//! Settles what calls came to: all results that are queued, in one transaction. Then answers. Calls nobody.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::Result;
use skald_kit::{backoff, pg};
use skald_proto::participant::v1::outcome::Answer;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::mpsc;

use super::{
    Intent,
    calls::Ended,
    resolve::{LAST_GAP, Postponed, Resolution, once_each, resolve},
    table::{self, Addressee},
};
use crate::{
    barrier::{Row, Slot, Verdict},
    command::Key,
    decide::unresolved_answer,
    outcomes::{Outbound, Places, Reply, label},
    service::{Domain, Service, Settlement},
    shared::{Link, Shared, Trouble, pause},
};

/// Results settled together.
const BATCH: usize = 256;

/// Settles until no call can end any more.
pub(crate) async fn run<S: Service>(
    shared: Arc<Shared<S>>,
    mut results: mpsc::UnboundedReceiver<Ended>,
    backlog: Arc<AtomicBool>,
) -> Result<()> {
    let mut link = Link::new(&shared.url);
    let mut burst = Vec::with_capacity(BATCH);
    while results.recv_many(&mut burst, BATCH).await > 0 {
        let mut places = Vec::with_capacity(burst.len());
        let mut resolutions = Vec::with_capacity(burst.len());
        for ended in burst.drain(..) {
            let (intent, how, place) = ended.parts();
            places.push(place);
            resolutions.push(resolve(intent, how));
        }
        settle(&shared, &mut link, once_each(resolutions)).await;
        drop(places);
        if backlog.load(Ordering::Acquire) {
            shared.due.notify_one();
        }
    }
    Ok(())
}

/// Whatever it takes, short of the process's end. A culprit is left to the sweeper.
async fn settle<S: Service>(shared: &Shared<S>, link: &mut Link, all: Vec<Resolution>) {
    let mut parts = vec![all];
    let mut gaps = backoff::gaps();
    while let Some(mut part) = parts.pop() {
        let tried = tokio::select! {
            tried = once(shared, link, &part) => tried,
            // the calls happened; the next start searches for their results
            () = shared.too_late() => return link.cut(),
        };
        let trouble = match tried {
            Ok(()) => {
                gaps = backoff::gaps();
                continue;
            }
            Err(trouble) => trouble,
        };
        link.cut();
        match trouble {
            Trouble::Poison(_) if part.len() > 1 => {
                let rest = part.split_off(part.len() / 2);
                parts.extend([rest, part]);
                continue;
            }
            Trouble::Poison(reason) => {
                metrics::counter!("skald_participant_alarms_total", "alarm" => "unsettled").increment(1);
                tracing::error!(
                    "the result of a call can't be written: {reason}; it will be searched for again"
                );
                continue;
            }
            Trouble::Conflict => {}
            Trouble::Transient { error, expected } => {
                shared.postgres_degraded("calls' results were not written", &error, expected);
            }
        }
        parts.push(part);
        if !pause(&shared.shutdown, gaps.next().unwrap_or(LAST_GAP)).await {
            // the calls happened; the next start searches for their results
            return;
        }
    }
}

async fn once<S: Service>(shared: &Shared<S>, link: &mut Link, all: &[Resolution]) -> Result<(), Trouble> {
    let fail = |error| shared.trouble(error);
    // an unresolved action may be answered to its undo as well
    let mut places = shared.outbound.reserve(all.len() * 2).await;
    let conn = link.get().await.map_err(fail)?;
    let mut tx = conn.begin().await.map_err(fail)?;
    let concerned = all.iter().filter(|r| concerns_domain(r)).map(|r| r.intent().clone());
    let concerned: Vec<Intent> = concerned.collect();
    let mut domain = match concerned.is_empty() {
        true => None,
        false => Some(shared.service.load_intents(&mut tx, &concerned).await.map_err(fail)?),
    };
    let mut written = Written::default();
    written.settle(&mut tx, all, domain.as_mut()).await.map_err(fail)?;
    written.postpone(&mut tx, shared.instance, all, domain.as_mut()).await.map_err(fail)?;
    let rows = match &mut domain {
        Some(domain) => shared.service.write(&mut tx, domain).await.map_err(fail)?,
        None => Vec::new(),
    };
    let events = shared.outbox.write(&mut tx, rows).await.map_err(fail)?;
    shared.committed(pg::commit(tx).await)?;
    shared.postgres_up();
    events.committed();
    send(&shared.outbound, &mut places, written.replies);
    if written.undo_due {
        shared.due.notify_one();
    }
    Ok(())
}

/// Answers whoever waits for what was settled: after the commit.
pub(super) fn send(outbound: &Outbound, places: &mut Places, replies: Vec<(Addressee, Answer)>) {
    for (addressee, answer) in replies {
        metrics::counter!("skald_participant_settled_total", "answer" => label(&answer)).increment(1);
        let (to, reply) = Reply::to_intent(addressee, answer);
        outbound.tell(places, to, reply);
    }
}

fn concerns_domain(resolution: &Resolution) -> bool {
    match resolution {
        Resolution::Settled { settlement, .. } => settlement.is_some(),
        Resolution::Unresolved { .. } => true,
        Resolution::Open { .. } => false,
    }
}

/// What one transaction did.
#[derive(Default)]
pub(super) struct Written {
    pub(super) replies: Vec<(Addressee, Answer)>,
    pub(super) undo_due: bool,
}

impl Written {
    /// Returns how many still were intents.
    pub(super) async fn settle(
        &mut self,
        conn: &mut PgConnection,
        all: &[Resolution],
        mut domain: Option<&mut impl Domain>,
    ) -> Result<usize, sqlx::Error> {
        let settled = |r: &Resolution| match r {
            Resolution::Settled { intent, verdict, answer, .. } => {
                let stored = (*verdict != Verdict::Nothing).then(|| answer.clone());
                Some(Row { key: intent.key.clone(), slot: intent.slot(), verdict: *verdict, answer: stored })
            }
            _ => None,
        };
        let rows: Vec<Row> = all.iter().filter_map(settled).collect();
        if rows.is_empty() {
            return Ok(0);
        }
        // those that are no longer intents were settled by someone else, who answers
        let mut mine = table::settle(conn, &rows).await?;
        let settled = mine.len();
        let runs: Vec<Key> =
            mine.keys().filter(|(_, slot)| *slot == Slot::Run).map(|(key, _)| key.clone()).collect();
        if !runs.is_empty() {
            self.undo_due = table::wake_undo(conn, runs.iter()).await?;
        }
        for resolution in all {
            let Resolution::Settled { intent, settlement, answer, .. } = resolution else { continue };
            let Some(addressee) = mine.remove(&(intent.key.clone(), intent.slot())) else { continue };
            if let (Some(domain), Some(settlement)) = (domain.as_deref_mut(), settlement) {
                domain.settle(intent, settlement);
            }
            self.replies.extend(addressee.map(|addressee| (addressee, answer.clone())));
        }
        Ok(settled)
    }

    async fn postpone(
        &mut self,
        conn: &mut PgConnection,
        owner: uuid::Uuid,
        all: &[Resolution],
        mut domain: Option<&mut impl Domain>,
    ) -> Result<(), sqlx::Error> {
        let postponed = |r: &Resolution| match r {
            Resolution::Open { postponed, .. } | Resolution::Unresolved { postponed } => {
                Some(postponed.clone())
            }
            Resolution::Settled { .. } => None,
        };
        let rows: Vec<Postponed> = all.iter().filter_map(postponed).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let mut open: HashMap<_, _> = table::postpone(conn, owner, &rows)
            .await?
            .into_iter()
            .map(|addressee| ((addressee.key.clone(), addressee.slot), addressee))
            .collect();
        let mut unresolved = Vec::new();
        for resolution in all {
            let intent = resolution.intent();
            let Some(addressee) = open.remove(&(intent.key.clone(), intent.slot())) else { continue };
            match resolution {
                Resolution::Open { failed: Some(failed), .. } => {
                    self.replies.push((addressee, failed.clone().into()));
                }
                Resolution::Unresolved { .. } => {
                    if let Some(domain) = domain.as_deref_mut() {
                        domain.settle(intent, &Settlement::Unresolved);
                    }
                    tracing::warn!(saga = %intent.key.saga, "an outside call is unresolved: a person must find out");
                    unresolved.extend((intent.slot() == Slot::Run).then_some(&intent.key));
                    self.replies.push((addressee, unresolved_answer()));
                }
                _ => {}
            }
        }
        if !unresolved.is_empty() {
            let undos = table::undo_unresolved(conn, unresolved.into_iter()).await?;
            self.replies.extend(undos.into_iter().map(|undo| (undo, unresolved_answer())));
        }
        Ok(())
    }
}
