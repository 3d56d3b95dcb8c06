//! The event relay's task: deletes what the broker has, sends again what failed, picks up from the table what
//! nobody else will. It reads only what was committed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use sqlx::{Connection as _, PgConnection};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::relay::{State, lock};
use super::{Row, table};
use crate::config::Secret;
use crate::instance::DEAD_AFTER;
use crate::kafka::Producer;
use crate::pg;

/// Acknowledged rows wait so long for the owner's next transaction, then they are deleted here.
const DELETE_AFTER: Duration = Duration::from_millis(200);
/// How often the table is looked at: for dead owners' rows, for own rows that were left there.
const SCAN_EVERY: Duration = DEAD_AFTER;
/// A table that is long to scan (the broker was away for long) is scanned less often: at most a twentieth of
/// the time.
const SCAN_SHARE: u32 = 20;
/// Own rows younger than this are left alone: whoever committed them is about to publish them.
const YOUNG_MS: i64 = 5_000;
/// How long ids that the owner took are left alone, at least: no transaction of an owner takes so long.
const TAKEN_FOR: Duration = Duration::from_secs(10);
/// Rows read or deleted at once.
const PAGE: usize = 1_000;
/// Gaps between tries of failed deliveries.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);
/// A database that does not answer for so long is asked again on a new connection.
const HUNG: Duration = Duration::from_secs(10);

pub(super) struct Worker {
    state: Arc<State>,
    producer: Producer<Arc<Row>>,
    url: Secret,
    owner: Uuid,
    service: String,
    connection: Option<PgConnection>,
    next_scan: Instant,
    /// Where the next page of own rows begins.
    cursor: Uuid,
    next_aging: Instant,
    next_retry: Instant,
    retry_gap: Duration,
    acknowledged_at_retry: u64,
}

impl Worker {
    pub(super) fn new(
        state: Arc<State>,
        producer: Producer<Arc<Row>>,
        url: Secret,
        owner: Uuid,
        service: String,
    ) -> Self {
        let now = Instant::now();
        Self {
            state,
            producer,
            url,
            owner,
            service,
            connection: None,
            next_scan: now,
            cursor: Uuid::nil(),
            next_aging: now + TAKEN_FOR,
            next_retry: now,
            retry_gap: FIRST_RETRY,
            acknowledged_at_retry: 0,
        }
    }

    pub(super) async fn run(mut self, closing: CancellationToken) {
        while !closing.is_cancelled() {
            tokio::select! {
                () = self.work() => {}
                () = tokio::time::sleep_until(self.next_scan) => {}
                () = closing.cancelled() => break,
            }
            self.send_again();
            if let Err(error) = self.tend_table().await {
                // The connection may be in the middle of anything.
                self.connection = None;
                self.next_scan = Instant::now() + SCAN_EVERY;
                tracing::warn!(service = self.service, "the event outbox cannot be tended: {error:#}");
            }
            let memory = self.state.memory();
            if memory.has_acked() || memory.has_failed() {
                self.state.work.notify_one();
            }
        }
        self.finish().await;
    }

    /// Waits for work, and a while longer so that the owner's transactions can do it.
    async fn work(&self) {
        self.state.work.notified().await;
        tokio::time::sleep(DELETE_AFTER).await;
    }

    /// Failed deliveries, with growing gaps as long as nothing is acknowledged at all.
    fn send_again(&mut self) {
        let now = Instant::now();
        if now < self.next_retry || !self.state.memory().has_failed() {
            return;
        }
        let acknowledged = self.state.acknowledged.load(Ordering::Relaxed);
        let progress = acknowledged != self.acknowledged_at_retry;
        self.retry_gap = if progress { FIRST_RETRY } else { (self.retry_gap * 2).min(LAST_RETRY) };
        self.acknowledged_at_retry = acknowledged;
        self.next_retry = now + self.retry_gap;
        let rows = self.state.memory().take_failed();
        rows.into_iter().for_each(|row| self.state.send(&self.producer, row));
    }

    async fn tend_table(&mut self) -> Result<()> {
        if lock(&self.state.last_take).elapsed() >= DELETE_AFTER {
            self.delete_acked().await?;
        }
        let now = Instant::now();
        if now >= self.next_aging {
            self.state.memory().age_taken();
            self.next_aging = now + TAKEN_FOR;
        }
        let left_behind = {
            let mut memory = self.state.memory();
            memory.has_room() && memory.take_overflowed()
        };
        if left_behind || now >= self.next_scan {
            self.in_time(Step::Scan).await?;
            self.next_scan = Instant::now() + SCAN_EVERY.max(now.elapsed() * SCAN_SHARE);
        }
        Ok(())
    }

    async fn delete_acked(&mut self) -> Result<()> {
        loop {
            let ids = self.state.memory().take_acked(PAGE);
            if ids.is_empty() {
                return Ok(());
            }
            if let Err(error) = self.in_time(Step::Delete(&ids)).await {
                self.state.memory().give_back(ids);
                return Err(error);
            }
        }
    }

    async fn in_time(&mut self, step: Step<'_>) -> Result<()> {
        let work = async {
            match step {
                Step::Delete(ids) => Ok(table::delete(self.connected().await?, ids).await?),
                Step::Scan => self.scan().await,
            }
        };
        tokio::time::timeout(HUNG, work).await.context("the database does not answer")?
    }

    async fn scan(&mut self) -> Result<()> {
        let has_room = self.state.memory().has_room();
        if has_room {
            self.adopt().await?;
            self.pick_up_own().await?;
        }
        let owner = self.owner;
        let (rows, age_ms) = table::depth(self.connected().await?, owner).await?;
        metrics::gauge!("skald_outbox_rows", "service" => self.service.clone()).set(rows as f64);
        metrics::gauge!("skald_outbox_oldest_age_seconds", "service" => self.service.clone())
            .set(age_ms as f64 / 1000.0);
        Ok(())
    }

    /// Rows of instances that are dead become ours; they are sent after the commit.
    async fn adopt(&mut self) -> Result<()> {
        let owner = self.owner;
        let mut transaction = self.connected().await?.begin().await?;
        let rows = table::adopt(&mut transaction, owner, PAGE as i64).await?;
        match pg::commit(transaction).await {
            pg::Outcome::Committed => {}
            pg::Outcome::NotCommitted(error) | pg::Outcome::Unknown(error) => bail!(error),
        }
        if !rows.is_empty() {
            tracing::info!(
                rows = rows.len(),
                service = self.service,
                "events of a dead instance were adopted"
            );
            if rows.len() == PAGE {
                self.state.memory().note_overflow();
            }
            self.state.publish(&self.producer, rows);
        }
        Ok(())
    }

    /// Own rows that are not in memory: beyond its bound, or of a transaction whose commit was unknown.
    async fn pick_up_own(&mut self) -> Result<()> {
        loop {
            let (owner, cursor) = (self.owner, self.cursor);
            let rows = table::own(self.connected().await?, owner, cursor, YOUNG_MS, PAGE as i64).await?;
            let full_page = rows.len() == PAGE;
            self.cursor = rows.last().filter(|_| full_page).map_or(Uuid::nil(), |row| row.id);
            self.state.publish(&self.producer, rows);
            if !full_page {
                return Ok(());
            }
            if self.state.memory().is_full() {
                self.cursor = Uuid::nil();
                return Ok(());
            }
        }
    }

    async fn connected(&mut self) -> Result<&mut PgConnection> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => pg::connection(&self.url).await?,
        };
        Ok(self.connection.insert(connection))
    }

    async fn finish(mut self) {
        let grace = *lock(&self.state.grace);
        if grace.is_zero() {
            return;
        }
        if let Err(unflushed) = self.producer.flush(grace).await {
            tracing::warn!(
                service = self.service,
                "events: {unflushed}; another instance or the next start relays them"
            );
        }
        if let Err(error) = self.delete_acked().await {
            tracing::warn!(
                service = self.service,
                "published events were not deleted and will be published again: {error:#}"
            );
        }
        if let Some(connection) = self.connection.take() {
            let _ = connection.close().await;
        }
    }
}

enum Step<'a> {
    Delete(&'a [Uuid]),
    Scan,
}
