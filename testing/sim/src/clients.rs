//! Clients: they submit orders, repeat what was not answered with the same key, send signals and change their minds. They remember
//! what they were told, which the oracle holds the system to.

use std::{collections::BTreeMap, sync::Arc};

use prost::{Message, Name};
use skald_core::{
    Definition, Input,
    input::{CancelRequested, Payload, Request, Signal},
    machine::Refused,
};
use skald_proto::order::v1::{OrderInput, OrderLine, PaymentMethod};
use uuid::Uuid;

use crate::{
    faults::Fault,
    orchestrator::{Ask, Job, Origin, Step, store::ClientKey},
    world::{Event, World},
};

/// A call without an answer is repeated after this, ms.
const PATIENCE_MS: i64 = 5_000;

/// What a caller is told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    Accepted(Uuid),
    Known(Uuid),
    KeyTaken,
    Refused(Refused),
    Unknown,
    Unavailable,
    Answered,
}

/// One order as its client sees it.
#[derive(Debug)]
pub(crate) struct Order {
    pub key: ClientKey,
    pub definition: Arc<Definition>,
    pub request: Arc<Vec<u8>>,
    pub digest: u64,
    /// What it costs; 0 for a definition without money.
    pub amount: i64,
    /// What the client was told.
    pub saga: Option<Uuid>,
    /// The customer's cancellation was accepted.
    pub cancelled: bool,
    /// Signals that the client will give: name, and when after it knows its saga, ms.
    signals: Vec<(String, i64)>,
    cancels_after: Option<i64>,
}

/// What a client does.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    Submit {
        again: bool,
    },
    /// The same key, another payload: a mistake that must be told.
    Confuse,
    Signal {
        name: String,
        id: u8,
    },
    Cancel,
}

#[derive(Debug, Default)]
pub(crate) struct Clients {
    pub orders: Vec<Order>,
    calls: BTreeMap<u64, (usize, Deed)>,
}

impl World {
    /// An order that will come at some time.
    pub(crate) fn new_order(&mut self, number: u32, definition: Arc<Definition>, skus: usize) -> Order {
        let rng = &mut self.rng;
        let lines = (0..rng.below(2) + 1).map(|_| OrderLine {
            sku: format!("sku-{}", rng.below(skus)),
            quantity: rng.between(1, 3),
            unit_price_minor: 500,
            ..OrderLine::default()
        });
        let lines: Vec<OrderLine> = lines.collect();
        let free = rng.below(12) == 0;
        let amount = if free { 0 } else { lines.iter().map(|l| l.quantity * 500).sum() };
        let input = OrderInput {
            customer_id: format!("c{}", number % 7),
            lines,
            currency: "EUR".into(),
            total_minor: amount,
            ..OrderInput::default()
        };
        let mut early = Vec::new();
        let mut later = Vec::new();
        for step in definition.steps.iter().filter(|step| step.is_signal()) {
            match rng.below(10) {
                0..=5 => early.push(signal(&step.name, 0)),
                6..=8 => later.push((step.name.clone(), rng.magnitude(step.give_up_ms as i64 + 1))),
                _ => {}
            }
        }
        let request = Request { input: Some(payload(&input)), signals: early }.encode_to_vec();
        let cancels_after = self.hits(Fault::Cancel).then(|| self.rng.magnitude(3_600_000));
        Order {
            key: (number % 5, number),
            definition,
            digest: u64::from(number),
            request: Arc::new(request),
            amount,
            saga: None,
            cancelled: false,
            signals: later,
            cancels_after,
        }
    }

    pub(crate) fn client(&mut self, order: usize, deed: Deed) {
        let there = self.orchestrators_there();
        if there.is_empty() {
            return self.when_somebody_is_there(Event::Client { order, deed });
        }
        let n = *self.rng.pick(&there);
        let what = &self.clients.orders[order];
        let (saga, ask, actor) = match &deed {
            Deed::Submit { .. } | Deed::Confuse => {
                if matches!(deed, Deed::Submit { again: true }) && what.saga.is_some() && !self.faults.storm {
                    return;
                }
                let confused = matches!(deed, Deed::Confuse);
                // Before that, its payload could be the one that counts.
                if confused && what.saga.is_none() {
                    return;
                }
                let ask = Ask::Submit {
                    key: what.key,
                    digest: what.digest | u64::from(confused) << 40,
                    definition: Arc::clone(&what.definition),
                    request: Arc::clone(&what.request),
                };
                (self.mint(n), ask, "client")
            }
            Deed::Signal { name, id } => {
                let Some(saga) = what.saga else { return };
                (saga, Ask::Input(Input::Signal(signal(name, *id))), "customer")
            }
            Deed::Cancel => {
                let Some(saga) = what.saga else { return };
                (saga, Ask::Input(Input::CancelRequested(CancelRequested::default())), "customer")
            }
        };
        let call = self.fresh();
        self.clients.calls.insert(call, (order, deed));
        let job = Job { saga, actor, ask, origin: Origin::Call(call) };
        let delay = self.latency();
        self.orchestrator_step(n, delay, Step::Job(Box::new(job)));
        self.push(PATIENCE_MS, Event::Patience { call });
    }

    /// An id as intake mints it: from the instance's idea of the database's clock.
    fn mint(&mut self, n: usize) -> Uuid {
        let ms = self.clock(n) as u64;
        let bits = (u128::from(self.rng.bits()) << 64 | u128::from(self.rng.bits())).to_be_bytes();
        let random: [u8; 10] = std::array::from_fn(|i| bits[i]);
        uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid()
    }

    /// An answer goes to a caller; it may be lost.
    pub(crate) fn reply(&mut self, call: u64, reply: Reply) {
        if !self.hits(Fault::ReplyLost) {
            let delay = self.latency();
            self.push(delay, Event::Reply { call, reply });
        }
    }

    /// The caller hears it.
    pub(crate) fn told(&mut self, call: u64, reply: Reply) {
        let Some((order, deed)) = self.clients.calls.remove(&call) else {
            return self.operator_told(call, &reply);
        };
        if reply == Reply::Unavailable || reply == Reply::Unknown {
            return self.push(1_000, Event::Client { order, deed });
        }
        match (&deed, reply) {
            (Deed::Submit { .. }, Reply::Accepted(saga) | Reply::Known(saga)) => self.learns(order, saga),
            (Deed::Confuse, Reply::KeyTaken) => self.tally.add("client: key taken"),
            (Deed::Cancel, Reply::Accepted(_)) => self.clients.orders[order].cancelled = true,
            (Deed::Signal { .. } | Deed::Cancel, Reply::Accepted(_) | Reply::Refused(_)) => {}
            (deed, reply) => self.oracle.violation("lost", format!("{deed:?} was answered {reply:?}")),
        }
    }

    fn learns(&mut self, order: usize, saga: Uuid) {
        let what = &mut self.clients.orders[order];
        match what.saga.replace(saga) {
            Some(known) if known != saga => {
                self.oracle.violation("lost", format!("one key, two sagas: {known} and {saga}"));
            }
            Some(_) => {}
            None => {
                let (signals, cancels) = (what.signals.clone(), what.cancels_after);
                for (name, after) in signals {
                    self.push(
                        after,
                        Event::Client { order, deed: Deed::Signal { name: name.clone(), id: 1 } },
                    );
                    if self.rng.chance(1_500) {
                        let id = self.rng.below(2) as u8 + 1;
                        let later = self.rng.magnitude(60_000);
                        self.push(after + later, Event::Client { order, deed: Deed::Signal { name, id } });
                    }
                }
                while self.hits(Fault::Operator) {
                    let soon = self.rng.magnitude(600_000);
                    self.push(soon, Event::Meddle(saga));
                }
                if let Some(after) = cancels {
                    self.push(after, Event::Client { order, deed: Deed::Cancel });
                    if self.rng.chance(3_000) {
                        self.push(after + 1_000, Event::Client { order, deed: Deed::Cancel });
                    }
                }
            }
        }
    }

    /// Nobody answered: again, with the same key.
    pub(crate) fn patience(&mut self, call: u64) {
        if let Some((order, deed)) = self.clients.calls.remove(&call) {
            self.push(0, Event::Client { order, deed });
        }
    }
}

fn signal(name: &str, id: u8) -> Signal {
    let method = PaymentMethod { token: "tok_ok".into() };
    Signal { name: name.into(), signal_id: format!("signal-{id}"), payload: Some(payload(&method)) }
}

fn payload<M: Message + Name>(message: &M) -> Payload {
    Payload { type_url: format!("type.googleapis.com/{}", M::full_name()), value: message.encode_to_vec() }
}
