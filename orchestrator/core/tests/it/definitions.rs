//! The definitions that the tables use.

use std::sync::Arc;

use skald_core::{Definition, definition::parse};

fn load(text: &str) -> Arc<Definition> {
    Arc::new(parse(text).expect("a sound definition"))
}

/// What ships: reserve, pay (signal), charge, fulfil (signal), commit (pivot).
pub(crate) fn order() -> Arc<Definition> {
    Arc::new(Definition::order())
}

/// One step, two branches, and a pivot that joins them; a second stage is reached on each branch.
pub(crate) fn diamond() -> Arc<Definition> {
    load(
        r#"
        name = "diamond"
        version = 1
        stages = ["OPEN", "LEFT", "RIGHT", "DONE"]
        max_age = "1d"
        step = [
            { name = "open", participant = "p", action = "open", undo = "close", stage = "OPEN" },
            { name = "left", participant = "p", action = "l", undo = "un-l", after = ["open"], needs = ["open"], stage = "LEFT" },
            { name = "right", participant = "q", action = "r", undo = "un-r", after = ["open"], stage = "RIGHT" },
            { name = "join", participant = "p", action = "join", pivot = true, after = ["left", "right"], needs = ["open", "right"], stage = "DONE" },
        ]
        "#,
    )
}

/// Two branches without a common start, no pivot; `check` leaves nothing behind; `book` parks on a no.
pub(crate) fn no_pivot() -> Arc<Definition> {
    load(
        r#"
        name = "no_pivot"
        version = 1
        max_age = "1h"
        step = [
            { name = "check", participant = "p", action = "check", no_effect = true, after = [] },
            { name = "book", participant = "q", action = "book", undo = "unbook", after = [], on_rejected = "park", retry = { first = "1s", max = "1s", attempts = 2, slow = "1m" } },
            { name = "end", participant = "p", action = "end", undo = "unend", after = ["check", "book"], needs = ["check"] },
        ]
        "#,
    )
}

/// The pivot comes first; a command and a signal follow it side by side, and one more command.
pub(crate) fn pivot_first() -> Arc<Definition> {
    load(
        r#"
        name = "pivot_first"
        version = 1
        stages = ["PAID", "DONE"]
        max_age = "2h"
        retry = { first = "1s", factor = 3.0, max = "5s", attempts = 2, slow = "1m" }
        step = [
            { name = "pay", participant = "p", action = "pay", pivot = true, stage = "PAID" },
            { name = "ship", participant = "q", action = "ship", after = ["pay"], needs = ["pay"] },
            { name = "pickup", signal = true, deadline = "1h", on_deadline = "NOT_PICKED_UP", after = ["pay"] },
            { name = "rate", signal = true, deadline = "1h", on_deadline = "NOT_RATED", after = ["pay"] },
            { name = "thank", participant = "q", action = "thank", after = ["ship", "pickup", "rate"], needs = ["pickup"], stage = "DONE" },
        ]
        "#,
    )
}

/// The pivot parks on a no instead of turning round.
pub(crate) fn stubborn() -> Arc<Definition> {
    load(
        r#"
        name = "stubborn"
        version = 1
        max_age = "1h"
        step = [
            { name = "hold", participant = "p", action = "hold", undo = "drop" },
            { name = "take", participant = "p", action = "take", pivot = true, on_rejected = "park", deadline = "10m", needs = ["hold"] },
        ]
        "#,
    )
}
