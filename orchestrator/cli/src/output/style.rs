//! Colours, on a terminal alone, and never when `NO_COLOR` is set (https://no-color.org).

use std::io::IsTerminal;

/// What a piece of text says by its colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing.
    #[default]
    Plain,
    /// It ended well.
    Good,
    /// It went wrong.
    Bad,
    /// It was turned round, or wants attention.
    Warn,
    /// It is under way.
    Busy,
    /// Less important.
    Dim,
    /// A heading.
    Strong,
}

impl Tone {
    /// The text with its colour when `colours` is on.
    pub fn paint(self, text: &str, colours: bool) -> String {
        let code = match self {
            Tone::Plain => return text.to_owned(),
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Warn => "33",
            Tone::Busy => "36",
            Tone::Dim => "2",
            Tone::Strong => "1",
        };
        if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Whether this stream gets colours.
pub(crate) fn colours(stream: &impl IsTerminal) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !refused && !dumb()
}

/// A terminal that understands no control sequences.
pub(crate) fn dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}
