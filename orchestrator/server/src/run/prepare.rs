//! What must be there before an instance works: database, partitions, definitions, topics.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Context;
use skald_kit::{
    backoff,
    clock::DbClock,
    config::{self, Secret},
    health::{Health, Status},
    kafka::topics,
    lifecycle::{Shutdown, Tasks},
    pg,
};
use sqlx::Connection;

use crate::{bus, config::Config, definitions::Registry, store::retention};

/// A Kafka that does not answer for so long is not waited for at the start.
const KAFKA: Duration = Duration::from_secs(3);

/// Database and definitions. Waits for a server that is away; None when the stop was asked for meanwhile.
pub(super) async fn prepare(
    config: &Config,
    health: &Health,
    shutdown: &Shutdown,
) -> anyhow::Result<Option<Registry>> {
    let url = &config.postgres.url;
    let connect = || async { pg::connection(url).await };
    let Some(mut conn) = backoff::forever("connect to PostgreSQL", shutdown, connect).await else {
        return Ok(None);
    };
    super::migrate(url).await?;
    let clock = DbClock::new();
    clock.sync(&mut conn).await?;
    if !partitions(url, clock.now_ms(), shutdown).await? {
        return Ok(None);
    }
    let registry = Registry::load(&mut conn, config.definitions.folder.as_deref()).await?;
    conn.close().await?;
    health.set("postgres", Status::Up, "");
    Ok(Some(registry))
}

/// Makes partitions; a table that somebody locks is waited for like a server that is away. False: the stop was asked
/// for.
async fn partitions(url: &Secret, now: i64, shutdown: &Shutdown) -> anyhow::Result<bool> {
    let make = || async {
        let made = match pg::connection(url).await {
            Ok(mut conn) => retention::ensure(&mut conn, now).await,
            Err(error) => Err(error),
        };
        match made {
            Err(error) if pg::classify(&error, &[]) == (pg::Class::Transient { expected: true }) => {
                Err(error)
            }
            other => Ok(other),
        }
    };
    match backoff::forever("make partitions", shutdown, make).await {
        Some(made) => made.context("making partitions").map(|()| true),
        None => Ok(false),
    }
}

/// Checks the topics now, when Kafka can be reached; else as soon as it can, for orders are accepted without it.
pub(super) async fn check_topics(
    kafka: &config::Kafka,
    participants: &BTreeSet<String>,
    shutdown: &Shutdown,
    tasks: &Tasks,
) -> anyhow::Result<()> {
    let needed = bus::topics::needed(kafka, participants);
    if topics::is_reachable(kafka, KAFKA).await {
        match topics_as_needed(kafka, &needed).await {
            Err(error @ topics::Error::Wrong(_)) => return Err(error.into()),
            Err(error) => tracing::warn!(%error, "the topics could not be checked"),
            Ok(()) => return Ok(()),
        }
    }
    tracing::warn!("Kafka does not answer: starting without it, the topics are checked when it does");
    let (kafka, shutdown) = (kafka.clone(), shutdown.clone());
    tasks.spawn("topics", async move {
        let check = || async {
            match topics_as_needed(&kafka, &needed).await {
                Err(error @ topics::Error::Unreachable { .. }) => Err(error),
                other => Ok(other),
            }
        };
        backoff::forever("check the topics", &shutdown, check).await.unwrap_or(Ok(()))?;
        Ok(())
    });
    Ok(())
}

async fn topics_as_needed(kafka: &config::Kafka, needed: &[topics::Topic]) -> Result<(), topics::Error> {
    if kafka.create_topics {
        topics::create_missing(kafka, needed).await?;
    }
    topics::check(kafka, needed).await
}
