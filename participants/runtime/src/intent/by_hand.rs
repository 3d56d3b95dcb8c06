//! Settles an unresolved intent on a person's word, exactly as the settler does on the gateway's: domain rows, barrier row and
//! intent in one transaction, which is the caller's. Says nothing to anybody before the caller has committed.

use std::sync::Arc;

use skald_proto::participant::v1::{BarrierVerdict, outcome::Answer};
use sqlx::PgConnection;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    resolve::{How, Resolution, resolve},
    settle::{self, Written},
    table::{self, Addressee},
};
use crate::{
    barrier::{self, Slot, Verdict},
    command::Key,
    decide::UNRESOLVED,
    desk,
    events::{self, Outbox},
    outcomes::{Outbound, Places},
    service::{CallResult, Domain, Service, Settlement},
};

/// Settles by hand; clones are the same one. Handed to the service for its own API.
#[derive(Clone)]
pub struct ByHand {
    outbox: Outbox,
    outbound: Outbound,
    /// The sweeper's bell.
    due: Arc<Notify>,
    instance: Uuid,
}

impl std::fmt::Debug for ByHand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ByHand").field("instance", &self.instance).finish_non_exhaustive()
    }
}

/// What a transaction settled by hand that is not committed yet. Dropped, nothing is said.
#[must_use = "say `committed` after the commit, or nobody hears of it"]
pub struct Settled<'h> {
    by: &'h ByHand,
    events: events::Written<'h>,
    places: Places,
    replies: Vec<(Addressee, Answer)>,
    /// The sweeper has something to do.
    due: bool,
}

/// Why it was not settled. Roll back.
#[derive(Debug, thiserror::Error)]
pub enum NotSettled {
    /// The barrier has no such row.
    #[error("it was never asked for here")]
    Unknown,
    /// Someone was first, or it never was an intent.
    #[error("it is settled")]
    Settled(BarrierVerdict),
    /// A call is under way or will be made; its answer settles it, or it becomes unresolved again.
    #[error("a call is under way")]
    UnderWay,
    /// It waits for another attempt after this failure, not for a person's word.
    #[error("it waits to be tried again")]
    Failed(String),
    /// An undo whose action itself has no verdict yet.
    #[error("its action is not settled yet")]
    Behind,
    /// So many answers wait for the broker that no other can: try again later.
    #[error("too many answers wait for the broker")]
    Busy,
    /// The database's.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl ByHand {
    pub(crate) fn new(outbox: Outbox, outbound: Outbound, due: Arc<Notify>, instance: Uuid) -> Self {
        Self { outbox, outbound, due, instance }
    }

    /// Settles the unresolved intent of `key` and `slot` with `result`, as if its call had come to that: a verdict is stored and
    /// answered; after [`CallResult::Refused`] the sweeper calls again at once, with a new gateway key.
    ///
    /// # Errors
    /// It is not unresolved (any more), or the database fails.
    ///
    /// # Panics
    /// `result` settles nothing: unknown, not sent, unresolved, or the other slot's.
    pub async fn settle<S: Service>(
        &self,
        service: &S,
        conn: &mut PgConnection,
        (key, slot): (&Key, Slot),
        result: CallResult,
    ) -> Result<Settled<'_>, NotSettled> {
        let places = self.outbound.try_reserve().ok_or(NotSettled::Busy)?;
        let Some(intent) = table::get(conn, key, slot).await? else {
            return Err(self.why_not(conn, key, slot).await);
        };
        // The domain's rows first, then barrier and intent: as the settler locks them.
        let mut domain = service.load_intents(conn, std::slice::from_ref(&intent)).await?;
        if !table::hold_unresolved(conn, &intent).await? {
            return Err(self.why_not(conn, key, slot).await);
        }
        let stored = barrier::read(conn, std::iter::once(key)).await?;
        if slot == Slot::Undo && stored.get(key, Slot::Run).is_none_or(|run| run.verdict != Verdict::Done) {
            return Err(NotSettled::Behind);
        }
        let mut written = Written::default();
        let mut due = false;
        match resolve(intent, How::Called(result)) {
            resolution @ Resolution::Settled { .. } => {
                let settled = written.settle(conn, &[resolution], Some(&mut domain)).await?;
                if settled == 0 {
                    return Err(self.why_not(conn, key, slot).await);
                }
                due |= written.undo_due;
            }
            Resolution::Open { postponed, failed: Some(_) } => {
                let next = postponed.next_key.as_deref().unwrap_or(&postponed.intent.gateway_key);
                table::again(conn, &postponed.intent, next, self.instance).await?;
                domain.settle(&postponed.intent, &Settlement::Again);
                due = true;
            }
            other => panic!("a person's word must settle it: {other:?}"),
        }
        let rows = service.write(conn, &mut domain).await?;
        let events = self.outbox.write(conn, rows).await?;
        Ok(Settled { by: self, events, places, replies: written.replies, due })
    }

    /// Where it stands, for it is not unresolved.
    async fn why_not(&self, conn: &mut PgConnection, key: &Key, slot: Slot) -> NotSettled {
        let look = async {
            let stored = barrier::read(conn, std::iter::once(key)).await?;
            let answered = table::answered(conn, key, slot).await?;
            Ok::<_, sqlx::Error>(match stored.get(key, slot).map(|row| row.verdict) {
                None => NotSettled::Unknown,
                Some(Verdict::Intent) => match answered {
                    Some(code) if code != UNRESOLVED => NotSettled::Failed(code),
                    _ => NotSettled::UnderWay,
                },
                verdict => NotSettled::Settled(desk::verdict(Some(slot), verdict)),
            })
        };
        look.await.unwrap_or_else(NotSettled::Database)
    }
}

impl Settled<'_> {
    /// The transaction was committed: events and answers go out now, and the sweeper looks.
    pub fn committed(mut self) {
        self.events.committed();
        settle::send(&self.by.outbound, &mut self.places, self.replies);
        if self.due {
            self.by.due.notify_one();
        }
    }
}
