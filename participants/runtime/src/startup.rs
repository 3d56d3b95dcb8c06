//! What must be there before commands are taken: tables, partitions, topics. Waits for servers that are away, and health says
//! which; what waiting does not mend ends the start.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use skald_kit::{
    backoff,
    config::{Kafka, Secret},
    health::{Health, Status},
    kafka::{Topic, topics},
    lifecycle::Shutdown,
    migrate::{self, Set},
    pg::{self, Class},
};
use sqlx::migrate::MigrateError;

use crate::{config::ParticipantConfig, decide::Bounds, housekeeping};

/// Commands and outcomes must outlive any outage that is survived.
const RETENTION_MS: i64 = 7 * 24 * 3600 * 1000;
/// Dead letters wait for a person.
const DEAD_RETENTION_MS: i64 = 45 * 24 * 3600 * 1000;

/// What a service needs beside what every participant has.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// Its own tables, applied after kit's and the participant's.
    pub migrations: Vec<Set>,
    /// The topics of its own events; see [`event_topic`].
    pub topics: Vec<Topic>,
}

/// The topics that a participant reads and writes, for [`run`](crate::run()), `skald topics` and tests.
#[must_use]
pub fn topics_of(participant: &str, kafka: &Kafka) -> Vec<Topic> {
    let name = |suffix: &str| format!("skald.{participant}.{suffix}");
    vec![
        topic(kafka, &name("commands"), kafka.partitions, Some(RETENTION_MS)),
        topic(kafka, &name("outcomes"), kafka.partitions, Some(RETENTION_MS)),
        topic(kafka, &name("commands.dlq"), 1, Some(DEAD_RETENTION_MS)),
    ]
}

/// A topic of events: for how long they are kept is the broker's business.
#[must_use]
pub fn event_topic(name: &str, kafka: &Kafka) -> Topic {
    topic(kafka, name, kafka.partitions, None)
}

fn topic(kafka: &Kafka, name: &str, partitions: i32, retention_ms: Option<i64>) -> Topic {
    Topic { name: kafka.topic(name), partitions, retention_ms, config: BTreeMap::new() }
}

/// Brings the database at `url` up to date: kit's tables, the participant's, then `own`. Can be run again, and by several at
/// once.
///
/// # Errors
/// The database cannot be reached, or a newer program has migrated it.
pub async fn migrate(url: &Secret, own: &[Set]) -> Result<(), migrate::Error> {
    let sets = [&[Set::kit(), crate::migrations()], own].concat();
    migrate::run(url, &sets).await
}

/// Why something is not there.
enum Problem {
    /// A server is away.
    Passes(String),
    /// A person must do something.
    Stays(anyhow::Error),
}

/// Waits for both servers at once. `None`: the stop was asked for.
///
/// # Errors
/// What waiting does not mend.
pub(crate) async fn prepare(
    participant: &str,
    config: &ParticipantConfig,
    needs: &Needs,
    health: &Health,
    shutdown: &Shutdown,
) -> Result<Option<Bounds>> {
    let own = if config.commands.kafka { topics_of(participant, &config.kafka) } else { Vec::new() };
    let wanted = [own, needs.topics.clone()].concat();
    let topics = async {
        match config.needs_kafka(needs) {
            true => there("kafka", health, shutdown, || topics(&config.kafka, &wanted)).await,
            false => Ok(Some(())),
        }
    };
    let (bounds, topics) = tokio::try_join!(
        there("postgres", health, shutdown, || database(&config.postgres.url, &needs.migrations)),
        topics,
    )?;
    Ok(topics.and(bounds))
}

/// Tries until it is there, and lets health say why it is not.
async fn there<T, F: Future<Output = Result<T, Problem>>>(
    dependency: &'static str,
    health: &Health,
    shutdown: &Shutdown,
    attempt: impl Fn() -> F,
) -> Result<Option<T>> {
    let mut gaps = backoff::gaps();
    loop {
        let tried = tokio::select! {
            tried = attempt() => tried,
            () = shutdown.requested() => return Ok(None),
        };
        match tried {
            Ok(there) => {
                health.set(dependency, Status::Up, "");
                return Ok(Some(there));
            }
            Err(Problem::Stays(error)) => {
                health.set(dependency, Status::Down, format!("{error:#}"));
                return Err(error);
            }
            Err(Problem::Passes(reason)) => {
                tracing::warn!(dependency, "not ready yet: {reason}");
                health.set(dependency, Status::Down, reason);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(gaps.next().unwrap_or(Duration::from_secs(5))) => {}
            () = shutdown.requested() => return Ok(None),
        }
    }
}

async fn database(url: &Secret, own: &[Set]) -> Result<Bounds, Problem> {
    migrate(url, own).await.map_err(|error| match cause(&error) {
        Some(cause) if passes(cause) => Problem::Passes(error.to_string()),
        _ => Problem::Stays(error.into()),
    })?;
    let partitions = async {
        let mut conn = pg::connection(url).await?;
        housekeeping::once(&mut conn).await
    };
    partitions.await.map_err(|error| match passes(&error) {
        true => Problem::Passes(error.to_string()),
        false => Problem::Stays(anyhow::Error::new(error).context("the barrier's partitions")),
    })
}

fn passes(error: &sqlx::Error) -> bool {
    matches!(pg::classify(error, &[]), Class::Transient { expected: true })
}

fn cause(error: &migrate::Error) -> Option<&sqlx::Error> {
    match error {
        migrate::Error::Database(error) => Some(error),
        migrate::Error::Set {
            source: MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _),
            ..
        } => Some(error),
        migrate::Error::Set { .. } => None,
    }
}

async fn topics(kafka: &Kafka, wanted: &[Topic]) -> Result<(), Problem> {
    let checked = async {
        if kafka.create_topics {
            topics::create_missing(kafka, wanted).await?;
        }
        topics::check(kafka, wanted).await
    };
    checked.await.map_err(|error| match error {
        topics::Error::Unreachable { .. } => Problem::Passes(error.to_string()),
        topics::Error::Wrong(_) => Problem::Stays(error.into()),
    })
}
