//! What a person sees meanwhile: a bar on a terminal, one line per phase elsewhere. On standard error, so that standard
//! output has the figures alone.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// The present phase.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    terminal: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal { ProgressBar::new(1) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{prefix:<12} {bar:30} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, terminal }
    }

    /// A phase begins.
    pub(super) fn phase(&self, name: &str, what: &str) {
        self.bar.set_length(1_000);
        self.bar.set_position(0);
        self.bar.set_prefix(name.to_owned());
        self.bar.set_message(what.to_owned());
        self.bar.tick();
        if !self.terminal {
            eprintln!("{name}: {what}");
        }
    }

    /// How far it is, 0 to 1, and what happens.
    pub(super) fn at(&self, share: f64, what: String) {
        self.bar.set_position((share.clamp(0.0, 1.0) * 1_000.0) as u64);
        self.bar.set_message(what);
    }

    /// No more phases.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// "2,950 orders/s, 1,998 in flight, 12 s".
pub(super) fn pace(per_second: f64, in_flight: u64, left: Option<Duration>) -> String {
    let left = left.map_or(String::new(), |left| format!(", {} s left", left.as_secs()));
    format!("{per_second:.0} orders/s, {in_flight} in flight{left}")
}
