//! The allocation as a table, and as properties over random waves.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn counters(available: i64, reserved: i64, committed: i64) -> Counters {
    Counters { stocked: available + reserved + committed, available, reserved, committed, version: 7 }
}

fn lines(wanted: &[(&str, i64)]) -> Vec<Line> {
    wanted.iter().map(|(sku, quantity)| Line { sku: (*sku).to_owned(), quantity: *quantity }).collect()
}

fn shelf(rows: &[(&str, Counters)]) -> Shelf {
    Shelf::new(rows.iter().map(|(sku, counters)| ((*sku).to_owned(), *counters)))
}

fn shortage(sku: &str, requested: i64, available: i64) -> Shortage {
    Shortage { sku: sku.to_owned(), requested, available }
}

#[test]
fn every_missing_line_is_named_and_none_taken() {
    let mut shelf = shelf(&[("a", counters(5, 0, 0)), ("b", counters(1, 0, 0))]);
    let refused = shelf.reserve(&lines(&[("a", 2), ("b", 3), ("unknown", 1)]));
    assert_eq!(refused, Err(vec![shortage("b", 3, 1), shortage("unknown", 1, 0)]));
    assert_eq!(shelf.changes(), vec![]);
}

#[test]
fn who_comes_first_is_served_first() {
    let mut shelf = shelf(&[("a", counters(5, 0, 0))]);
    assert_eq!(shelf.reserve(&lines(&[("a", 3)])), Ok(()));
    assert_eq!(shelf.reserve(&lines(&[("a", 3)])), Err(vec![shortage("a", 3, 2)]));
    assert_eq!(shelf.reserve(&lines(&[("a", 2)])), Ok(()));
    let after = Counters { version: 8, ..counters(0, 5, 0) };
    assert_eq!(shelf.changes(), vec![Change { sku: "a".to_owned(), kind: Kind::Reserved, after }]);
}

#[test]
fn what_was_released_earlier_in_the_wave_can_be_had() {
    let mut shelf = shelf(&[("a", counters(0, 4, 0))]);
    assert_eq!(shelf.reserve(&lines(&[("a", 1)])), Err(vec![shortage("a", 1, 0)]));
    assert_eq!(shelf.release(&lines(&[("a", 4)])), Ok(()));
    assert_eq!(shelf.reserve(&lines(&[("a", 1)])), Ok(()));
}

#[test]
fn one_change_per_sku_and_kind_with_rising_versions() {
    let mut shelf = shelf(&[("a", counters(9, 6, 1)), ("b", counters(0, 1, 0)), ("c", counters(3, 0, 0))]);
    shelf.reserve(&lines(&[("a", 2)])).expect("there is enough");
    shelf.commit(&lines(&[("a", 4)])).expect("it is held");
    shelf.release(&lines(&[("a", 2), ("b", 1)])).expect("it is held");
    shelf.reserve(&lines(&[("a", 1)])).expect("there is enough");
    let change = |sku: &str, kind, version, counters: Counters| Change {
        sku: sku.to_owned(),
        kind,
        after: Counters { version, ..counters },
    };
    let changes = shelf.changes();
    assert_eq!(
        changes,
        vec![
            change("a", Kind::Released, 8, counters(11, 4, 1)),
            change("a", Kind::Committed, 9, counters(11, 0, 5)),
            change("a", Kind::Reserved, 10, counters(8, 3, 5)),
            change("b", Kind::Released, 8, counters(1, 0, 0)),
        ]
    );
    assert_eq!(last_of_each(&changes), vec![&changes[2], &changes[3]]);
    assert_eq!(last_of_each(&[]), Vec::<&Change>::new());
}

#[test]
fn what_was_reserved_in_this_wave_is_not_held_yet() {
    let mut shelf = shelf(&[("a", counters(5, 1, 0))]);
    shelf.reserve(&lines(&[("a", 3)])).expect("there is enough");
    let inconsistent = Inconsistent { sku: "a".to_owned(), reserved: 1, wanted: 2 };
    assert_eq!(shelf.release(&lines(&[("a", 2)])), Err(inconsistent.clone()));
    assert_eq!(shelf.commit(&lines(&[("a", 2)])), Err(inconsistent));
    assert_eq!(shelf.changes().len(), 1, "a refused release changed something");
}

#[derive(Clone, Debug)]
enum Op {
    Reserve(Vec<Line>),
    Release(Vec<Line>),
    Commit(Vec<Line>),
}

fn some_lines() -> impl Strategy<Value = Vec<Line>> {
    prop::collection::btree_map("[a-e]", 1_i64..6, 1..4)
        .prop_map(|map| map.into_iter().map(|(sku, quantity)| Line { sku, quantity }).collect())
}

fn some_rows() -> impl Strategy<Value = BTreeMap<String, Counters>> {
    prop::collection::btree_map(
        "[a-d]",
        (0_i64..12, 0_i64..8, 0_i64..3).prop_map(|(a, r, c)| counters(a, r, c)),
        1..4,
    )
}

fn some_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => some_lines().prop_map(Op::Reserve),
        1 => some_lines().prop_map(Op::Release),
        1 => some_lines().prop_map(Op::Commit),
    ]
}

/// Free, held and handed over, by SKU.
type Units = BTreeMap<String, (i64, i64, i64)>;

/// The same, slowly and obviously: one order after the other, each SKU's free and held units in a map.
fn oracle(rows: &BTreeMap<String, Counters>, ops: &[Op]) -> (Vec<bool>, Units) {
    let mut free: BTreeMap<&str, i64> = rows.iter().map(|(s, c)| (s.as_str(), c.available)).collect();
    let mut held: BTreeMap<&str, i64> = rows.iter().map(|(s, c)| (s.as_str(), c.reserved)).collect();
    let mut fresh: BTreeMap<&str, i64> = BTreeMap::new();
    let mut gone: BTreeMap<&str, i64> = BTreeMap::new();
    let mut answers = Vec::new();
    for op in ops {
        let (lines, from) = match op {
            Op::Reserve(lines) => (lines, &free),
            Op::Release(lines) | Op::Commit(lines) => (lines, &held),
        };
        let fits = lines.iter().all(|l| from.get(l.sku.as_str()).copied().unwrap_or(0) >= l.quantity);
        answers.push(fits);
        for line in lines.iter().filter(|_| fits) {
            let sku = line.sku.as_str();
            match op {
                Op::Reserve(_) => {
                    *free.entry(sku).or_default() -= line.quantity;
                    *fresh.entry(sku).or_default() += line.quantity;
                }
                Op::Release(_) => {
                    *held.entry(sku).or_default() -= line.quantity;
                    *free.entry(sku).or_default() += line.quantity;
                }
                Op::Commit(_) => {
                    *held.entry(sku).or_default() -= line.quantity;
                    *gone.entry(sku).or_default() += line.quantity;
                }
            }
        }
    }
    let at = |map: &BTreeMap<&str, i64>, sku: &str| map.get(sku).copied().unwrap_or(0);
    let end = rows
        .iter()
        .map(|(sku, c)| {
            let reserved = at(&held, sku) + at(&fresh, sku);
            (sku.clone(), (at(&free, sku), reserved, c.committed + at(&gone, sku)))
        })
        .collect();
    (answers, end)
}

proptest! {
    /// All-or-nothing, arrival order, never negative, adds up, versions rise by one: against the oracle.
    #[test]
    fn a_wave_is_what_one_order_after_the_other_would_do(
        rows in some_rows(),
        ops in prop::collection::vec(some_op(), 0..20),
    ) {
        let mut shelf = Shelf::new(rows.clone());
        let answers: Vec<bool> = ops
            .iter()
            .map(|op| match op {
                Op::Reserve(lines) => shelf.reserve(lines).is_ok(),
                Op::Release(lines) => shelf.release(lines).is_ok(),
                Op::Commit(lines) => shelf.commit(lines).is_ok(),
            })
            .collect();
        let (expected_answers, expected_end) = oracle(&rows, &ops);
        prop_assert_eq!(answers, expected_answers);

        let changes = shelf.changes();
        let mut now = rows.clone();
        for change in &changes {
            let after = change.after;
            prop_assert!(after.available >= 0 && after.reserved >= 0 && after.committed >= 0);
            prop_assert_eq!(after.available + after.reserved + after.committed, after.stocked);
            let before = now.insert(change.sku.clone(), after).expect("only known SKUs change");
            prop_assert_eq!(after.version, before.version + 1);
            prop_assert_eq!(after.stocked, before.stocked);
        }
        let end: BTreeMap<_, _> = now
            .iter()
            .map(|(sku, c)| (sku.clone(), (c.available, c.reserved, c.committed)))
            .collect();
        prop_assert_eq!(end, expected_end);
        let written: BTreeMap<_, _> = last_of_each(&changes)
            .into_iter()
            .map(|change| (change.sku.clone(), change.after))
            .collect();
        for (sku, after) in written {
            prop_assert_eq!(now[&sku], after);
        }
    }
}
