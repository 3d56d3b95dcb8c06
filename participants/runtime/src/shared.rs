//! What the tasks of a participant share, and what goes wrong in its transactions. Decides nothing.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use skald_kit::{
    config::Secret,
    health::{Health, Status},
    lifecycle::Shutdown,
    pg::{self, Class},
};
use sqlx::PgConnection;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::{config::Calls, decide::Bounds, events::Outbox, outcomes::Outbound, service::Service};

/// One per participant in the process.
pub(crate) struct Shared<S> {
    pub(crate) service: S,
    /// Owns outbox rows and intents; new with each start.
    pub(crate) instance: Uuid,
    pub(crate) url: Secret,
    pub(crate) calls: Calls,
    pub(crate) outbox: Outbox,
    pub(crate) outbound: Outbound,
    pub(crate) health: Health,
    /// The last word: what is not done by now is not begun.
    pub(crate) shutdown: Shutdown,
    /// A quarter of the stop's time has passed: waves and calls under way are cut off. What they did comes out later.
    pub(crate) cut: Shutdown,
    /// What settling the calls that were cut off may take.
    pub(crate) late: Duration,
    /// An intent is due: the sweeper should look.
    pub(crate) due: Arc<Notify>,
    pub(crate) bounds: RwLock<Bounds>,
}

impl<S: Service> Shared<S> {
    pub(crate) fn bounds(&self) -> Bounds {
        *self.bounds.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_bounds(&self, bounds: Bounds) {
        *self.bounds.write().unwrap_or_else(PoisonError::into_inner) = bounds;
    }

    /// What a failed statement means.
    pub(crate) fn trouble(&self, error: sqlx::Error) -> Trouble {
        match pg::classify(&error, self.service.constraints()) {
            Class::Poison => Trouble::Poison(error.to_string()),
            Class::Conflict => Trouble::Conflict,
            Class::Transient { expected } => Trouble::Transient { error: error.to_string(), expected },
        }
    }

    /// What a COMMIT came to.
    pub(crate) fn committed(&self, outcome: pg::Outcome) -> Result<(), Trouble> {
        match outcome {
            pg::Outcome::Committed => Ok(()),
            pg::Outcome::NotCommitted(error) => Err(self.trouble(error)),
            pg::Outcome::Unknown(error) => {
                metrics::counter!("skald_participant_commits_unknown_total").increment(1);
                Err(Trouble::Transient { error: format!("commit unknown: {error}"), expected: true })
            }
        }
    }

    /// Results of calls, too, are written no more.
    pub(crate) async fn too_late(&self) {
        self.cut.requested().await;
        tokio::time::sleep(self.late).await;
    }

    /// PostgreSQL works.
    pub(crate) fn postgres_up(&self) {
        self.health.set("postgres", Status::Up, "");
    }

    /// PostgreSQL does not work; nothing is lost, all waits.
    pub(crate) fn postgres_degraded(&self, what: &str, error: &str, expected: bool) {
        if expected {
            tracing::debug!("{what}: {error}");
        } else {
            metrics::counter!("skald_participant_alarms_total", "alarm" => "unexpected_error").increment(1);
            tracing::error!("{what}: {error}; tried again, but no outage brings this error");
        }
        self.health.set("postgres", Status::Degraded, error.to_owned());
    }
}

/// Why a transaction was not committed, and so what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// An input is to blame.
    Poison(String),
    /// Someone else was first, or the barrier's bounds moved: decide again at once.
    Conflict,
    /// Try again later, on a new connection. A commit of which nobody knows is one of these: all is decided again, and what was
    /// committed is then found.
    Transient {
        /// For people.
        error: String,
        /// `false`: no outage brings it.
        expected: bool,
    },
}

/// A worker's one connection, made when it is needed and thrown away after trouble.
pub(crate) struct Link {
    url: Secret,
    connection: Option<PgConnection>,
}

impl Link {
    pub(crate) fn new(url: &Secret) -> Self {
        Self { url: url.clone(), connection: None }
    }

    /// The connection. Drop the link's hold on it with [`cut`](Self::cut) after trouble.
    pub(crate) async fn get(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        if self.connection.is_none() {
            self.connection = Some(pg::worker_connection(&self.url).await?);
        }
        Ok(self.connection.as_mut().expect("just made"))
    }

    /// Whatever was under way on it is rolled back by the server.
    pub(crate) fn cut(&mut self) {
        self.connection = None;
    }
}

/// Waits for the next try; `false` when the participant stops instead.
pub(crate) async fn pause(shutdown: &Shutdown, gap: Duration) -> bool {
    tokio::select! {
        () = tokio::time::sleep(gap) => true,
        () = shutdown.requested() => false,
    }
}
