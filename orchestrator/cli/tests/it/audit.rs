//! What `skald audit` finds: each promise broken in turn, in evidence and in real databases.

use skald_cli::audit::{
    Report,
    judge::{self, Charge, Evidence, Moved, Reservation, Sku, Standing, Violation},
    text,
};
use uuid::Uuid;

fn goods(state: char) -> Reservation {
    Reservation { state, lines: vec![("tea".into(), 2), ("pot".into(), 1)] }
}

fn charge(state: char) -> Charge {
    Charge { state, amount_minor: 900 }
}

fn completed() -> Evidence {
    Evidence {
        id: Uuid::from_u128(1),
        standing: Standing::Completed,
        total_minor: 900,
        lines: vec![("pot".into(), 1), ("tea".into(), 2)],
        goods_vouched: false,
        money_vouched: false,
        reservations: vec![goods('C')],
        charges: vec![charge('C')],
        moved: Some(Moved { charges: 1, charged_minor: 900, ..Moved::default() }),
    }
}

fn compensated() -> Evidence {
    Evidence {
        standing: Standing::Compensated,
        reservations: vec![goods('L')],
        charges: vec![charge('R')],
        moved: Some(Moved { charges: 1, refunds: 1, charged_minor: 900, refunded_minor: 900 }),
        ..completed()
    }
}

#[test]
fn what_is_as_promised_is_no_violation() {
    let free = Evidence { total_minor: 0, charges: vec![], moved: Some(Moved::default()), ..completed() };
    let declined = Evidence { charges: vec![charge('D')], moved: Some(Moved::default()), ..compensated() };
    let underway = Evidence {
        standing: Standing::Underway,
        reservations: vec![goods('H')],
        charges: vec![charge('I')],
        ..completed()
    };
    let unread = Evidence { moved: None, ..completed() };
    for evidence in [completed(), compensated(), free, declined, underway, unread] {
        assert_eq!(judge::order(&evidence), [], "{evidence:?}");
    }
}

#[test]
fn each_broken_promise_is_named() {
    type Break = fn(&mut Evidence);
    let table: [(&str, Evidence, Break); 14] = [
        ("goods", completed(), |e| e.reservations.clear()),
        ("goods", completed(), |e| e.reservations[0].state = 'H'),
        ("goods", completed(), |e| e.reservations[0].lines[0].1 = 3),
        ("goods", completed(), |e| e.reservations.push(goods('C'))),
        ("goods", compensated(), |e| e.reservations[0].state = 'H'),
        ("money", completed(), |e| e.charges[0].state = 'R'),
        ("money", completed(), |e| e.charges[0].amount_minor = 901),
        ("money", completed(), |e| e.charges.push(charge('C'))),
        ("money", compensated(), |e| e.charges[0].state = 'C'),
        ("money", compensated(), |e| e.charges[0].state = 'U'),
        ("gateway", completed(), |e| e.moved.as_mut().unwrap().charges = 2),
        ("gateway", completed(), |e| e.moved.as_mut().unwrap().refunds = 1),
        ("gateway", compensated(), |e| e.moved.as_mut().unwrap().refunds = 2),
        ("gateway", compensated(), |e| e.moved.as_mut().unwrap().refunded_minor = 899),
    ];
    for (i, (rule, mut evidence, spoil)) in table.into_iter().enumerate() {
        spoil(&mut evidence);
        let found: Vec<&str> = judge::order(&evidence).iter().map(|v| v.rule).collect();
        assert_eq!(found, [rule], "case {i}");
    }
    // What a person vouched for is not judged.
    let vouched = Evidence { charges: vec![], money_vouched: true, ..completed() };
    assert_eq!(judge::order(&vouched), []);
    let stranger = Evidence { standing: Standing::Unknown, moved: None, ..completed() };
    assert_eq!(judge::order(&stranger).len(), 2);
}

#[test]
fn each_unit_is_counted() {
    let good =
        Sku { sku: "tea".into(), stocked: 10, available: 5, reserved: 2, committed: 3, held: 2, sold: 3 };
    assert_eq!(judge::sku(&good), []);
    for spoilt in [
        Sku { available: 6, ..good.clone() },
        Sku { held: 1, ..good.clone() },
        Sku { sold: 4, ..good.clone() },
        Sku { available: -1, stocked: 4, ..good.clone() },
    ] {
        assert_eq!(judge::sku(&spoilt).len(), 1, "{spoilt:?}");
    }
}

#[test]
fn a_report_names_each_violation() {
    let mut report = Report { orders: 3, skus: 2, gateway: true, ..Report::default() };
    assert_eq!(text(&report, false), "3 orders, 2 SKUs, the gateway's books\nall adds up");
    report.vouched = 1;
    report.violations.push(Violation { rule: "stock", about: "tea".into(), what: "too many".into() });
    assert_eq!(
        text(&report, false),
        "\
3 orders, 2 SKUs, the gateway's books; 1 steps stand on a person's word and were not judged
RULE   ORDER OR SKU  WHAT
stock  tea           too many
1 violations"
    );
}
