//! How PostgreSQL is reached and what its errors mean. Knows no table.

mod class;
mod commit;

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, PgConnection, PgPool};

use crate::config::{Postgres, Secret};

pub use class::{Class, classify, classify_code};
pub use commit::{Outcome, commit};

/// How long a read waits for a connection of the pool before the caller gets an error.
const ACQUIRE: Duration = Duration::from_secs(3);

/// An index always: statistics of a table that was empty a minute ago mislead, and a plan that was made then is
/// kept.
const INDEXES: [(&str, &str); 3] = [
    ("random_page_cost", "1.1"),
    ("enable_seqscan", "off"),
    // A forbidden plan's cost is so high that it would always be compiled, which takes longer than running it.
    ("jit", "off"),
];

/// Options for any connection of ours: `search_path` is `public` alone, for a role named like a schema would
/// catch unqualified names.
///
/// # Errors
/// The URL cannot be parsed.
pub fn connect_options(url: &Secret) -> Result<PgConnectOptions, sqlx::Error> {
    let options: PgConnectOptions = url.expose().parse()?;
    let options = match options.get_application_name() {
        Some(_) => options,
        None => options.application_name("skald"),
    };
    Ok(options.options([("search_path", "public")]).disable_statement_logging())
}

/// One connection for a worker. Plans are generic (each statement is planned once) and prefer an index; a
/// transaction that does nothing for five seconds is ended by the server.
///
/// # Errors
/// The URL cannot be parsed, or the server cannot be reached.
pub async fn worker_connection(url: &Secret) -> Result<PgConnection, sqlx::Error> {
    let options = connect_options(url)?.options(INDEXES).options([
        ("plan_cache_mode", "force_generic_plan"),
        // A process that is frozen in the middle of a transaction holds row locks that others wait for.
        ("idle_in_transaction_session_timeout", "5s"),
    ]);
    options.connect().await
}

/// One connection without a worker's planner settings: migrations, housekeeping, heartbeats.
///
/// # Errors
/// As [`worker_connection`].
pub async fn connection(url: &Secret) -> Result<PgConnection, sqlx::Error> {
    connect_options(url)?.connect().await
}

/// The pool for reads; plans prefer an index. Connects when it is first used, so a database that is away does not stop the start.
///
/// # Errors
/// The URL cannot be parsed.
pub fn read_pool(postgres: &Postgres) -> Result<PgPool, sqlx::Error> {
    let options = connect_options(&postgres.url)?.options(INDEXES);
    Ok(PgPoolOptions::new()
        .max_connections(postgres.max_read_connections)
        .acquire_timeout(ACQUIRE)
        .connect_lazy_with(options))
}
