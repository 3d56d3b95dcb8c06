//! Golden: what participants say at their own desks, and what is done there.

use prost::Name as _;
use prost_types::{Any, Timestamp};
use skald_cli::{
    operator::desks::view as desks,
    payment::view::{self as payment, Compared},
    stock::view as stock,
};
use skald_proto::{
    inventory::v1::{
        AdjustResponse, AuditResponse, Discrepancy, Reservation, ReservationLine, ReservationState, Stock,
    },
    participant::v1::{
        BarrierRow, BarrierVerdict, Breaker, BreakerState, GetStatusResponse, OpenIntent, OpenIntents,
        PartitionLag, Verb,
    },
    payment::v1::{
        Charge, ChargeState, Charged, DidNotHappen, Difference, DifferenceKind, GatewayMovement, Happened,
        ReconcileResponse, SettleRequest, SettleResponse, settle_request::Found,
    },
};

const NOW: i64 = 1_700_000_000;
const ID: &str = "018bcfe5-6800-7000-8000-000000000001";

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: NOW + seconds, nanos: 0 })
}

fn charge(state: ChargeState) -> Charge {
    Charge {
        order_id: ID.into(),
        step: "charge".into(),
        epoch: 1,
        state: state.into(),
        amount_minor: 900,
        currency: "EUR".into(),
        customer_id: "ada".into(),
        gateway_ref: "ch_1".into(),
        intent_at: at(-60),
        ..Charge::default()
    }
}

fn settle(verb: Verb, found: Found) -> SettleRequest {
    SettleRequest {
        saga_id: ID.into(),
        step: "charge".into(),
        epoch: 1,
        verb: verb.into(),
        found: Some(found),
        request_id: "r".into(),
        actor: "ada".into(),
        reason: "seen at the bank".into(),
    }
}

#[test]
fn charges_and_settling_them() {
    let table = "\
ORDER                                 STEP    EPOCH  STATE         AMOUNT  CUSTOMER  INTENT (UTC)                    REFERENCE  REFUND
018bcfe5-6800-7000-8000-000000000001  charge      1  UNRESOLVED  9.00 EUR  ada       2023-11-14 22:12:20 (60 s ago)  ch_1";
    let unresolved = charge(ChargeState::Unresolved);
    assert_eq!(payment::charges(std::slice::from_ref(&unresolved), false, NOW, false), table);
    assert_eq!(payment::charges(&[], false, NOW, false), "no such charge");

    let happened = settle(Verb::Run, Found::Happened(Happened { reference: "ch_4711".into() }));
    assert_eq!(
        payment::settling(&happened, &unresolved, true, NOW, false),
        format!(
            "{table}\nit would be told: the charge of 9.00 EUR did happen, as ch_4711\n  by ada: seen at the bank"
        )
    );
    let refund = settle(Verb::Undo, Found::DidNotHappen(DidNotHappen {}));
    let told = payment::settling(&refund, &unresolved, false, NOW, false);
    assert!(
        told.contains("\nit would be told: the refund of 9.00 EUR did not happen and never will\n"),
        "{told}"
    );
    assert!(told.ends_with("payment will say so and refuse"), "{told}");
    for (applied, title) in [(true, "settled"), (false, "it was settled before")] {
        let done = SettleResponse { charge: Some(unresolved.clone()), applied };
        assert_eq!(payment::settled(&done, NOW, false), format!("{title}\n{table}"));
    }
}

#[test]
fn a_reconciliation_names_each_difference() {
    let mut compared = Compared::default();
    compared.add(&ReconcileResponse { movements: 500, charges: 498, open: 1, ..Default::default() });
    assert_eq!(
        compared.text(NOW, false),
        "500 movements, 498 charges compared; 1 movements are under way here and will settle\nno difference"
    );
    let movement = GatewayMovement {
        reference: "ch_2".into(),
        refund: false,
        amount_minor: 900,
        currency: "EUR".into(),
        at: at(-120),
    };
    let difference = |kind: DifferenceKind, gateway, charge| Difference {
        kind: kind.into(),
        our_ref: format!("{ID}/charge/1"),
        gateway,
        charge,
    };
    let differences = vec![
        difference(DifferenceKind::ChargeOnlyAtGateway, Some(movement), None),
        difference(DifferenceKind::ChargeOnlyOurs, None, Some(charge(ChargeState::Captured))),
    ];
    let page = ReconcileResponse {
        movements: 2,
        charges: 2,
        differences: differences.clone(),
        ..Default::default()
    };
    compared.add(&page);
    compared.differences = differences;
    assert_eq!(
        compared.text(NOW, false),
        "\
502 movements, 500 charges compared; 1 movements are under way here and will settle
DIFFERENCE              ORDER / STEP / EPOCH                           GATEWAY   REFERENCE  OURS      SINCE (UTC)
CHARGE_ONLY_AT_GATEWAY  018bcfe5-6800-7000-8000-000000000001/charge/1  9.00 EUR  ch_2                 2023-11-14 22:11:20 (2 min ago)
CHARGE_ONLY_OURS        018bcfe5-6800-7000-8000-000000000001/charge/1                       CAPTURED  2023-11-14 22:12:20 (60 s ago)
2 differences"
    );
    assert_eq!(compared.json().to_string(), r#"{"charges":500,"differences":2,"movements":502,"open":1}"#);
}

#[test]
fn stock_is_corrected_and_checked() {
    let teapots =
        Stock { sku: "teapot".into(), stocked: 5, available: 3, reserved: 1, committed: 1, version: 9 };
    let table = "\
SKU     AVAILABLE  RESERVED  COMMITTED  STOCKED
teapot          3         1          1        5";
    assert_eq!(
        stock::adjusting(&teapots, -2, false),
        format!(
            "{table}\n2 fewer of teapot would be available and stocked\n  available 3 → 1, stocked 5 → 3"
        )
    );
    let refused = stock::adjusting(&teapots, -4, false);
    assert!(refused.ends_with("inventory will refuse"), "{refused}");
    let done = AdjustResponse { stock: Some(teapots.clone()), applied: true };
    assert_eq!(stock::adjusted(&done, false), format!("adjusted\n{table}"));

    let audit = AuditResponse { skus: 4, discrepancies: vec![] };
    assert_eq!(stock::check(&audit, false), "4 SKUs looked at\ncounters and reservations agree");
    let discrepancies = vec![Discrepancy { counters: Some(teapots), reserved: 2, committed: 1 }];
    assert_eq!(
        stock::check(&AuditResponse { skus: 4, discrepancies }, false),
        "\
4 SKUs looked at
SKU     RESERVED  BY RESERVATIONS  COMMITTED  BY RESERVATIONS
teapot         1                2          1                1
1 discrepancies"
    );
}

#[test]
fn reservations() {
    let line = |sku: &str, quantity| ReservationLine { sku: sku.into(), quantity };
    let one = Reservation {
        order_id: ID.into(),
        step: "reserve".into(),
        epoch: 1,
        state: ReservationState::Held.into(),
        lines: vec![line("tea", 2), line("teapot", 1)],
        held_at: at(-60),
        ended_at: None,
    };
    assert_eq!(
        stock::reservations(&[one], true, NOW, false),
        "\
ORDER                                 STEP     EPOCH  STATE  HELD (UTC)                      ENDED (UTC)  GOODS
018bcfe5-6800-7000-8000-000000000001  reserve      1  HELD   2023-11-14 22:12:20 (60 s ago)               2 × tea, 1 × teapot
… and more: --limit N shows them"
    );
}

fn row(verb: Verb, verdict: BarrierVerdict, summary: &str, content: Option<Any>) -> BarrierRow {
    BarrierRow {
        step: "charge".into(),
        epoch: 1,
        verb: verb.into(),
        verdict: verdict.into(),
        at: at(-60),
        summary: summary.into(),
        content,
    }
}

#[test]
fn a_barrier_says_each_thing_once() {
    let charged = Charged { gateway_ref: "ch_1".into(), amount_minor: 900, currency: "EUR".into() };
    let charged = Any { type_url: Charged::type_url(), value: prost::Message::encode_to_vec(&charged) };
    let rows = [
        row(Verb::Run, BarrierVerdict::Succeeded, "succeeded, with skald.payment.v1.Charged", Some(charged)),
        row(Verb::Undo, BarrierVerdict::NothingToUndo, "nothing to undo", None),
        row(Verb::Run, BarrierVerdict::Rejected, "rejected PAYMENT_DECLINED: no money", None),
    ];
    assert_eq!(
        desks::barrier(&rows, NOW, false),
        "\
STEP    VERB  EPOCH  VERDICT          AT (UTC)                        WHAT WAS ANSWERED
charge  RUN       1  SUCCEEDED        2023-11-14 22:12:20 (60 s ago)  skald.payment.v1.Charged {\"amount_minor\":900,\"currency\":\"EUR\",\"gateway_ref\":\"ch_1\"}
charge  UNDO      1  NOTHING_TO_UNDO  2023-11-14 22:12:20 (60 s ago)
charge  RUN       1  REJECTED         2023-11-14 22:12:20 (60 s ago)  rejected PAYMENT_DECLINED: no money"
    );
    assert_eq!(desks::barrier(&[], NOW, false), "it remembers nothing of that order");
}

#[test]
fn a_participant_says_how_it_fares_and_what_it_does_not_know() {
    let intent = OpenIntent {
        saga_id: ID.into(),
        step: "charge".into(),
        epoch: 1,
        verb: Verb::Undo.into(),
        attempt: 2,
        gateway_key: "k".into(),
        calls: 3,
        next_call_after: None,
        since: at(-7_300),
        answered: "UNRESOLVED".into(),
    };
    let status = GetStatusResponse {
        participant: "payment".into(),
        version: "0.1.0".into(),
        lag: vec![PartitionLag { partition: 0, messages: 2 }, PartitionLag { partition: 1, messages: 5 }],
        breaker: Some(Breaker { state: BreakerState::Open.into(), since: at(-60) }),
        intents: Some(OpenIntents { open: 4, unresolved: 1, oldest: Some(intent.clone()) }),
        unknown: vec!["PostgreSQL does not answer".into()],
    };
    assert_eq!(
        desks::status(&status, NOW, false),
        "\
participant    payment
version        0.1.0
lag            7 commands over 2 partitions
breaker        OPEN, since 2023-11-14 22:12:20 (60 s ago)
outside calls  4 open, 1 of them wait for a person, the oldest since 2023-11-14 20:11:40 (2 h ago): 018bcfe5-6800-7000-8000-000000000001 charge
? PostgreSQL does not answer"
    );
    let away = GetStatusResponse { participant: "inventory".into(), ..GetStatusResponse::default() };
    assert_eq!(
        desks::status(&away, NOW, false),
        "participant  inventory\nlag          it reads no partition"
    );
    let next = OpenIntent { next_call_after: at(5), answered: String::new(), ..intent.clone() };
    assert_eq!(
        desks::intents(&[intent, next], false, NOW, false),
        "\
ORDER                                 STEP    VERB  EPOCH  ATTEMPT  CALLS  SINCE (UTC)                    NEXT    ANSWERED
018bcfe5-6800-7000-8000-000000000001  charge  UNDO      1        2      3  2023-11-14 20:11:40 (2 h ago)  asleep  UNRESOLVED
018bcfe5-6800-7000-8000-000000000001  charge  UNDO      1        2      3  2023-11-14 20:11:40 (2 h ago)  in 5 s"
    );
}
