//! What must be there before commands are taken: tables, and the topic of the events. Waits for servers that are away; what
//! waiting does not mend ends the start.

use std::time::Duration;

use anyhow::Result;
use skald_kit::{
    backoff,
    config::{Kafka, Secret},
    kafka::{Topic, topics},
    lifecycle::Shutdown,
    migrate::{self, Set},
    pg::{Class, classify},
};
use sqlx::migrate::{MigrateError, Migrator};

use crate::events;

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations/payment");

/// Why it is not ready.
enum Problem {
    /// A server is away.
    Passes(String),
    Stays(anyhow::Error),
}

/// Prepares database and topic. `false`: the stop was asked for before all was there.
pub(crate) async fn prepare(url: &Secret, kafka: &Kafka, shutdown: &Shutdown) -> Result<bool> {
    let mut gaps = backoff::gaps();
    loop {
        match ready(url, kafka).await {
            Ok(()) => return Ok(true),
            Err(Problem::Stays(error)) => return Err(error),
            Err(Problem::Passes(problem)) => tracing::warn!("not ready yet: {problem}"),
        }
        tokio::select! {
            () = tokio::time::sleep(gaps.next().unwrap_or(Duration::from_secs(5))) => {}
            () = shutdown.requested() => return Ok(false),
        }
    }
}

async fn ready(url: &Secret, kafka: &Kafka) -> Result<(), Problem> {
    migrations(url).await.map_err(|error| match cause(&error).map(|cause| classify(cause, &[])) {
        Some(Class::Transient { expected: true }) => Problem::Passes(error.to_string()),
        _ => Problem::Stays(error.into()),
    })?;
    let wanted = [topic(kafka)];
    let mut checked = Ok(());
    if kafka.create_topics {
        checked = topics::create_missing(kafka, &wanted).await;
    }
    if checked.is_ok() {
        checked = topics::check(kafka, &wanted).await;
    }
    checked.map_err(|error| match error {
        topics::Error::Unreachable { .. } => Problem::Passes(error.to_string()),
        _ => Problem::Stays(error.into()),
    })
}

/// The topic of the events, for [`prepare`] and `skald topics`.
pub(crate) fn topic(kafka: &Kafka) -> Topic {
    Topic {
        name: kafka.topic(events::TOPIC),
        partitions: kafka.partitions,
        retention_ms: None,
        config: std::collections::BTreeMap::new(),
    }
}

/// Applies what is missing.
pub(crate) async fn migrations(url: &Secret) -> Result<(), migrate::Error> {
    let sets = [Set::kit(), skald_participant::migrations(), Set::service(&MIGRATOR)];
    migrate::run(url, &sets).await
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
