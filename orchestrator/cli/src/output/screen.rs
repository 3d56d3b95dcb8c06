//! A part of the terminal that is redrawn in place, with lines that scroll above it: what is said and what is logged.
//! Without a terminal, only the lines.

use std::{
    io::{IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
};

use tracing_subscriber::fmt::MakeWriter;

use super::style;

/// Clones share the terminal.
#[derive(Clone, Debug)]
pub struct Screen {
    /// Whether frames are drawn.
    pub live: bool,
    /// Whether lines may have colours.
    pub colours: bool,
    /// Log lines go to the same terminal.
    shared: bool,
    frame: Arc<Mutex<Vec<String>>>,
}

impl Screen {
    /// Frames are drawn when `wanted` and standard output is a terminal that can.
    pub fn new(wanted: bool) -> Screen {
        let (out, err) = (std::io::stdout(), std::io::stderr());
        let live = wanted && out.is_terminal() && !style::dumb();
        let shared = live && err.is_terminal();
        Screen { live, colours: style::colours(&out), shared, frame: Arc::default() }
    }

    /// How many characters a line of a frame may have.
    pub fn width(&self) -> usize {
        let size = self.live.then(|| rustix::termios::tcgetwinsize(std::io::stdout()).ok()).flatten();
        size.map(|size| usize::from(size.ws_col)).filter(|width| *width > 0).unwrap_or(usize::MAX)
    }

    /// Writes lines; they stay.
    pub fn say(&self, text: &str) {
        self.above(|out| writeln!(out, "{text}"));
    }

    /// Shows `frame` in the place of the one before.
    pub fn draw(&self, frame: Vec<String>) {
        if self.live {
            let mut drawn = self.frame.lock().unwrap_or_else(PoisonError::into_inner);
            let mut out = std::io::stdout().lock();
            // A terminal that has gone will not be told.
            let _ = out.write_all(redraw(drawn.len(), &frame).as_bytes()).and_then(|()| out.flush());
            *drawn = frame;
        }
    }

    /// The frame that was drawn last stays where it is.
    pub fn keep(&self) {
        self.frame.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn above(&self, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) {
        let drawn = self.frame.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = std::io::stdout().lock();
        let _ = out
            .write_all(erase(drawn.len()).as_bytes())
            .and_then(|()| write(&mut out))
            .and_then(|()| out.write_all(redraw(0, &drawn).as_bytes()))
            .and_then(|()| out.flush());
    }
}

/// Goes to the first line of what was drawn and clears all below.
fn erase(lines: usize) -> String {
    if lines == 0 { String::new() } else { format!("\x1b[{lines}A\r\x1b[J") }
}

/// A frame in the place of one of so many lines. Nothing is wrapped (the terminal may just have become narrower): a wrapped
/// line would take two.
pub fn redraw(before: usize, frame: &[String]) -> String {
    if frame.is_empty() {
        return erase(before);
    }
    format!("{}\x1b[?7l{}\n\x1b[?7h", erase(before), frame.join("\n"))
}

/// Where one log line is put together.
#[derive(Debug)]
pub struct LogLine<'a> {
    screen: &'a Screen,
    text: Vec<u8>,
}

impl<'a> MakeWriter<'a> for Screen {
    type Writer = LogLine<'a>;

    fn make_writer(&'a self) -> LogLine<'a> {
        LogLine { screen: self, text: Vec::new() }
    }
}

impl Write for LogLine<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLine<'_> {
    fn drop(&mut self) {
        let text = &self.text;
        let write = || std::io::stderr().lock().write_all(text);
        if self.screen.shared {
            self.screen.above(|_| write());
        } else {
            let _ = write();
        }
    }
}
