//! Every kind of difference, and what is none.

use uuid::Uuid;

use super::*;

fn ours(state: State, gateway_ref: Option<&str>, refund_ref: Option<&str>) -> Charge {
    Charge {
        key: Key { saga: Uuid::nil(), step: "charge".to_owned(), epoch: 1 },
        amount_minor: 500,
        currency: "EUR".to_owned(),
        customer_id: "bob".to_owned(),
        method_token: String::new(),
        state,
        gateway_ref: gateway_ref.map(str::to_owned),
        refund_ref: refund_ref.map(str::to_owned),
        intent_at: 0,
        settled_at: None,
        refunded_at: None,
    }
}

fn record(kind: Kind, reference: &str) -> Record {
    Record {
        at: 0,
        reference: reference.to_owned(),
        kind,
        our_ref: String::new(),
        amount_minor: 500,
        currency: "EUR".to_owned(),
    }
}

#[test]
fn a_record_is_the_same_or_under_way_or_differs() {
    use DifferenceKind::{Amount, ChargeOnlyAtGateway, RefundOnlyAtGateway};
    let captured = ours(State::Captured, Some("c"), None);
    let refunded = ours(State::Refunded, Some("c"), Some("r"));
    let cases = [
        (Kind::Charge, "c", Some(captured.clone()), false, Verdict::Same),
        (Kind::Charge, "c", Some(refunded.clone()), false, Verdict::Same),
        (Kind::Refund, "r", Some(refunded.clone()), false, Verdict::Same),
        (Kind::Charge, "c", Some(ours(State::Intent, None, None)), false, Verdict::Open),
        (Kind::Refund, "r", Some(captured.clone()), true, Verdict::Open),
        (Kind::Charge, "c", None, false, Verdict::Differs(ChargeOnlyAtGateway)),
        (Kind::Charge, "twice", Some(captured.clone()), false, Verdict::Differs(ChargeOnlyAtGateway)),
        (
            Kind::Charge,
            "c",
            Some(ours(State::Declined, None, None)),
            false,
            Verdict::Differs(ChargeOnlyAtGateway),
        ),
        (
            Kind::Charge,
            "c",
            Some(ours(State::Unresolved, None, None)),
            false,
            Verdict::Differs(ChargeOnlyAtGateway),
        ),
        (Kind::Refund, "r", None, false, Verdict::Differs(RefundOnlyAtGateway)),
        (Kind::Refund, "r", Some(captured), false, Verdict::Differs(RefundOnlyAtGateway)),
        (Kind::Refund, "twice", Some(refunded), true, Verdict::Differs(RefundOnlyAtGateway)),
    ];
    for (kind, reference, charge, refunding, expected) in cases {
        let found = at_gateway(&record(kind, reference), charge.as_ref(), refunding);
        assert_eq!(found, expected, "{kind:?} {reference} {charge:?}");
    }
    let less = Record { amount_minor: 499, ..record(Kind::Charge, "c") };
    let other = Record { currency: "USD".to_owned(), ..record(Kind::Charge, "c") };
    for record in [less, other] {
        let ours = ours(State::Captured, Some("c"), None);
        assert_eq!(at_gateway(&record, Some(&ours), false), Verdict::Differs(Amount));
    }
}

#[test]
fn a_place_is_read_as_it_was_told() {
    let key = Key { saga: Uuid::now_v7(), step: "charge".to_owned(), epoch: 3 };
    for place in [
        Place::Gateway(17, String::new()),
        Place::Gateway(17, "ch_1/2".to_owned()),
        Place::Ours(None),
        Place::Ours(Some(key)),
    ] {
        assert_eq!(Place::read(&place.token()), Some(place));
    }
    for wrong in ["", "x", "gateway", "gateway/x/y", "gateway/1", "ours/x", "theirs/1/y", "gateway/1/\0"] {
        assert_eq!(Place::read(wrong), None, "{wrong:?}");
    }
}
