//! `orders.audit`: every row of `history` as an event, read back from the table at a rate, behind the hot path, which
//! writes nothing for it. Operators' actions and ends of sagas come at once: their worker names them after its commit.
//! What operators do that is no input of a saga goes through the outbox ([`act`]).
//!
//! Nothing is missed. Each row names the transaction that wrote it. A page is read up to the horizon, the lowest number
//! of a transaction that still runs: what lies below has ended, so it is visible or never will be, however long it ran
//! and whatever time it wrote; what runs, or begins later, has a higher number and comes in a later page. (`history.at`
//! would not do: transactions commit in another order than the times that they write, and clocks step.) The cursor
//! moves on in the transaction that holds the exporters' lock, when the broker has acknowledged the page; whoever dies
//! before leaves it where it was, and the page comes again with the same ids.
//!
//! Nothing is dropped as not newer. Within a saga the order of transactions is not that of rows, so a page takes along
//! every row of its sagas below its own that is not exported yet; so does an entry that comes at once. Rows below are
//! visible whenever a row is, for the saga's lock makes them commit first. And a row is sent when the broker has the one
//! before it ([`outbox::Publisher`]). So on the wire each row appears for the first time behind the one below it, whoever
//! exports, and however many do at once.

mod entry;
mod pace;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use skald_core::plan::Write;
use skald_kit::{
    backoff,
    lifecycle::Shutdown,
    outbox::{self, Publisher},
    pg,
};
use sqlx::{Connection as _, PgConnection};
use tokio::{sync::mpsc, time::Instant};
use uuid::Uuid;

use crate::{
    bus::topics,
    shared::Shared,
    store::{
        action::Action,
        audit::{self, Entry, Label, Place},
    },
};
use pace::{Behind, Windows};

/// Rows in one page at most: what is in memory at once.
const PAGE: usize = 1_000;
/// Rows of a saga, about: so many come with one that comes at once.
const ROWS: usize = 4;
/// How often the table is looked at when nothing waits.
const SCAN_EVERY: Duration = Duration::from_millis(500);
/// Rows that wait to come at once at most: two full batches of every worker; beyond, they come with their page.
const WAITING: usize = 4_096;
/// Sagas of which is remembered how far they came at once, so that their page does not repeat it.
const REMEMBERED: usize = 50_000;

/// Where workers name what must come at once.
#[derive(Clone, Debug)]
pub struct AtOnce(mpsc::Sender<(Uuid, i32)>);

impl AtOnce {
    /// And where the exporter takes it from.
    pub(crate) fn new() -> (AtOnce, mpsc::Receiver<(Uuid, i32)>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (AtOnce(sender), receiver)
    }

    /// Takes what must come at once of a committed write; never waits.
    pub(crate) fn put(&self, write: &Write) {
        if let Some(seq) = entry::at_once(write) {
            // Full: it comes with its page.
            let _ = self.0.try_send((write.saga, seq));
        }
    }
}

/// An operator's act that is no input of a saga, as an event: written with the act itself, and relayed like any other.
pub(crate) fn act(shared: &Shared, action: &Action) -> outbox::Row {
    entry::act(&topics::audit(&shared.config.kafka), action, shared.clock.now_ms())
}

/// The exporter of one instance.
pub(crate) struct Exporter {
    shared: Arc<Shared>,
    publisher: Publisher,
    at_once: mpsc::Receiver<(Uuid, i32)>,
    shutdown: Shutdown,
    topic: String,
    /// Up to where sagas came at once and not yet with their page.
    told: HashMap<Uuid, i32>,
    windows: Windows,
    behind: Behind,
}

/// What one look at the table came to.
struct Step {
    rows: usize,
    /// There is more below the horizon.
    more: bool,
}

/// What the broker has now.
#[derive(Default)]
struct Sent {
    /// Sagas and numbers, in order.
    rows: Vec<(Uuid, i32)>,
    /// The time of the newest row that there was to send, ms.
    newest: Option<i64>,
}

impl Exporter {
    /// With a producer of its own.
    pub(crate) fn new(
        shared: Arc<Shared>,
        at_once: mpsc::Receiver<(Uuid, i32)>,
        shutdown: Shutdown,
    ) -> anyhow::Result<Exporter> {
        let publisher = Publisher::new(&shared.config.kafka)?;
        let topic = topics::audit(&shared.config.kafka);
        let (told, windows, behind) = (HashMap::new(), Windows::default(), Behind::default());
        Ok(Exporter { shared, publisher, at_once, shutdown, topic, told, windows, behind })
    }

    /// Exports until the stop is asked for.
    ///
    /// # Errors
    /// None: a server that is away is tried again.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        let (url, shutdown) = (self.shared.config.postgres.url.clone(), self.shutdown.clone());
        let mut gaps = backoff::gaps();
        while !shutdown.is_requested() {
            let connect = || async { pg::worker_connection(&url).await };
            let Some(mut conn) = backoff::forever("export the audit", &shutdown, connect).await else {
                break;
            };
            let began = Instant::now();
            tokio::select! {
                result = self.export(&mut conn) => if let Err(error) = result {
                    tracing::warn!("orders.audit stands still, nothing is lost: {error:#}; trying again");
                },
                () = shutdown.requested() => break,
            }
            self.behind.failed(self.shared.clock.now_ms());
            if began.elapsed() > Duration::from_secs(10) {
                gaps = backoff::gaps();
            }
            tokio::select! {
                () = tokio::time::sleep(gaps.next().unwrap_or_default()) => {}
                () = shutdown.requested() => {}
            }
        }
        Ok(())
    }

    /// Until something fails. What comes at once and what is read take turns, so neither starves the other.
    async fn export(&mut self, conn: &mut PgConnection) -> anyhow::Result<()> {
        let rate = self.shared.config.audit.rows_per_second;
        let page = ((rate * SCAN_EVERY.as_secs_f64()) as usize).clamp(1, PAGE);
        let mut scan_at = Instant::now();
        let mut wanted = Vec::new();
        loop {
            tokio::select! {
                _ = self.at_once.recv_many(&mut wanted, page.div_ceil(ROWS)) => {}
                () = tokio::time::sleep_until(scan_at) => {}
            }
            let began = Instant::now();
            let mut rows = 0;
            if !wanted.is_empty() {
                rows += self.at_once(conn, std::mem::take(&mut wanted)).await?;
            }
            if scan_at <= began {
                let step = self.paced(conn, page).await?;
                rows += step.rows;
                scan_at = if step.more { began } else { began + SCAN_EVERY };
            }
            tokio::time::sleep_until(began + Duration::from_secs_f64(rows as f64 / rate)).await;
        }
    }

    /// Rows that must come at once, and what is missing before them.
    async fn at_once(&mut self, conn: &mut PgConnection, wanted: Vec<(Uuid, i32)>) -> anyhow::Result<usize> {
        let mut up_to = BTreeMap::new();
        wanted.into_iter().for_each(|(saga, seq)| reach(&mut up_to, saga, seq));
        // Whatever is not behind the cursor is with the broker.
        let cursor = audit::cursor(conn).await?;
        let sent = self.send(conn, &up_to, cursor).await?;
        if self.told.len() + sent.rows.len() > REMEMBERED {
            self.told.clear();
        }
        let rows = sent.rows.len();
        // By number, so the highest stays.
        self.told.extend(sent.rows);
        metrics::counter!("skald_audit_exported_total", "how" => "at_once").increment(rows as u64);
        Ok(rows)
    }

    /// The next page, if nobody else is at it.
    async fn paced(&mut self, conn: &mut PgConnection, page: usize) -> anyhow::Result<Step> {
        let mut tx = conn.begin().await?;
        let now = self.shared.clock.now_ms();
        if !audit::lock(&mut tx).await? {
            self.behind.elsewhere(now);
            return Ok(Step { rows: 0, more: false });
        }
        let cursor = audit::cursor(&mut tx).await?;
        let horizon = audit::horizon(&mut tx).await?;
        if cursor.txid >= horizon.next {
            tracing::warn!(
                cursor.txid,
                horizon.next,
                "this server counts transactions anew: orders.audit begins again"
            );
            audit::begin_again(&mut tx).await?;
            tx.commit().await?;
            self.told.clear();
            return Ok(Step { rows: 0, more: true });
        }
        let below = self.windows.end(cursor, horizon);
        let seen = match cursor.txid {
            0 => audit::old(&mut tx, cursor, page as i64).await?,
            _ => audit::after(&mut tx, cursor, below, page as i64).await?,
        };
        let (next, more) = self.windows.next(cursor, &seen, page, below, horizon);
        let mut up_to = BTreeMap::new();
        seen.iter().for_each(|place| reach(&mut up_to, place.saga, place.seq));
        let sent = self.send(&mut tx, &up_to, cursor).await?;
        // Windows without a row are walked through again after a restart, unless they lead on.
        if !seen.is_empty() || more {
            audit::advance(&mut tx, cursor, next).await?;
        }
        tx.commit().await?;
        self.told.retain(|saga, seq| up_to.get(saga).is_none_or(|paged| paged < seq));
        metrics::counter!("skald_audit_exported_total", "how" => "paced").increment(sent.rows.len() as u64);
        self.behind.looked(now, sent.newest, more, horizon);
        Ok(Step { rows: sent.rows.len(), more })
    }

    /// Sends the rows of these sagas, each up to its number, that lie behind a place and did not come at once.
    async fn send(
        &self,
        conn: &mut PgConnection,
        up_to: &BTreeMap<Uuid, i32>,
        behind: Place,
    ) -> anyhow::Result<Sent> {
        if up_to.is_empty() {
            return Ok(Sent::default());
        }
        let (sagas, seqs): (Vec<Uuid>, Vec<i32>) = up_to.iter().unzip();
        let mut entries = audit::rows(conn, &sagas, &seqs, behind).await?;
        let newest = entries.iter().map(|entry| entry.row.at).max();
        entries.retain(|e| self.told.get(&e.saga).is_none_or(|told| e.row.seq as i32 > *told));
        if entries.is_empty() {
            return Ok(Sent { rows: Vec::new(), newest });
        }
        let labels: HashMap<Uuid, Label> =
            audit::labels(conn, &sagas).await?.into_iter().map(|label| (label.saga, label)).collect();
        if labels.values().any(|label| self.shared.registry.get(label.definition_id).is_none()) {
            // Another instance knows one that is new.
            self.shared.registry.refresh(conn).await?;
        }
        let rows: Vec<_> = entries.iter().map(|entry| self.row(entry, labels.get(&entry.saga))).collect();
        self.publisher.publish(&rows).await?;
        let rows = entries.into_iter().map(|entry| (entry.saga, entry.row.seq as i32)).collect();
        Ok(Sent { rows, newest })
    }

    fn row(&self, entry: &Entry, label: Option<&Label>) -> outbox::Row {
        let definition = label.and_then(|label| self.shared.registry.get(label.definition_id));
        let name = definition.as_ref().map_or("", |definition| &definition.name);
        entry::row(&self.topic, entry, name, label.and_then(|label| label.traceparent.as_deref()))
    }
}

/// The highest number of each saga.
fn reach(up_to: &mut BTreeMap<Uuid, i32>, saga: Uuid, seq: i32) {
    let reached = up_to.entry(saga).or_insert(seq);
    *reached = seq.max(*reached);
}
