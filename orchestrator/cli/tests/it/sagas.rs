//! Golden: lists of sagas, how many there are, and their timelines.

use prost_types::{Any, Timestamp};
use skald_cli::{
    operator::stats,
    sagas::{timeline, view},
};
use skald_proto::{
    admin::v1::{GetStatsResponse, StatusCount, StepCount},
    inventory::v1::Reserved,
    order::v1::{OrderInput, OrderLine, PaymentMethod},
    saga::v1::{HistoryEntry, HistoryPayload, Saga, SagaStatus, Step, StepStatus},
};

/// Seconds.
const NOW: i64 = 1_700_000_000;
const ID: &str = "018bcfe5-6800-7000-8000-000000000001";

fn at(ms: i64) -> Option<Timestamp> {
    let ms = NOW * 1_000 + ms;
    Some(Timestamp { seconds: ms / 1_000, nanos: (ms % 1_000 * 1_000_000) as i32 })
}

fn payload<M: prost::Name>(name: &str, message: &M) -> HistoryPayload {
    let any = Any { type_url: M::type_url(), value: message.encode_to_vec() };
    HistoryPayload { name: name.into(), payload: Some(any) }
}

fn entry(seq: i32, ms: i64, kind: &str, actor: &str, summary: &str) -> HistoryEntry {
    HistoryEntry {
        seq,
        at: at(ms),
        kind: kind.into(),
        actor: actor.into(),
        summary: summary.into(),
        ..HistoryEntry::default()
    }
}

fn saga(status: SagaStatus) -> Saga {
    Saga {
        saga_id: ID.into(),
        definition: "order".into(),
        status: status.into(),
        stage: "RESERVED".into(),
        customer_id: "ada".into(),
        created_at: at(-7_300_000),
        ..Saga::default()
    }
}

#[test]
fn a_list_says_first_what_is_wrong() {
    let parked = Step { name: "charge".into(), parked: "UNRESOLVED: ask".into(), ..Step::default() };
    let parked = Saga { steps: vec![Step::default(), parked], ..saga(SagaStatus::Parked) };
    let why = "table saga, column definition_id, id X: definition 7 is not stored or can't be read";
    let unread = Saga {
        definition: String::new(),
        stage: String::new(),
        quarantine: why.into(),
        ..saga(SagaStatus::Running)
    };
    let turned = Saga { reason: "CUSTOMER".into(), ..saga(SagaStatus::Compensated) };
    assert_eq!(
        view::list(&[parked, unread, turned], NOW, false),
        "\
SAGA                                  DEFINITION  STATUS       STAGE     CUSTOMER  BEGAN (UTC)                    WHY
018bcfe5-6800-7000-8000-000000000001  order       PARKED       RESERVED  ada       2023-11-14 20:11:40 (2 h ago)  charge: UNRESOLVED: ask
018bcfe5-6800-7000-8000-000000000001              RUNNING                ada       2023-11-14 20:11:40 (2 h ago)  table saga, column definition_id, id X: definition 7 is not stored or can't be read
018bcfe5-6800-7000-8000-000000000001  order       COMPENSATED  RESERVED  ada       2023-11-14 20:11:40 (2 h ago)  CUSTOMER"
    );
    assert_eq!(view::list(&[], NOW, false), "no such saga");
}

fn count(status: SagaStatus, count: i64, oldest: Option<Timestamp>) -> StatusCount {
    StatusCount { status: status.into(), count, oldest }
}

#[test]
fn pages_are_added_up() {
    let mut counts = view::Counts::default();
    counts.add(&[count(SagaStatus::Completed, 2, at(-1_000)), count(SagaStatus::Running, 1, at(0))]);
    counts.add(&[count(SagaStatus::Completed, 40, at(-60_000))]);
    counts.add(&[count(SagaStatus::Completed, 1, at(-5_000))]);
    counts.unreadable = 3;
    assert_eq!(
        counts.text(NOW, false),
        "\
44 sagas
STATUS     COUNT  OLDEST BEGAN (UTC)
RUNNING        1  2023-11-14 22:13:20 (0 s ago)
COMPLETED     43  2023-11-14 22:12:20 (60 s ago)
3 can't be read: whether they fit is not known"
    );
    assert_eq!(
        counts.json().to_string(),
        r#"{"count":44,"counts":[{"count":1,"oldest":"2023-11-14T22:13:20Z","status":"SAGA_STATUS_RUNNING"},{"count":43,"oldest":"2023-11-14T22:12:20Z","status":"SAGA_STATUS_COMPLETED"}],"unreadable":3}"#
    );
    assert_eq!(view::Counts::default().text(NOW, false), "0 sagas");
}

#[test]
fn statistics_say_what_is_an_estimate() {
    let step = |step: &str, status: StepStatus, count| StepCount {
        definition: "order".into(),
        step: step.into(),
        status: status.into(),
        count,
    };
    let stats = GetStatsResponse {
        active: 30_012,
        by_status: vec![
            count(SagaStatus::Running, 30_000, at(-90_000)),
            count(SagaStatus::Parked, 12, at(-86_400_000)),
        ],
        by_step: vec![
            step("charge", StepStatus::Running, 20_001),
            step("pay", StepStatus::AwaitingSignal, 9_999),
        ],
        sampled: 20_011,
        estimated: true,
        unreadable: 2,
        started: 1_800,
        completed: 1_500,
        compensated: 90,
        window_seconds: 900,
        oldest_in_flight: ID.into(),
        oldest_in_flight_at: at(-90_000),
    };
    assert_eq!(
        stats::text(&stats, NOW, false),
        "\
30012 sagas are under way
STATUS   COUNT  OLDEST BEGAN (UTC)
RUNNING  30000  2023-11-14 22:11:50 (90 s ago)
PARKED      12  2023-11-13 22:13:20 (24 h ago)
the oldest that is neither parked nor paused: 018bcfe5-6800-7000-8000-000000000001 since 2023-11-14 22:11:50 (90 s ago)

Their steps, estimated from 20011
DEFINITION  STEP    STATUS           SAGAS
order       charge  RUNNING          20001
order       pay     AWAITING_SIGNAL   9999
2 of 20011 can't be read and are missing there

What began in the last 15 min
                   COUNT  PER SECOND
began               1800        2.00
COMPLETED since     1500        1.67
COMPENSATED since     90        0.10
under way still      210        0.23"
    );
    let idle = GetStatsResponse { window_seconds: 60, ..GetStatsResponse::default() };
    assert!(
        stats::text(&idle, NOW, false).starts_with("0 sagas are under way\n\nWhat began in the last 60 s\n")
    );
}

#[test]
fn a_timeline_tells_what_came_along() {
    let line = OrderLine {
        sku: "teapot\u{9b}31m".into(),
        quantity: 1,
        unit_price_minor: 3_900,
        ..Default::default()
    };
    let input = OrderInput {
        customer_id: "ada".into(),
        currency: "EUR".into(),
        lines: vec![line; 2],
        ..Default::default()
    };
    let mut began = entry(1, -20_000_000, "STARTED", "client:shop", "the saga began");
    began.payloads = vec![
        payload("input", &input),
        payload("pay", &PaymentMethod { token: "tok_ok".into() }),
        HistoryPayload {
            name: "ticket".into(),
            payload: Some(Any { type_url: "type.googleapis.com/acme.v1.Ticket".into(), value: vec![7] }),
        },
    ];
    let mut reserved =
        entry(2, -19_999_958, "OUTCOME", "inventory", "reserve RUN (epoch 1, attempt 2): succeeded");
    reserved.payloads = vec![payload("result", &Reserved { step: "reserve".into(), epoch: 1, units: 2 })];
    let entries = [
        began,
        reserved,
        entry(3, -11_000_000, "OPERATOR", "operator:ada", "skip charge (seen at the bank): payment is gone"),
        entry(
            10,
            -10_998_500,
            "UNKNOWN",
            "by hand",
            "not an input: a kind of input that this binary does not know",
        ),
    ];
    assert_eq!(
        timeline::text(ID, &entries, NOW, false),
        "\
018bcfe5-6800-7000-8000-000000000001 began 2023-11-14 16:40:00 (5 h ago)
 #  AT (UTC)                  AFTER  KIND      BY            WHAT
 1  2023-11-14 16:40:00.000          STARTED   client:shop   the saga began
      input: skald.order.v1.OrderInput {
        \"currency\": \"EUR\",
        \"customer_id\": \"ada\",
        \"lines\": [
          {
            \"quantity\": 1,
            \"sku\": \"teapot\u{fffd}31m\",
            \"unit_price_minor\": 3900
          },
          {
            \"quantity\": 1,
            \"sku\": \"teapot\u{fffd}31m\",
            \"unit_price_minor\": 3900
          }
        ]
      }
      pay: skald.order.v1.PaymentMethod {\"token\":\"tok_ok\"}
      ticket: acme.v1.Ticket 1 bytes that can't be read here: 07
 2  2023-11-14 16:40:00.042  +42 ms  OUTCOME   inventory     reserve RUN (epoch 1, attempt 2): succeeded
      result: skald.inventory.v1.Reserved {\"epoch\":1,\"step\":\"reserve\",\"units\":2}
 3  2023-11-14 19:10:00.000    +2 h  OPERATOR  operator:ada  skip charge (seen at the bank): payment is gone
10  2023-11-14 19:10:01.500  +1.5 s  UNKNOWN   by hand       not an input: a kind of input that this binary does not know"
    );
}
