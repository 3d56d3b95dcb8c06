//! The SQL of the orchestrator: one room per family of tables. Functions take a borrowed connection, so that
//! callers own the transaction; every write says how many rows it must touch.

pub mod action;
pub mod attention;
pub mod audit;
pub mod bulk;
pub mod dead_letter;
pub mod definition;
pub mod participant;
pub mod read;
pub mod retention;
pub mod saga;
pub mod search;
pub mod submission;
pub mod wake;

/// `wake_at` of a saga that waits for a person alone: looked at once a day all the same.
pub const IDLE_MS: i64 = 86_400_000;

/// A write touched another number of rows than it must: somebody else was first.
#[derive(Debug, thiserror::Error)]
#[error("{table}: {touched} rows instead of {expected}")]
pub struct Moved {
    /// Where.
    pub table: &'static str,
    /// How many were touched.
    pub touched: i64,
    /// How many had to be.
    pub expected: i64,
}

/// Why a store call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database said so.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// Decide again.
    #[error(transparent)]
    Moved(#[from] Moved),
}
