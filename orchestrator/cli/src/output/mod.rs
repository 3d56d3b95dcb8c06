//! The one room that writes to standard output: plain text, tables, and a table that is redrawn in place.

pub mod json;
mod rows;
pub mod screen;
pub mod style;
pub mod table;
pub mod text;

use std::io::{ErrorKind, Write as _};

pub(crate) use rows::Rows;

use crate::exit::{Exit, Failure};

/// How answers are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For eyes.
    #[default]
    Table,
    /// For programs: one document, an array where there can be several.
    Json,
    /// For programs: one object a line, each as soon as it is there.
    Jsonl,
}

/// Whether standard output gets colours.
pub(crate) fn colours() -> bool {
    style::colours(&std::io::stdout())
}

/// Shows one thing: as JSON, or as `text` makes it of whether there are colours.
///
/// # Errors
/// As [`line`].
pub(crate) fn show(
    format: Format,
    json: impl FnOnce() -> serde_json::Value,
    text: impl FnOnce(bool) -> String,
) -> Result<(), Failure> {
    match format {
        Format::Json => line(&format!("{:#}", json())),
        Format::Jsonl => line(&json().to_string()),
        Format::Table => line(&text(colours())),
    }
}

/// Shows several things: as JSON each, or all together as `text` makes it of whether there are colours.
///
/// # Errors
/// As [`line`].
pub(crate) fn list<T>(
    format: Format,
    items: &[T],
    json: impl Fn(&T) -> serde_json::Value,
    text: impl FnOnce(bool) -> String,
) -> Result<(), Failure> {
    if format == Format::Table {
        return line(&text(colours()));
    }
    let mut rows = Rows::new(format);
    items.iter().try_for_each(|item| rows.add(&json(item)))?;
    rows.end()
}

/// Writes a text and ends its line. A reader that has gone (`skald … | head`) is no failure.
///
/// # Errors
/// Standard output can't be written.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    write(&format!("{text}\n"))
}

/// Writes a text as it is, at once.
fn write(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Failed, format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}
