//! What goes on beside the sagas: the net that finds overdue ones, the sweep behind an instance that is gone,
//! partitions, old idempotency keys, and the count of what is under way.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::TryStreamExt as _;
use skald_core::state::Status;
use skald_kit::{backoff, health, ids, instance, kafka::partition_for_id, lifecycle::Shutdown, pg};
use sqlx::PgConnection;
use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use crate::{
    SERVICE,
    job::{Ask, Job, Origin, Wake},
    shared::Shared,
    store::{attention, retention, submission, wake},
    worker::Inbox,
};

/// Overdue sagas of one scan at most.
const PAGE: i64 = 500;
/// How often sagas are counted.
const COUNT_EVERY: Duration = Duration::from_secs(5);
/// Counting a million takes its time: it may have a twentieth.
const COUNT_SHARE: u32 = 20;
/// How often partitions and old keys are looked after.
const TIDY_EVERY: Duration = Duration::from_secs(3600);
/// Who was to be looked at so long ago, and was not, is overdue.
const OVERDUE_MS: i64 = 60_000;
/// When it did not work.
const TIDY_AGAIN: Duration = Duration::from_secs(60);

/// The keeper of one instance.
pub struct Keeper {
    /// What the instance shares.
    pub shared: Arc<Shared>,
    /// Where sagas are handed to.
    pub inboxes: Vec<Inbox>,
    /// When to end.
    pub shutdown: Shutdown,
}

impl Keeper {
    /// Keeps house until the stop is asked for.
    ///
    /// # Errors
    /// None: a database that is away is tried again.
    pub async fn run(self) -> anyhow::Result<()> {
        let url = self.shared.config.postgres.url.clone();
        while let Some(mut conn) =
            backoff::forever("keep house", &self.shutdown, || async { pg::worker_connection(&url).await })
                .await
        {
            self.shared.health.set("postgres", health::Status::Up, "");
            self.tell_durability(&mut conn).await;
            match self.keep(&mut conn).await {
                Ok(()) => break,
                Err(error) => {
                    self.shared.health.set("postgres", health::Status::Degraded, error.to_string());
                    tracing::warn!(%error, "keeping house failed; trying again");
                }
            }
        }
        Ok(())
    }

    /// What an acknowledged order has survived: as PostgreSQL was configured.
    async fn tell_durability(&self, conn: &mut PgConnection) {
        let asked = sqlx::query!(
            r#"select current_setting('fsync') as "fsync!", current_setting('synchronous_commit') as "commit!",
                      current_setting('synchronous_standby_names') as "standbys!""#
        );
        let Ok(set) = asked.fetch_one(conn).await else { return };
        let standbys = if set.standbys.is_empty() { "none" } else { &set.standbys };
        let detail = format!("fsync {}, synchronous_commit {}, standbys {standbys}", set.fsync, set.commit);
        let lasting = set.fsync == "on" && set.commit != "off";
        let status = if lasting { health::Status::Up } else { health::Status::Degraded };
        self.shared.health.set("durability", status, detail);
    }

    async fn keep(&self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        let mut ticks = interval(Duration::from_millis(self.shared.config.driver.scan_every_ms));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut count_at, mut tidy_at) = (Instant::now(), Instant::now());
        let mut old_keys = false;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.shutdown.requested() => return Ok(()),
            }
            self.shared.refresh_frozen(conn).await?;
            self.net(conn).await?;
            self.orphans(conn).await?;
            let began = Instant::now();
            if count_at <= began {
                self.count(conn).await?;
                count_at = Instant::now() + COUNT_EVERY.max(began.elapsed() * COUNT_SHARE);
            }
            if tidy_at <= Instant::now() {
                tidy_at = Instant::now() + TIDY_EVERY;
                match self.tidy(conn).await {
                    Ok(()) => old_keys = true,
                    // Such as a lock that somebody holds: the net must not wait for it.
                    Err(error @ sqlx::Error::Database(_)) => {
                        tracing::warn!(%error, "partitions could not be tended; trying again in a minute");
                        tidy_at = Instant::now() + TIDY_AGAIN;
                    }
                    Err(error) => return Err(error),
                }
            }
            if old_keys {
                // A bounded number each time, so that the net is never far.
                let before = self.shared.clock.now_ms() - retention::HORIZON_MS;
                let forgotten = submission::forget(conn, before).await?;
                old_keys = forgotten + retention::drop_ended(conn, before).await? > 0;
            }
        }
    }

    /// Queues what is overdue: our own, and that of whoever is gone; the living look after theirs. What finds no place
    /// is found again.
    async fn net(&self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        let me = self.shared.instance;
        let mut others: Vec<Uuid> =
            instance::alive(conn, SERVICE).await?.into_iter().map(|peer| peer.id).collect();
        others.retain(|id| *id != me);
        for (saga, owner) in wake::due(conn, self.shared.clock.now_ms(), &others, PAGE).await? {
            let why = if owner == me { Wake::Net } else { Wake::Orphan(owner) };
            if self.inbox(saga).messages.try_send(look(saga, why)).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Looks at every active saga that an instance wrote which is gone: its commands may never have been sent. At the
    /// pace at which workers take them; one instance sweeps at a time. Its row goes when nothing is left, so that a
    /// sweep that is cut short is taken up by the next one.
    async fn orphans(&self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        for peer in instance::dead(conn, SERVICE).await? {
            // Our own heart is late: that makes nobody an orphan.
            if peer.id == self.shared.instance {
                continue;
            }
            let lock = peer.id.as_u128() as i64;
            if !sqlx::query_scalar!(r#"select pg_try_advisory_lock($1) as "mine!""#, lock)
                .fetch_one(&mut *conn)
                .await?
            {
                continue;
            }
            let swept = self.sweep(conn, peer.id).await?;
            if swept == 0 {
                instance::remove(conn, &[peer.id]).await?;
            }
            sqlx::query_scalar!("select pg_advisory_unlock($1)", lock).fetch_one(&mut *conn).await?;
            tracing::info!(instance = %peer.id, address = peer.address, swept, "an instance is gone: taking over");
        }
        Ok(())
    }

    /// Queues what an instance left; gives how many.
    async fn sweep(&self, conn: &mut PgConnection, owner: Uuid) -> Result<usize, sqlx::Error> {
        let mut left = wake::owned_by(conn, owner);
        let mut swept = 0;
        while let Some(saga) = left.try_next().await? {
            swept += 1;
            let inbox = &self.inbox(saga).messages;
            tokio::select! {
                sent = inbox.send(look(saga, Wake::Orphan(owner))) => if sent.is_err() { break },
                () = self.shutdown.requested() => break,
            }
        }
        Ok(swept)
    }

    async fn count(&self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        // What other instances registered: lists by name need to know.
        if let Err(error) = self.shared.registry.refresh(conn).await {
            tracing::warn!(%error, "definitions could not be read");
        }
        let now = self.shared.clock.now_ms();
        let by_status = wake::active(conn, now - OVERDUE_MS).await?;
        let total: i64 = by_status.iter().map(|a| a.n).sum();
        let overdue: i64 = by_status.iter().map(|a| a.overdue).sum();
        metrics::gauge!("skald_sagas_overdue").set(overdue as f64);
        let oldest = by_status.iter().filter_map(|a| a.oldest.and_then(ids::timestamp_ms)).min();
        metrics::gauge!("skald_saga_oldest_seconds").set((now - oldest.unwrap_or(now)) as f64 / 1000.0);
        self.shared.active.store(total, Ordering::Relaxed);
        for status in [Status::Running, Status::Compensating, Status::Parked, Status::Paused] {
            let n = by_status.iter().find(|a| a.status == status as i16).map_or(0, |a| a.n);
            let name = format!("{status:?}").to_lowercase();
            metrics::gauge!("skald_sagas_active", "status" => name).set(n as f64);
        }
        self.count_attention(conn).await
    }

    /// The operators' inbox, by kind; what is empty says so.
    async fn count_attention(&self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        let counts = attention::counts(conn).await?;
        for kind in ["PARKED", "VOUCHED", "QUARANTINED", "DEAD_LETTER", "SLOW"] {
            let known = counts.iter().find(|(k, ..)| k == kind);
            let (n, age) = known.map_or((0, 0.0), |(_, n, age)| (*n, *age));
            let label = kind.to_lowercase();
            metrics::gauge!("skald_attention", "kind" => label.clone()).set(n as f64);
            metrics::gauge!("skald_attention_oldest_seconds", "kind" => label).set(age.max(0.0));
        }
        Ok(())
    }

    async fn tidy(&self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        let now = self.shared.clock.now_ms();
        retention::ensure(conn, now).await?;
        for partition in retention::drop_old(conn, now).await? {
            tracing::info!(partition, "dropped beyond the horizon");
        }
        Ok(())
    }

    fn inbox(&self, saga: Uuid) -> &Inbox {
        let worker =
            partition_for_id(saga, self.shared.config.kafka.partitions) as usize % self.inboxes.len();
        &self.inboxes[worker]
    }
}

fn look(saga: Uuid, why: Wake) -> Job {
    Job { saga, actor: "timer".into(), ask: Ask::Wake(why), origin: Origin::Nobody }
}
