//! The SQL of inventory, one room per table. Functions borrow a connection: the caller owns the transaction.
//!
//! Lock order everywhere: reservation rows, then stock rows, each in the order of its key.

pub(crate) mod audit;
pub(crate) mod reservation;
pub(crate) mod restock;
pub(crate) mod stock;

/// Says so when a statement touched another number of rows than it had to: under our locks that is a bug,
/// or someone who wrote without them.
pub(crate) fn expect_rows(what: &str, touched: u64, expected: usize) -> Result<(), sqlx::Error> {
    if touched == expected as u64 {
        Ok(())
    } else {
        Err(sqlx::Error::Protocol(format!("{what}: {touched} rows touched, not {expected}")))
    }
}
