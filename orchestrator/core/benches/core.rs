//! What deciding costs, without a database or a broker: `advance` over the life of an order, with what the driver
//! computes beside it, and `plan` over a full batch.

use std::{collections::BTreeMap, hint::black_box, sync::Arc};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use skald_core::{
    Definition, Input, State, advance,
    archive::{self, Item, Recorded, take},
    history,
    input::{Answer, Done, Outcome, Payload, Request, Signal, Verb},
    machine::Context,
    plan::{self, Ask, Loaded, plan},
    probe::probe,
    state,
    verify::verify,
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

type Batch = (Vec<plan::Item<u128>>, BTreeMap<Uuid, Loaded>);

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
        plan::Item { saga, actor: "bench".into(), ask, token }
    };
    let items = (0..BATCH).map(item).collect();
    (items, loaded)
}

/// What `skald replay verify` does with an order: taken out of a file's bytes, folded, compared; and probed while it
/// is active.
fn replay_an_order(c: &mut Criterion) {
    let definition = Definition::order();
    let (whole, under_way) = (recorded(&definition, 4), recorded(&definition, 2));
    let mut bytes = Vec::new();
    archive::append(Item::Saga(whole.clone().into()), &mut bytes);
    let mut group = c.benchmark_group("replay");
    group.throughput(Throughput::Elements(whole.rows.len() as u64));
    group.bench_function("verify an order from a file, 4 rows", |b| {
        b.iter(|| {
            let Ok(Some((Item::Saga(saga), _))) = take(black_box(&bytes)) else { panic!("a saga") };
            assert!(verify(&definition, &Recorded::try_from(saga).expect("a saga")).is_empty());
        });
    });
    group.throughput(Throughput::Elements(1));
    let state = state::decode(skald_core::FORMAT, &under_way.state).expect("a state");
    group.bench_function("probe an active order", |b| {
        b.iter(|| assert!(probe(&definition, under_way.id, black_box(&state)).is_empty()));
    });
}

/// An order after so many inputs.
fn recorded(definition: &Definition, rows: usize) -> Recorded {
    let signal = |name: &str| Signal { name: name.into(), signal_id: "submit".into(), payload: payload() };
    let request = Request { input: payload(), signals: vec![signal("pay"), signal("fulfil")] };
    let (request, saga) = (prost::Message::encode_to_vec(&request), Uuid::from_u128(1));
    let mut state = State::new(definition);
    let row = |(i, input): (usize, &Input)| {
        let at = T0 + i as i64;
        let effects = advance(Context { saga, definition, now: at }, &mut state, input).expect("accepted");
        let digest = history::digest(&state::encode(&state), &effects);
        let (actor, bytes) = ("bench".into(), skald_core::input::encode(input));
        history::Row { seq: i as u32 + 1, at, rules: 1, kind: input.kind(), actor, input: bytes, digest }
    };
    let rows: Vec<_> = inputs()[..rows].iter().enumerate().map(row).collect();
    let (version, active, bytes) = (state.version, !state.is_final(), state::encode(&state));
    let format = skald_core::FORMAT;
    Recorded { id: saga, definition: 1, version, format, active, request, state: bytes, rows }
}

criterion_group!(benches, advance_an_order, plan_a_batch, replay_an_order);
criterion_main!(benches);
