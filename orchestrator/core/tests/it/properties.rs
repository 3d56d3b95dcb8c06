//! Random sound definitions, random inputs: what must always hold holds. With model participants every saga comes
//! to rest as it was promised.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
};

use skald_core::{
    CommandRef, Definition, Input, flight,
    input::{
        self, Act, Answer, CancelRequested, DeadlineFired, Operator, Outcome, Postponed, Started, Unit, Verb,
    },
    plan::{Ask, Fate, Item, Loaded, plan},
    state::{self, Phase, StepStatus},
};

use crate::{
    random::{self, Choices},
    support::{self, Saga, saga},
    world::World,
};

/// Any input: likely ones, and such as no honest world would send.
fn any_input(c: &mut Choices, saga: &Saga) -> Input {
    let definition = &saga.definition;
    match c.next(12) {
        0..=3 => likely_outcome(c, saga),
        10 | 11 => any_act(c, saga),
        4 | 5 => Input::Outcome(any_outcome(c, definition)),
        6 => {
            let name = any_step(c, definition);
            Input::Signal(support::a_signal(&name, c.pick(&["one", "two"])))
        }
        7 | 8 => Input::DeadlineFired(DeadlineFired {}),
        _ if c.rarely(3) => Input::CancelRequested(CancelRequested { note: "enough".into() }),
        _ => Input::Started(Started::default()),
    }
}

/// An operator, mostly on the version that there is, or the driver that met a frozen participant.
fn any_act(c: &mut Choices, saga: &Saga) -> Input {
    let step = any_step(c, &saga.definition);
    let unfenced = c.rarely(3);
    let act = match c.next(9) {
        0 => support::retry(&step),
        1 => support::retry(""),
        2 => support::skip(&step, unfenced, c.pick(&[None, Some("BY HAND")])),
        3 => support::resolve(&step, unfenced),
        4 => support::resolve("", false),
        5 => Act::Compensate(Unit {}),
        6 => Act::Pause(Unit {}),
        7 => Act::Resume(Unit {}),
        _ => return Input::Postponed(Postponed { participant: c.pick(&["p", "q", ""]).into() }),
    };
    let expected_version = saga.state.version - u32::from(c.rarely(8));
    let (request_id, reason) = ("r".into(), "random".into());
    Input::Operator(Operator { request_id, expected_version, reason, act: Some(act) })
}

fn any_step(c: &mut Choices, definition: &Definition) -> String {
    let steps = &definition.steps;
    let i = c.next(steps.len() + 1);
    steps.get(i).map_or("nowhere".into(), |step| step.name.clone())
}

/// An answer to a command that is in flight.
fn likely_outcome(c: &mut Choices, saga: &Saga) -> Input {
    let in_flight = flight::commands(&saga.state);
    if in_flight.is_empty() {
        return Input::DeadlineFired(DeadlineFired {});
    }
    let command = in_flight[c.next(in_flight.len())].clone();
    let answer = match (command.verb(), c.next(8)) {
        (_, 6) => support::failed("BUSY", true),
        (_, 7) => support::failed("FINAL", false),
        (Verb::Undo, 0..=3) => support::undone(),
        (Verb::Undo, _) => support::nothing_to_undo(),
        (_, 0..=3) => support::succeeded(&command.step),
        (Verb::SealRun, 4) => support::sealed(),
        _ => support::rejected("NO"),
    };
    let CommandRef { step, verb, epoch, attempt } = command;
    Input::Outcome(Outcome { step, verb, epoch, attempt, answer: Some(answer) })
}

fn any_outcome(c: &mut Choices, definition: &Definition) -> Outcome {
    let answers: [fn() -> Answer; 8] = [
        || support::succeeded("s"),
        || support::rejected("NO"),
        support::sealed,
        support::undone,
        support::nothing_to_undo,
        support::fenced,
        || support::failed("BUSY", true),
        || support::failed("FINAL", false),
    ];
    Outcome {
        step: any_step(c, definition),
        verb: c.next(6) as i32,
        epoch: c.pick(&[1, 1, 1, 0, 2]),
        attempt: c.pick(&[1, 2, 3, 0]),
        answer: if c.rarely(16) { None } else { Some(c.pick(&answers)()) },
    }
}

fn pass_time(c: &mut Choices, saga: &mut Saga) {
    let due = flight::next_deadline(&saga.definition, &saga.state);
    saga.now = match c.next(8) {
        0..=3 => saga.now,
        4 | 5 => due.unwrap_or(saga.now).max(saga.now),
        6 => saga.now + 90_000,
        _ => saga.now - 1000,
    };
}

#[test]
fn any_input_keeps_the_invariants_and_replays() {
    random::check(4000, 300, |c| {
        let definition = random::definition(c);
        let mut saga = saga(&definition).started();
        while !c.over() {
            pass_time(c, &mut saga);
            let input = any_input(c, &saga);
            // `input` itself judges: unchanged when refused, one version more when accepted, and so on.
            saga = saga.look_away().input(input.clone());
            assert_eq!(input::decode(&input::encode(&input)).unwrap().kind(), input.kind());
            let stored = state::encode(&saga.state);
            assert_eq!(state::decode(skald_core::FORMAT, &stored).unwrap(), saga.state);
            settled_results(&saga);
        }
        saga.replays();
    });
}

/// A result is there only while a step that is still open needs it.
fn settled_results(saga: &Saga) {
    for (i, step) in saga.state.steps.iter().enumerate().filter(|(_, step)| step.result.is_some()) {
        let needed = saga.state.steps.iter().zip(&saga.definition.steps).any(|(other, graph)| {
            graph.needs.contains(&(i as u32)) && other.status() != StepStatus::Succeeded
        });
        assert!(needed && saga.state.phase() == Phase::Forward, "{} keeps its result", step.name);
    }
    // And then it is there: whatever runs, or may run again, has all that it needs.
    for (step, graph) in saga.state.steps.iter().zip(&saga.definition.steps) {
        let entered = !matches!(step.status(), StepStatus::Waiting | StepStatus::Succeeded);
        if entered && saga.state.phase() == Phase::Forward {
            let kept = graph.needs.iter().all(|&of| saga.state.steps[of as usize].result.is_some());
            assert!(kept, "{} lacks what it needs", step.name);
        }
    }
}

#[test]
fn a_batch_decides_what_its_inputs_decide_one_by_one() {
    random::check(2000, 200, |c| {
        let definition = random::definition(c);
        let mut one = saga(&definition).started();
        for _ in 0..c.next(20) {
            pass_time(c, &mut one);
            let input = any_input(c, &one);
            one = one.look_away().input(input);
        }
        let loaded = Loaded { definition, state: one.state.clone(), quarantined: false };
        let before = flight::commands(&one.state);
        let rows = one.rows.len();
        let (mut items, mut decided) = (Vec::new(), Vec::new());
        for token in 0..c.next(12) {
            let input = any_input(c, &one);
            one = one.look_away().input(input.clone());
            let fate = match &one.last {
                Ok(effects) => {
                    decided.extend(effects.commands.clone());
                    Fate::Accepted { version: one.state.version }
                }
                Err(refused) => Fate::Refused(refused.clone()),
            };
            items.push((Item { saga: one.id, actor: "test".into(), ask: Ask::Fold(input), token }, fate));
        }
        let (items, fates): (Vec<_>, Vec<_>) = items.into_iter().unzip();
        let plan = plan(one.now, items, BTreeMap::from([(one.id, loaded)]), &BTreeSet::new());
        let settled: Vec<_> = fates.into_iter().enumerate().collect();
        assert_eq!(plan.settled, settled);
        assert_eq!(plan.writes.iter().flat_map(|w| w.rows.clone()).collect::<Vec<_>>(), one.rows[rows..]);
        if let Some(write) = plan.writes.first() {
            assert_eq!((&write.state, &write.bytes), (&one.state, &state::encode(&one.state)));
        }
        // Sent is what was decided and is in flight now: all that was not before, and what a resume sends again.
        let mut fresh = flight::commands(&one.state);
        assert!(fresh.iter().all(|command| before.contains(command) || decided.contains(command)));
        fresh.retain(|command| decided.contains(command));
        assert_eq!(plan.sends.into_iter().map(|send| send.command).collect::<Vec<_>>(), fresh);
    });
}

/// One saga among model participants, until it rests; then everything comes once more.
fn run(c: &mut Choices) -> World {
    let definition = random::definition(c);
    let mut world = World::new(&definition, c);
    let all_signals = c.next(2) == 0;
    world.storm(c);
    world.calm(all_signals);
    world.judge(true);
    let rested = world.saga.state.clone();
    world.haunt();
    world.calm(all_signals);
    world.judge(true);
    let now = &world.saga.state;
    // Whoever asked nobody is told when somebody answers after all.
    if rested.is_final() && !world.unfenced {
        assert_eq!((rested.phase(), rested.is_parked()), (now.phase(), now.is_parked()));
    }
    world.saga.replays();
    world
}

#[test]
fn every_saga_comes_to_rest_as_promised() {
    let [completed, compensated, late, parked, sealed, vouched] = [const { Cell::new(0) }; 6];
    let count = |cell: &Cell<u32>, it: bool| cell.set(cell.get() + u32::from(it));
    random::check(4000, 400, |c| {
        let world = run(c);
        let state = &world.saga.state;
        count(&completed, state.phase() == Phase::Completed && world.ran.len() > 2);
        count(&compensated, state.phase() == Phase::Compensated && world.undone.iter().sum::<u32>() > 0);
        count(&late, world.ran.iter().sum::<u32>() > 1 && state.phase() == Phase::Compensated);
        count(&parked, state.is_parked());
        count(&sealed, world.sealed);
        count(&vouched, world.vouched > 0);
    });
    // The cases were worth something.
    for (what, cell) in [
        ("completed", &completed),
        ("compensated", &compensated),
        ("late", &late),
        ("parked", &parked),
        ("sealed", &sealed),
        ("vouched", &vouched),
    ] {
        let least = random::cases(4000) / 100;
        assert!(cell.get() >= least, "only {} cases {what}", cell.get());
    }
}
