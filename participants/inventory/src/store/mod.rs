//! The SQL of inventory, one room per table. Functions borrow a connection: the caller owns the transaction.
//!
//! Lock order everywhere: reservation rows, then stock rows, each in the order of its key.

pub(crate) mod audit;
pub(crate) mod change;
pub mod reservation;
pub(crate) mod stock;
pub(crate) mod wave;

/// Says so when a statement touched another number of rows than it had to: under our locks that is a bug,
/// or someone who wrote without them.
pub(crate) fn expect_rows(what: &str, touched: i64, expected: usize) -> Result<(), sqlx::Error> {
    if usize::try_from(touched) == Ok(expected) {
        Ok(())
    } else {
        Err(sqlx::Error::Protocol(format!("{what}: {touched} rows touched, not {expected}")))
    }
}
