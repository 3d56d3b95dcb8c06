//! What deciding costs, without a database or a broker: `advance` over the life of an order, with what the driver
//! computes beside it, and `plan` over a full batch.

use std::{collections::BTreeMap, hint::black_box, sync::Arc};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use skald_core::{
    Definition, Input, State, advance, history,
    input::{Answer, Done, Outcome, Payload, Request, Signal, Verb},
    machine::Context,
    plan::{Ask, Item, Loaded, plan},
    state,
};
use uuid::Uuid;

const T0: i64 = 1_800_000_000_000;
/// A full batch of the driver.
const BATCH: u128 = 512;

fn payload() -> Option<Payload> {
    Some(Payload { type_url: "type.googleapis.com/skald.participant.v1.Result".into(), value: vec![7; 64] })
}

/// Submitted with everything along, then three successes.
fn inputs() -> Vec<Input> {
    let signal = |name: &str| Signal { name: name.into(), signal_id: "submit".into(), payload: payload() };
    let request = Request { input: payload(), signals: vec![signal("pay"), signal("fulfil")] };
    let request = prost::Message::encode_to_vec(&request);
    let mut inputs = vec![Input::Started(history::started(&request).expect("a request"))];
    for step in ["reserve", "charge", "commit"] {
        let answer = Some(Answer::Succeeded(Done { result: payload() }));
        inputs.push(Input::Outcome(Outcome {
            step: step.into(),
            verb: Verb::Run as i32,
            epoch: 1,
            attempt: 1,
            answer,
        }));
    }
    inputs
}

fn advance_an_order(c: &mut Criterion) {
    let (definition, inputs, saga) = (Definition::order(), inputs(), Uuid::from_u128(1));
    let cx = |i: usize| Context { saga, definition: &definition, now: T0 + i as i64 };
    c.bench_function("advance: an order, 4 inputs", |b| {
        b.iter(|| {
            let mut state = State::new(&definition);
            for (i, input) in inputs.iter().enumerate() {
                black_box(advance(cx(i), &mut state, input).expect("accepted"));
            }
            state
        });
    });
    c.bench_function("advance, encode and digest: an order, 4 inputs", |b| {
        b.iter(|| {
            let mut state = State::new(&definition);
            for (i, input) in inputs.iter().enumerate() {
                let effects = advance(cx(i), &mut state, input).expect("accepted");
                black_box(history::digest(&state::encode(&state), &effects));
            }
            state
        });
    });
}

/// One input for each of 512 sagas that stand before it.
fn plan_a_batch(c: &mut Criterion) {
    let (definition, inputs) = (Arc::new(Definition::order()), inputs());
    let mut group = c.benchmark_group("plan: 512 items");
    group.throughput(Throughput::Elements(BATCH as u64));
    for (name, at) in
        [("start", 0), ("reserve succeeded", 1), ("charge succeeded", 2), ("commit succeeded", 3)]
    {
        group.bench_function(name, |b| {
            b.iter_batched(
                || batch(&definition, &inputs, at),
                |(items, loaded)| plan(T0 + 10, items, loaded, &Default::default()),
                BatchSize::LargeInput,
            );
        });
    }
}

type Batch = (Vec<Item<u128>>, BTreeMap<Uuid, Loaded>);

fn batch(definition: &Arc<Definition>, inputs: &[Input], at: usize) -> Batch {
    let mut loaded = BTreeMap::new();
    let item = |token: u128| {
        let saga = Uuid::from_u128(token);
        let input = inputs[at].clone();
        let ask = if at == 0 { Ask::Start(definition.clone(), input) } else { Ask::Fold(input) };
        if at > 0 {
            let mut state = State::new(definition);
            for input in &inputs[..at] {
                advance(Context { saga, definition, now: T0 }, &mut state, input).expect("accepted");
            }
            loaded.insert(saga, Loaded { definition: definition.clone(), state, quarantined: false });
        }
        Item { saga, actor: "bench".into(), ask, token }
    };
    let items = (0..BATCH).map(item).collect();
    (items, loaded)
}

criterion_group!(benches, advance_an_order, plan_a_batch);
criterion_main!(benches);
