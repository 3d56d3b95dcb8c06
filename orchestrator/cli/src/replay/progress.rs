//! What a person sees meanwhile: a bar on a terminal, nothing elsewhere. On standard error, for standard output has the
//! findings.

use std::{io::IsTerminal as _, time::Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::view::thousands;

/// How far it is.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    began: Instant,
}

impl Progress {
    pub(super) fn new(what: &'static str) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal { ProgressBar::new(1_000) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{prefix:<10} {bar:30} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(what);
        Progress { bar, began: Instant::now() }
    }

    /// The share, 0 to 1, and what was looked at so far.
    pub(super) fn at(&self, share: f64, sagas: u64, rows: u64) {
        self.bar.set_position((share * 1_000.0) as u64);
        let pace = rows as f64 / self.began.elapsed().as_secs_f64().max(0.001);
        let (sagas, rows, pace) = (thousands(sagas), thousands(rows), thousands(pace as u64));
        self.bar.set_message(format!("{sagas} sagas, {rows} rows, {pace} rows/s"));
    }

    /// Writes something without tearing the bar.
    pub(super) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    /// It is over.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// How long it took, seconds.
    pub(super) fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }
}
