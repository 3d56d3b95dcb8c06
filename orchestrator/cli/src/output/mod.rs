//! The one room that writes to standard output: plain text, tables, and a table that is redrawn in place.

pub mod screen;
pub mod style;
pub mod table;

use std::io::{ErrorKind, Write as _};

use crate::exit::{Exit, Failure};

/// Writes a text and ends its line. A reader that has gone (`skald … | head`) is no failure.
///
/// # Errors
/// Standard output can't be written.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let text = text.strip_suffix('\n').unwrap_or(text);
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Failed, format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}
