//! Commands at a participant: bytes become a command or a dead letter, and a command is decided, by inventory and by payment.

use prost::{Message as _, Name as _};
use skald_inventory::{
    allocation::{Counters, Shelf},
    domain::{Demand, Wave},
};
use skald_participant::{
    Action, Command, Domain, Verb,
    barrier::Stored,
    command::Malformed,
    decide::{Bounds, Plan, Triage},
    wave::{Delivery, cut},
};
use skald_payment::domain::Charges;
use skald_proto::{
    inventory::v1::Reserved,
    order::v1::{OrderInput, OrderLine, PaymentMethod},
    participant::v1::{self as wire, outcome::Answer},
};
use uuid::Uuid;

use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "command",
    about: "a command at a participant: bytes become a command or a dead letter; inventory and payment decide it",
    run,
    seeds,
    words: &[
        "reserve",
        "release",
        "commit",
        "charge",
        "refund",
        "type.googleapis.com/skald.order.v1.OrderInput",
        "t/skald.inventory.v1.Reserved",
        "t/skald.order.v1.PaymentMethod",
        "0192f0c1-2345-7abc-8def-0123456789ab",
        "EUR",
    ],
};

/// The longest answer, encoded: it stands in the barrier, goes over Kafka and into the saga's state. A shortage of a hundred lines
/// fits; what a sender made up is not echoed at any length.
const ANSWER: usize = 64 * 1024;

const INVENTORY: &[Action] =
    &[Action { name: "reserve", undo: Some("release") }, Action { name: "commit", undo: None }];
const PAYMENT: &[Action] = &[Action { name: "charge", undo: Some("refund") }];

/// The first byte says whose key the message has and who is asked.
fn run(bytes: &[u8]) {
    let Some((flags, value)) = bytes.split_first() else { return };
    let own = wire::Command::decode(value).map(|message| message.saga_id).unwrap_or_default();
    let key = if flags & 1 == 0 { own.as_bytes() } else { &value[..value.len().min(36)] };
    let command = match Command::decode(value, key, None) {
        Ok(command) => command,
        Err(malformed) => {
            let keyed = matches!(malformed, Malformed::Key { .. });
            assert!(!keyed || flags & 1 == 1, "its own id is its key");
            return;
        }
    };
    assert_eq!(command.saga.to_string().as_bytes(), key, "the key is the saga's id, in its one spelling");
    assert!(command.epoch > 0 && command.attempt > 0);
    let delivery = |origin| Delivery { command: command.clone(), origin };
    let waves = cut(vec![delivery(1), delivery(2)]);
    assert_eq!(waves.len(), 1, "an exact repeat joins");
    assert_eq!(waves[0][0].origins, [1, 2]);
    let plan = if flags & 2 == 0 { inventory(&command) } else { payment(&command) };
    assert_eq!(plan.answers.len(), 1, "one command, one place");
    for answer in plan.answers.iter().flatten() {
        let size = wire::Outcome { answer: Some(answer.clone()), ..Default::default() }.encoded_len();
        assert!(size <= ANSWER, "an answer of {size} bytes");
        assert_eq!(
            plan.inserts.is_empty(),
            matches!(answer, Answer::Failed(_)),
            "verdicts are stored, failures are not"
        );
    }
    for row in &plan.inserts {
        assert_eq!(row.key, command.key(), "a command writes its own rows");
    }
}

fn decide(command: &Command, actions: &[Action], domain: &mut impl Domain) -> Plan {
    let bounds = Bounds { oldest: Uuid::nil(), newest: Uuid::max() };
    Triage::new(&[command], &Stored::default(), bounds, actions).decide(Some(domain))
}

fn inventory(command: &Command) -> Plan {
    let (own, demand) = (command.key(), Demand::of(command));
    if let Some(key) = demand.reservation(&own) {
        storable("a reservation's step", &key.step);
    }
    let mut wave = Wave::new([(own, demand)].into(), Vec::new());
    let counters = Counters { stocked: 10, available: 10, ..Default::default() };
    let skus = wave.skus();
    skus.iter().for_each(|sku| storable("a SKU", sku));
    wave.shelf = Shelf::new(skus.into_iter().map(|sku| (sku, counters)));
    let plan = decide(command, INVENTORY, &mut wave);
    for change in wave.shelf.changes() {
        let now = change.after;
        assert_eq!(now.available + now.reserved + now.committed, now.stocked, "{change:?}");
        assert!(now.available >= 0 && now.reserved >= 0 && now.committed >= 0, "{change:?}");
    }
    plan
}

fn payment(command: &Command) -> Plan {
    let mut charges = Charges::new(Vec::new());
    let plan = decide(command, PAYMENT, &mut charges);
    for charge in charges.new_ones() {
        assert!(charge.amount_minor > 0, "{charge:?}");
        storable("a currency", &charge.currency);
        storable("a customer", &charge.customer_id);
        storable("a token", &charge.method_token);
    }
    plan
}

/// PostgreSQL keeps no NUL.
fn storable(what: &str, text: &str) {
    assert!(!text.contains('\0'), "{what} with a NUL would go to the database");
}

fn seeds() -> Vec<Vec<u8>> {
    let any = |url: &str, value: Vec<u8>| prost_types::Any {
        type_url: format!("type.googleapis.com/{url}"),
        value,
    };
    let line = |sku: &str, quantity| OrderLine { sku: sku.into(), quantity, ..Default::default() };
    let order = OrderInput {
        customer_id: "c".into(),
        currency: "EUR".into(),
        total_minor: 995,
        lines: vec![line("A-1", 2), line("B-2", 20)],
        ..Default::default()
    };
    let saga = "0192f0c1-2345-7abc-8def-0123456789ab";
    let input = any(&OrderInput::full_name(), order.encode_to_vec());
    let reserved = Reserved { step: "reserve".into(), epoch: 1, units: 2 };
    let needs = vec![
        wire::StepResult {
            step: "reserve".into(),
            result: Some(any(&Reserved::full_name(), reserved.encode_to_vec())),
        },
        wire::StepResult {
            step: "pay".into(),
            result: Some(any(
                &PaymentMethod::full_name(),
                PaymentMethod { token: "tok".into() }.encode_to_vec(),
            )),
        },
    ];
    let actions =
        [("reserve", 0), ("release", 0), ("commit", 0), ("charge", 2), ("refund", 2), ("nonsense", 0)];
    let mut seeds = Vec::new();
    for verb in [Verb::Run, Verb::Undo, Verb::SealRun, Verb::SealUndo] {
        for (action, flags) in actions {
            let command = wire::Command {
                protocol: 1,
                saga_id: saga.into(),
                step: "reserve".into(),
                verb: verb.wire().into(),
                epoch: 1,
                attempt: 1,
                action: action.into(),
                input: Some(input.clone()),
                needs: needs.clone(),
                ..Default::default()
            };
            seeds.push([&[flags][..], &command.encode_to_vec()].concat());
        }
    }
    seeds
}
