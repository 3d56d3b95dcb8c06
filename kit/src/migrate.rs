//! Migration sets: several in one database, each with a table of its own that says what was applied.

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Connection as _, PgConnection};

use crate::config::Secret;
use crate::pg;

/// Kit's own migrations.
static KIT: Migrator = sqlx::migrate!("../migrations/kit");

/// Migrations that belong together, and the table that remembers which were applied.
#[derive(Debug, Clone, Copy)]
pub struct Set {
    /// For log lines and errors.
    pub name: &'static str,
    /// Schema-qualified.
    pub table: &'static str,
    /// As `sqlx::migrate!` made it; its own table name is not used.
    pub migrator: &'static Migrator,
}

impl Set {
    /// Kit's own: instances and the event outbox. Every database needs it, first.
    pub fn kit() -> Self {
        Self { name: "kit", table: "skald._kit_migrations", migrator: &KIT }
    }

    /// What makes a database a participant's.
    pub fn participant(migrator: &'static Migrator) -> Self {
        Self { name: "participant", table: "skald._participant_migrations", migrator }
    }

    /// A service's own tables.
    pub fn service(migrator: &'static Migrator) -> Self {
        Self { name: "service", table: "public._sqlx_migrations", migrator }
    }
}

/// Why a database could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot be reached, or broke.
    #[error("migrations: {0}")]
    Database(#[from] sqlx::Error),
    /// A migration failed, or what was applied differs from what this binary has.
    #[error("migrations of {set}: {source}")]
    Set {
        /// Which set.
        set: &'static str,
        /// What is wrong.
        source: MigrateError,
    },
}

/// Applies the sets in order; safe when several instances start at once (sqlx takes an advisory lock). A
/// database that a newer binary has migrated already is refused.
///
/// # Errors
/// [`Error`].
pub async fn run(url: &Secret, sets: &[Set]) -> Result<(), Error> {
    let mut connection = pg::connection(url).await?;
    for set in sets {
        run_one(&mut connection, set).await.map_err(|source| Error::Set { set: set.name, source })?;
    }
    connection.close().await?;
    Ok(())
}

async fn run_one(connection: &mut PgConnection, set: &Set) -> Result<(), MigrateError> {
    let mut migrator = Migrator::with_migrations(set.migrator.migrations.to_vec());
    migrator.dangerous_set_table_name(set.table);
    // Under the migrator's lock, unlike a statement of our own: CREATE SCHEMA IF NOT EXISTS can fail when two
    // run it at once.
    migrator.create_schema("skald");
    // `run` takes an `Acquire`, which keeps a future that calls it from being spawned.
    migrator.run_direct(None, connection, false).await
}
