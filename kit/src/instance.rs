//! Who runs: each process has a row that it beats every second. Tells who is dead; what follows is the
//! caller's business.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::backoff;
use crate::clock::DbClock;
use crate::config::Secret;
use crate::lifecycle::Shutdown;
use crate::pg;

/// The time between two beats.
pub const BEAT: Duration = Duration::from_secs(1);
/// Who is so late, by the database's clock, counts as dead; after a start of the database everybody has this
/// time to beat again. It may be frozen and come back: what it holds must stand that.
pub const DEAD_AFTER: Duration = Duration::from_secs(3);
/// A database that was away is found again so soon, so that a heart beats well before [`DEAD_AFTER`] its return.
const AGAIN: Duration = Duration::from_millis(500);
/// A beat that hangs so long is given up, and the connection with it.
const HUNG: Duration = Duration::from_secs(2);

/// A running process as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// New with each start, so that what a former run left belongs to nobody alive.
    pub id: Uuid,
    /// Which service it is.
    pub service: String,
    /// Where it listens; for people.
    pub address: String,
}

/// Another instance's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The row's key.
    pub id: Uuid,
    /// Which service it is.
    pub service: String,
    /// Where it listens; for people.
    pub address: String,
    /// Unix milliseconds, the database's clock.
    pub started_ms: i64,
    /// Unix milliseconds, the database's clock.
    pub beat_ms: i64,
}

impl Instance {
    /// A new instance with an id of its own.
    pub fn new(service: impl Into<String>, address: impl Into<String>) -> Self {
        Self { id: Uuid::now_v7(), service: service.into(), address: address.into() }
    }

    /// Inserts the row, or beats it when it is there.
    ///
    /// # Errors
    /// The database's.
    pub async fn register(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "insert into skald.instance (id, service, address) values ($1, $2, $3)
             on conflict (id) do update set beat_at = clock_timestamp()",
            self.id,
            self.service,
            self.address,
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Says that it lives. A row that someone removed meanwhile is inserted again.
    ///
    /// # Errors
    /// The database's.
    pub async fn beat(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let beaten =
            sqlx::query!("update skald.instance set beat_at = clock_timestamp() where id = $1", self.id)
                .execute(&mut *connection)
                .await?;
        if beaten.rows_affected() == 0 { self.register(connection).await } else { Ok(()) }
    }

    /// Beats every second on a connection of its own and keeps `clock` in step, until the stop is asked for;
    /// then removes the row. Stop it last: others take over what this instance holds as soon as the row is
    /// gone.
    ///
    /// # Errors
    /// None: a database that is away is tried again.
    pub async fn run(self, url: Secret, clock: DbClock, shutdown: Shutdown) -> anyhow::Result<()> {
        loop {
            let connect = || async {
                let mut connection = pg::connection(&url).await?;
                self.register(&mut connection).await?;
                Ok::<_, sqlx::Error>(connection)
            };
            let Some(mut connection) =
                backoff::forever_within(AGAIN, "say that this instance lives", &shutdown, connect).await
            else {
                return Ok(());
            };
            match self.beat_until(&mut connection, &clock, &shutdown).await {
                Ok(()) => {
                    if let Err(error) = remove(&mut connection, &[self.id]).await {
                        tracing::warn!(%error, "the instance's row was not removed; it counts as dead soon");
                    }
                    let _ = connection.close().await;
                    return Ok(());
                }
                Err(error) => tracing::warn!("heartbeat: {error:#}"),
            }
        }
    }

    async fn beat_until(
        &self,
        connection: &mut PgConnection,
        clock: &DbClock,
        shutdown: &Shutdown,
    ) -> anyhow::Result<()> {
        let mut ticks = tokio::time::interval(BEAT);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.requested() => return Ok(()),
            }
            tokio::time::timeout(HUNG, async {
                self.beat(connection).await?;
                clock.sync(connection).await
            })
            .await??;
        }
    }
}

/// The instances of a service that beat less than [`DEAD_AFTER`] ago.
///
/// # Errors
/// The database's.
pub async fn alive(connection: &mut PgConnection, service: &str) -> Result<Vec<Peer>, sqlx::Error> {
    Ok(peers(connection, service)
        .await?
        .into_iter()
        .filter(|(_, dead)| !dead)
        .map(|(peer, _)| peer)
        .collect())
}

/// The instances of a service whose last beat is older than [`DEAD_AFTER`], by the database's clock.
///
/// # Errors
/// The database's.
pub async fn dead(connection: &mut PgConnection, service: &str) -> Result<Vec<Peer>, sqlx::Error> {
    Ok(peers(connection, service)
        .await?
        .into_iter()
        .filter(|(_, dead)| *dead)
        .map(|(peer, _)| peer)
        .collect())
}

async fn peers(connection: &mut PgConnection, service: &str) -> Result<Vec<(Peer, bool)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select id, service, address,
               (extract(epoch from started_at) * 1000)::bigint as "started_ms!",
               (extract(epoch from beat_at) * 1000)::bigint as "beat_ms!",
               greatest(beat_at, pg_postmaster_start_time()) < clock_timestamp() - make_interval(secs => $2) as "dead!"
        from skald.instance
        where service = $1
        order by id
        "#,
        service,
        DEAD_AFTER.as_secs_f64(),
    )
    .fetch_all(connection)
    .await?;
    let peers = rows.into_iter().map(|row| {
        let (started_ms, beat_ms) = (row.started_ms, row.beat_ms);
        (Peer { id: row.id, service: row.service, address: row.address, started_ms, beat_ms }, row.dead)
    });
    Ok(peers.collect())
}

/// Removes the rows of instances: one's own at the end, dead ones when all that they held was taken over.
///
/// # Errors
/// The database's.
pub async fn remove(connection: &mut PgConnection, ids: &[Uuid]) -> Result<u64, sqlx::Error> {
    let removed =
        sqlx::query!("delete from skald.instance where id = any($1)", ids).execute(connection).await?;
    Ok(removed.rows_affected())
}
