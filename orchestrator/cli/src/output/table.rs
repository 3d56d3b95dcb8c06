//! Tables as text: columns as wide as their widest cell, two blanks apart, nothing else. And pairs, one below the other.

use super::style::Tone;

/// One cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell with a tone. What customers wrote may hold control characters, which are no business of the terminal.
    pub fn new(text: impl Into<String>, tone: Tone) -> Cell {
        let text = text.into();
        let text =
            if text.contains(char::is_control) { text.replace(char::is_control, "\u{fffd}") } else { text };
        Cell { text, tone }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell::new(text, Tone::Plain)
    }
}

/// Rows under headings.
#[derive(Clone, Debug, Default)]
pub struct Table {
    columns: Vec<(&'static str, bool)>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Headings; one that begins with `>` is aligned to the right, as numbers are.
    pub fn new(columns: &[&'static str]) -> Table {
        let column = |name: &&'static str| name.strip_prefix('>').map_or((*name, false), |name| (name, true));
        Table { columns: columns.iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row; it has as many cells as there are columns.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// No row was added.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines, headings first.
    pub fn lines(&self, colours: bool) -> Vec<String> {
        self.lines_within(usize::MAX, colours)
    }

    /// The lines, the last column cut where they would be longer than `limit` characters.
    pub fn lines_within(&self, limit: usize, colours: bool) -> Vec<String> {
        let heading = self.columns.iter().map(|(name, _)| Cell::new(*name, Tone::Dim)).collect::<Vec<_>>();
        let all = || std::iter::once(&heading).chain(&self.rows);
        let width = |column: usize| {
            all().map(|row| row.get(column).map_or(0, |cell| chars(&cell.text))).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let before: usize = widths.iter().rev().skip(1).map(|width| width + 2).sum();
        let last = limit.saturating_sub(before);
        all().map(|row| self.line(row, &widths, last, colours)).collect()
    }

    /// As one text.
    pub fn render(&self, colours: bool) -> String {
        self.lines(colours).join("\n")
    }

    fn line(&self, row: &[Cell], widths: &[usize], last: usize, colours: bool) -> String {
        let mut line = String::new();
        // Blanks are owed until something follows them: no line ends in blanks.
        let mut owed = 0;
        for (i, ((cell, width), (_, right))) in row.iter().zip(widths).zip(&self.columns).enumerate() {
            let text = if i + 1 == widths.len() { cut(&cell.text, last) } else { cell.text.clone() };
            let blanks = width - chars(&cell.text);
            if *right {
                owed += blanks;
            }
            if !text.is_empty() {
                line.extend(std::iter::repeat_n(' ', owed));
                line.push_str(&cell.tone.paint(&text, colours));
                owed = 0;
            }
            owed += if *right { 2 } else { 2 + blanks };
        }
        line
    }
}

/// Names and values below each other; pairs without a value are left out.
pub fn pairs(pairs: &[(&str, Cell)], colours: bool) -> String {
    let shown: Vec<_> = pairs.iter().filter(|(_, value)| !value.text.is_empty()).collect();
    let width = shown.iter().map(|(name, _)| chars(name)).max().unwrap_or(0);
    let line = |(name, value): &&(&str, Cell)| {
        let blanks = " ".repeat(width - chars(name) + 2);
        format!("{}{blanks}{}", Tone::Dim.paint(name, colours), value.tone.paint(&value.text, colours))
    };
    shown.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// At most so many characters, the last of them … when some are missing.
fn cut(text: &str, limit: usize) -> String {
    if chars(text) <= limit {
        return text.to_owned();
    }
    let kept: String = text.chars().take(limit.saturating_sub(1)).collect();
    if limit == 0 { kept } else { format!("{}…", kept.trim_end()) }
}

fn chars(text: &str) -> usize {
    text.chars().count()
}
