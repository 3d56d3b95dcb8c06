//! Golden: how orders, stock and sagas look, as tables and as JSON.

use prost::{Message as _, Name as _};
use prost_types::{Any, Timestamp};
use skald_cli::{
    orders,
    output::{
        json,
        style::Tone,
        table::{Cell, Table},
    },
    sagas, stock,
};
use skald_proto::{
    inventory::v1::{OutOfStock, Reserved, Shortage, Stock},
    order::v1::{MissingItem, Order, OrderDraft, OrderLine, OrderStatus},
    saga::v1::{Phase, Saga, SagaStatus, Step, StepError, StepStatus},
};

/// Seconds.
const NOW: i64 = 1_700_000_100;
const ID: &str = "018bcfe5-6800-7000-8000-000000000001";

fn at(ms: i64) -> Option<Timestamp> {
    let ms = 1_700_000_000_000 + ms;
    Some(Timestamp { seconds: ms / 1000, nanos: (ms % 1000 * 1_000_000) as i32 })
}

fn any<M: prost::Name>(message: &M) -> Option<Any> {
    Some(Any { type_url: M::type_url(), value: message.encode_to_vec() })
}

fn cancelled() -> Order {
    Order {
        order_id: ID.into(),
        status: OrderStatus::Cancelled.into(),
        reason: "OUT_OF_STOCK".into(),
        missing: vec![MissingItem { sku: "teapot".into(), requested: 3, available: 1 }],
        customer_id: "ada".into(),
        lines: vec![
            OrderLine {
                sku: "teapot".into(),
                quantity: 3,
                unit_price_minor: 3_900,
                seller_id: "potter".into(),
            },
            OrderLine {
                sku: "tea-green".into(),
                quantity: 12,
                unit_price_minor: 45,
                seller_id: String::new(),
            },
        ],
        currency: "EUR".into(),
        total_minor: 12_240,
        note: "ring \u{1b}[31mtwice".into(),
        needs_fulfilment: true,
        created_at: at(0),
        updated_at: at(1_234),
        version: 2,
        needs_attention: false,
    }
}

#[test]
fn one_order() {
    assert_eq!(
        orders::view::one(&cancelled(), NOW, false),
        "\
order       018bcfe5-6800-7000-8000-000000000001
status      CANCELLED
reason      OUT_OF_STOCK
customer    ada
total       122.40 EUR
fulfilment  by the seller
note        ring \u{fffd}[31mtwice
created     2023-11-14 22:13:20 (100 s ago)
updated     2023-11-14 22:13:21 (99 s ago)
version     2

SKU        QUANTITY  UNIT PRICE  SELLER
teapot            3   39.00 EUR  potter
tea-green        12    0.45 EUR

MISSING  REQUESTED  AVAILABLE
teapot           3          1"
    );
    assert_eq!(orders::view::change(&cancelled(), false), "2023-11-14 22:13:21.234  CANCELLED  OUT_OF_STOCK");
}

#[test]
fn an_order_as_json_has_the_contracts_names() {
    assert_eq!(
        json::message(&cancelled()).to_string(),
        r#"{"created_at":"2023-11-14T22:13:20Z","currency":"EUR","customer_id":"ada","lines":[{"quantity":3,"seller_id":"potter","sku":"teapot","unit_price_minor":3900},{"quantity":12,"seller_id":"","sku":"tea-green","unit_price_minor":45}],"missing":[{"available":1,"requested":3,"sku":"teapot"}],"needs_attention":false,"needs_fulfilment":true,"note":"ring \u001b[31mtwice","order_id":"018bcfe5-6800-7000-8000-000000000001","reason":"OUT_OF_STOCK","status":"ORDER_STATUS_CANCELLED","total_minor":12240,"updated_at":"2023-11-14T22:13:21.234Z","version":2}"#
    );
}

#[test]
fn many_orders() {
    let parked = Order {
        status: OrderStatus::Paid.into(),
        needs_attention: true,
        reason: String::new(),
        customer_id: "bob".into(),
        total_minor: 5,
        ..cancelled()
    };
    assert_eq!(
        orders::view::list(&[cancelled(), parked], true, false),
        "\
ORDER                                 STATUS     REASON           CUSTOMER       TOTAL  CREATED (UTC)
018bcfe5-6800-7000-8000-000000000001  CANCELLED  OUT_OF_STOCK     ada       122.40 EUR  2023-11-14 22:13:20
018bcfe5-6800-7000-8000-000000000001  PAID       NEEDS ATTENTION  bob         0.05 EUR  2023-11-14 22:13:20
… and more: --limit N shows them"
    );
    assert_eq!(orders::view::list(&[], false, false), "no such order");
}

#[test]
fn counters_of_stock() {
    let stock = |sku: &str, available| Stock {
        sku: sku.into(),
        stocked: available + 7,
        available,
        reserved: 2,
        committed: 5,
        version: 9,
    };
    assert_eq!(
        stock::view::list(&[stock("tea", 1_000), stock("teapot-gold", 1)], false, false),
        "\
SKU          AVAILABLE  RESERVED  COMMITTED  STOCKED
tea               1000         2          5     1007
teapot-gold          1         2          5        8"
    );
    assert_eq!(
        json::message(&stock("tea", 1)).to_string(),
        r#"{"available":1,"committed":5,"reserved":2,"sku":"tea","stocked":8,"version":9}"#
    );
}

fn saga() -> Saga {
    let reserved = Reserved { step: "reserve".into(), epoch: 1, units: 3 };
    let step = |name: &str, participant: &str, status: StepStatus| Step {
        name: name.into(),
        participant: participant.into(),
        status: status.into(),
        ..Step::default()
    };
    let error =
        StepError { code: "UNAVAILABLE".into(), message: "the gateway is away".into(), at: at(2_000) };
    Saga {
        saga_id: ID.into(),
        definition: "order".into(),
        definition_hash: "5ecde65066ed249eefd2d848b0f34b4a".into(),
        status: SagaStatus::Parked.into(),
        phase: Phase::Forward.into(),
        stage: "RESERVED".into(),
        parked: "charge: attempts are used up".into(),
        version: 7,
        created_at: at(0),
        updated_at: at(3_042),
        next_wake_at: at(60_000),
        customer_id: "ada".into(),
        steps: vec![
            Step {
                epoch: 1,
                attempt: 1,
                result: any(&reserved),
                ..step("reserve", "inventory", StepStatus::Succeeded)
            },
            Step {
                epoch: 1,
                attempt: 4,
                deadline: at(1_800_000),
                next_retry_at: at(60_000),
                last_error: Some(error),
                parked: "attempts are used up".into(),
                ..step("charge", "payment", StepStatus::Running)
            },
            step("commit", "inventory", StepStatus::Waiting),
        ],
        ..Saga::default()
    }
}

#[test]
fn one_saga() {
    assert_eq!(
        sagas::view::one(&saga(), NOW, false),
        "\
saga        018bcfe5-6800-7000-8000-000000000001
definition  order (5ecde65066ed)
status      PARKED
phase       FORWARD
stage       RESERVED
parked      charge: attempts are used up
customer    ada
version     7
created     2023-11-14 22:13:20 (100 s ago)
updated     2023-11-14 22:13:23 (97 s ago)
next wake   2023-11-14 22:14:20 (40 s ago)

STEP     PARTICIPANT  STATUS     EPOCH  ATTEMPT  DEADLINE             NOTES
reserve  inventory    SUCCEEDED      1        1                       {\"epoch\":1,\"step\":\"reserve\",\"units\":3}
charge   payment      RUNNING        1        4  2023-11-14 22:43:20  \
parked: attempts are used up; UNAVAILABLE: the gateway is away (at 2023-11-14 22:13:22); next try at 2023-11-14 22:14:20.000
commit   inventory    WAITING"
            .replace("{\"epoch\":1,\"step\":\"reserve\",\"units\":3}", &json::any(&saga().steps[0].result.clone().unwrap()).to_string())
    );
}

#[test]
fn what_an_any_holds_is_read_when_the_contracts_know_it() {
    let detail = OutOfStock { missing: vec![Shortage { sku: "teapot".into(), requested: 3, available: 1 }] };
    let foreign = Any { type_url: "type.googleapis.com/acme.v1.Ticket".into(), value: vec![1, 2, 3] };
    let saga = Saga { reason_detail: any(&detail), input: Some(foreign), ..saga() };
    let shown = json::message(&saga);
    assert_eq!(
        shown["reason_detail"].to_string(),
        r#"{"@type":"type.googleapis.com/skald.inventory.v1.OutOfStock","missing":[{"available":1,"requested":3,"sku":"teapot"}]}"#
    );
    assert_eq!(
        shown["input"].to_string(),
        r#"{"@type":"type.googleapis.com/acme.v1.Ticket","bytes":3,"hex":"010203"}"#
    );
    assert_eq!(shown["steps"][0]["result"]["units"], 3);
    assert_eq!(shown["status"], "SAGA_STATUS_PARKED");
    assert_eq!(shown["created_at"], "2023-11-14T22:13:20Z");
    assert_eq!(shown["steps"][1]["last_error"]["code"], "UNAVAILABLE");
}

#[test]
fn what_an_any_holds_is_told_briefly() {
    let told = |name: &str, value: Vec<u8>| {
        json::brief(&Any { type_url: format!("type.googleapis.com/{name}"), value })
    };
    let reserved = Reserved { step: String::new(), epoch: 1, units: 3 }.encode_to_vec();
    let reserved = told("skald.inventory.v1.Reserved", reserved);
    assert_eq!(reserved, ("skald.inventory.v1.Reserved".into(), r#"{"epoch":1,"units":3}"#.into()));
    assert_eq!(told("acme.v1.Ticket", vec![]).1, "empty");
    assert_eq!(told("acme.v1.Ticket", vec![1, 255]).1, "2 bytes that can't be read here: 01ff");
    let broken = told("skald.inventory.v1.Reserved", vec![0xff; 40]).1;
    assert_eq!(
        broken,
        format!("40 bytes that can't be read here: {}…", "ff".repeat(32)),
        "its type is known"
    );
}

#[test]
fn colours_change_no_width() {
    let mut table = Table::new(&["A", ">B"]);
    table.row([Cell::new("good", Tone::Good), Cell::new("1", Tone::Bad)]);
    assert_eq!(table.render(false), "A     B\ngood  1");
    assert_eq!(
        table.render(true),
        "\u{1b}[2mA\u{1b}[0m     \u{1b}[2mB\u{1b}[0m\n\u{1b}[32mgood\u{1b}[0m  \u{1b}[31m1\u{1b}[0m"
    );
}

#[test]
fn a_draft_is_read_from_json_in_both_spellings() {
    let snake = r#"{"customer_id":"ada","currency":"EUR","lines":[{"sku":"teapot","quantity":1,"unit_price_minor":3900}]}"#;
    let camel = r#"{"customerId":"ada","currency":"EUR","lines":[{"sku":"teapot","quantity":"1","unitPriceMinor":"3900"}]}"#;
    let read: OrderDraft = json::read(snake).expect("readable");
    assert_eq!(
        (&*read.customer_id, read.lines[0].unit_price_minor, read.payment_token.clone()),
        ("ada", 3_900, None)
    );
    assert_eq!(json::read::<OrderDraft>(camel), Ok(read));
    let wrong = json::read::<OrderDraft>(r#"{"customer":"ada"}"#).expect_err("an unknown field");
    assert!(wrong.contains("customer") && wrong.contains("line 1"), "{wrong}");
}

#[test]
fn the_contracts_are_all_there() {
    assert_eq!(json::any(&any(&Stock::default()).unwrap())["sku"], "");
    assert_eq!(Stock::full_name(), "skald.inventory.v1.Stock");
}
