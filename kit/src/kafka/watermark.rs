//! Which offset of one partition may be stored while its messages are finished in any order. Pure.

use std::collections::VecDeque;

/// The messages of one partition that were taken and not all finished. It starts anew with each assignment.
///
/// Its size is the number of messages between the lowest unfinished one and the last one taken.
#[derive(Debug, Clone, Default)]
pub struct Watermark {
    /// Ascending offsets; gaps (compaction, transactions) are fine. `true`: finished.
    window: VecDeque<(i64, bool)>,
    last: Option<i64>,
}

impl Watermark {
    /// Nothing taken yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A message was taken from the broker. Offsets ascend; one that does not (the log was cut off and the
    /// position reset) starts the window anew, so what was taken before no longer counts.
    pub fn taken(&mut self, offset: i64) {
        if self.last.is_some_and(|last| offset <= last) {
            self.window.clear();
        }
        self.last = Some(offset);
        self.window.push_back((offset, false));
    }

    /// A message is finished. `Some(next)`: the lowest unfinished moved on; store `next`. A message that was
    /// not taken, or was finished before, changes nothing.
    pub fn done(&mut self, offset: i64) -> Option<i64> {
        let at = self.window.binary_search_by_key(&offset, |entry| entry.0).ok()?;
        self.window[at].1 = true;
        let mut next = None;
        while let Some((offset, true)) = self.window.front() {
            next = Some(offset + 1);
            self.window.pop_front();
        }
        next
    }

    /// Messages in the window: an upper bound of what is unfinished.
    pub fn len(&self) -> usize {
        self.window.len()
    }

    /// Everything that was taken is finished.
    pub fn is_empty(&self) -> bool {
        self.window.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn moves_on_only_when_the_lowest_is_finished() {
        let mut watermark = Watermark::new();
        for offset in [10, 11, 15] {
            watermark.taken(offset);
        }
        assert_eq!(watermark.done(11), None);
        assert_eq!(watermark.done(11), None);
        assert_eq!(watermark.done(9), None);
        assert_eq!(watermark.done(10), Some(12));
        assert_eq!(watermark.done(15), Some(16));
        assert!(watermark.is_empty());
    }

    #[test]
    fn a_position_that_jumped_back_starts_anew() {
        let mut watermark = Watermark::new();
        watermark.taken(100);
        watermark.taken(0);
        assert_eq!(watermark.done(100), None);
        assert_eq!(watermark.done(0), Some(1));
    }

    proptest! {
        /// Any gaps, any order of completion, repeats: what is stored never passes an unfinished message,
        /// never falls, and reaches the end.
        #[test]
        fn never_passes_an_unfinished_message(
            gaps in prop::collection::vec(1_i64..5, 1..60),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..200),
        ) {
            let offsets: Vec<i64> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
            let mut watermark = Watermark::new();
            let mut unfinished: std::collections::BTreeSet<i64> = offsets.iter().copied().collect();
            offsets.iter().for_each(|offset| watermark.taken(*offset));
            let mut stored = i64::MIN;
            let picked = order.iter().map(|index| offsets[index.index(offsets.len())]);
            for offset in picked.chain(offsets.iter().copied()) {
                unfinished.remove(&offset);
                if let Some(next) = watermark.done(offset) {
                    prop_assert!(next > stored);
                    prop_assert!(unfinished.first().is_none_or(|low| next <= *low));
                    stored = next;
                }
            }
            prop_assert_eq!(stored, offsets[offsets.len() - 1] + 1);
            prop_assert!(watermark.is_empty());
        }
    }
}
