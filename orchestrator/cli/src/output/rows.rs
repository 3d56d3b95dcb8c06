//! Things for programs, one after the other, each written as soon as it is known. Tables are no business of this.

use serde_json::Value;

use super::{Format, line, write};
use crate::exit::Failure;

/// JSON objects on standard output: lines of their own, or the elements of one array. An array that was not ended is one
/// that is not whole.
#[derive(Debug)]
pub(crate) struct Rows {
    format: Format,
    some: bool,
}

impl Rows {
    /// None yet.
    pub(crate) fn new(format: Format) -> Rows {
        Rows { format, some: false }
    }

    /// Writes one; of a table nothing.
    ///
    /// # Errors
    /// Standard output can't be written.
    pub(crate) fn add(&mut self, value: &Value) -> Result<(), Failure> {
        match self.format {
            Format::Table => Ok(()),
            Format::Jsonl => line(&value.to_string()),
            Format::Json => {
                let before = if self.some { ",\n" } else { "[\n" };
                self.some = true;
                let indented = format!("{value:#}").replace('\n', "\n  ");
                write(&format!("{before}  {indented}"))
            }
        }
    }

    /// There are no more.
    ///
    /// # Errors
    /// Standard output can't be written.
    pub(crate) fn end(self) -> Result<(), Failure> {
        match (self.format, self.some) {
            (Format::Json, true) => write("\n]\n"),
            (Format::Json, false) => line("[]"),
            (Format::Table | Format::Jsonl, _) => Ok(()),
        }
    }
}
