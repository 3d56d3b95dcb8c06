//! The one room that writes to standard output: plain text, tables, and a table that is redrawn in place.

pub mod json;
pub mod screen;
pub mod style;
pub mod table;
pub mod text;

use std::io::{ErrorKind, Write as _};

use crate::exit::{Exit, Failure};

/// How answers are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For eyes.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// Whether standard output gets colours.
pub(crate) fn colours() -> bool {
    style::colours(&std::io::stdout())
}

/// Shows an answer: as JSON, or as `text` makes it of whether there are colours.
///
/// # Errors
/// As [`line`].
pub(crate) fn show(
    format: Format,
    json: impl FnOnce() -> serde_json::Value,
    text: impl FnOnce(bool) -> String,
) -> Result<(), Failure> {
    match format {
        Format::Json => line(&json().to_string()),
        Format::Table => line(&text(colours())),
    }
}

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
