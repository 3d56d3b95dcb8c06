//! The gate before a deployment finds a change in `advance` itself: a history that was recorded without it is folded with it, and the
//! finding names the row and the field.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use prost::Message;
use skald_core::{
    Definition, FORMAT, Input,
    archive::Recorded,
    history,
    input::{DeadlineFired, Request},
    plan::{self, Ask, Item, Loaded},
    state::State,
    verify::verify,
};
use skald_sim::planted;
use uuid::Uuid;

const BEGAN: i64 = 1_767_225_600_000;
const GIVES_UP: i64 = 30 * 60 * 1000;

/// An order of which the reservation was never answered, as it stands in the tables.
fn recorded(definition: &Arc<Definition>) -> Recorded {
    let id = Uuid::from_u128(7);
    let request = Request::default().encode_to_vec();
    let started = Input::Started(history::started(&request).expect("a request"));
    let mut loaded = BTreeMap::new();
    let mut rows = Vec::new();
    let mut last: Option<(State, Vec<u8>)> = None;
    let asks =
        [Ask::Start(Arc::clone(definition), started), Ask::Fold(Input::DeadlineFired(DeadlineFired {}))];
    for (ask, now) in asks.into_iter().zip([BEGAN, BEGAN + GIVES_UP]) {
        let item = Item { saga: id, actor: "test".into(), ask, token: () };
        let plan = plan::plan(now, vec![item], loaded, &BTreeSet::new());
        let write = plan.writes.into_iter().next().expect("it is accepted");
        rows.extend(write.rows);
        let saga =
            Loaded { definition: Arc::clone(definition), state: write.state.clone(), quarantined: false };
        loaded = BTreeMap::from([(id, saga)]);
        last = Some((write.state, write.bytes));
    }
    let (state, bytes) = last.expect("two inputs");
    let (version, active) = (state.version, !state.is_final());
    Recorded { id, definition: 1, version, format: FORMAT, active, request, state: bytes, rows }
}

#[test]
fn a_planted_change_in_advance_is_named() {
    planted::set("");
    let definition = Arc::new(Definition::order());
    let saga = recorded(&definition);
    assert_eq!(verify(&definition, &saga), [], "untouched");

    planted::set("turn_forgets_what_runs");
    let found = verify(&definition, &saga);
    planted::set("");
    let [finding] = &found[..] else { panic!("one finding: {found:#?}") };
    assert_eq!(finding.code, "DIGEST");
    assert_eq!(finding.row.map(|(seq, _)| seq), Some(2), "the deadline's row");
    let difference = finding.difference.as_ref().expect("the stored state is at hand");
    let named = format!("{difference:?}");
    assert!(named.contains("reserve") || named.contains("phase"), "{named}");
    assert_eq!(verify(&definition, &saga), [], "and nothing is wrong without it");
}
