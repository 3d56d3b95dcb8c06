//! Lists that come in pages: reads on until there is enough, and shows each thing as soon as it is there where that is
//! possible.

use serde_json::Value;

use crate::{
    exit::Failure,
    output::{self, Format, Rows},
};

/// How much of a list, and how it is shown.
pub(crate) struct List {
    pub(crate) format: Format,
    /// Things at most.
    pub(crate) limit: u64,
    /// The most that one call gives.
    pub(crate) most: usize,
}

impl List {
    /// Asks `page` (how many, behind which token) for things and the next token, and shows them: as JSON each, or all
    /// together as `text` makes it of whether there are more and whether there are colours.
    ///
    /// # Errors
    /// A page can't be had; standard output can't be written.
    pub(crate) async fn show<T>(
        self,
        json: impl Fn(&T) -> Value,
        text: impl FnOnce(&[T], bool, bool) -> String,
        mut page: impl AsyncFnMut(i32, String) -> Result<(Vec<T>, String), Failure>,
    ) -> Result<(), Failure> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let (mut all, mut shown, mut rows) = (Vec::new(), 0, Rows::new(self.format));
        let mut token = String::new();
        let more = loop {
            let size = i32::try_from((limit - shown).min(self.most)).unwrap_or(i32::MAX);
            let (things, next) = page(size, token).await?;
            shown += things.len();
            things.iter().try_for_each(|thing| rows.add(&json(thing)))?;
            if self.format == Format::Table {
                all.extend(things);
            }
            token = next;
            if token.is_empty() || shown >= limit {
                break !token.is_empty();
            }
        };
        match self.format {
            Format::Table => output::line(&text(&all, more, output::colours())),
            Format::Json | Format::Jsonl => rows.end(),
        }
    }
}
