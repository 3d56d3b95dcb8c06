//! What a transition asks of the driver. Effects are *derived*: from the state before and the state
//! after, so that no transition can forget one.

use prost::{Message, Oneof};

use crate::{
    definition::Definition,
    flight,
    input::{Payload, Verb},
    state::{Phase, State, StepStatus},
};

/// Names one command; the driver fills in participant, input and results.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Message)]
pub struct CommandRef {
    /// The step's name.
    #[prost(string, tag = "1")]
    pub step: String,
    /// What is asked.
    #[prost(enumeration = "Verb", tag = "2")]
    pub verb: i32,
    /// From 1.
    #[prost(uint32, tag = "3")]
    pub epoch: u32,
    /// From 1.
    #[prost(uint32, tag = "4")]
    pub attempt: u32,
}

/// What the world outside may want to know.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum Event {
    /// The saga was accepted.
    #[prost(message, tag = "1")]
    Started(Plain),
    /// A stage that customers see was reached.
    #[prost(message, tag = "2")]
    Stage(Named),
    /// It turned round.
    #[prost(message, tag = "3")]
    Turned(Why),
    /// It ended forward.
    #[prost(message, tag = "4")]
    Completed(Plain),
    /// It ended backward.
    #[prost(message, tag = "5")]
    Compensated(Why),
}

/// Nothing more to say.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Plain {}

/// The stage's name.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Named {
    /// As in the definition.
    #[prost(string, tag = "1")]
    pub stage: String,
}

/// Why it turned round.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Why {
    /// As in the definition.
    #[prost(string, tag = "1")]
    pub reason: String,
    /// Explains it.
    #[prost(message, optional, tag = "2")]
    pub detail: Option<Payload>,
}

/// An event in the canonical encoding.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct EventRecord {
    /// Always set.
    #[prost(oneof = "Event", tags = "1, 2, 3, 4, 5")]
    pub event: Option<Event>,
}

/// Everything that one transition asks for.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Effects {
    /// To be sent now, in the definition's order.
    #[prost(message, repeated, tag = "1")]
    pub commands: Vec<CommandRef>,
    /// When the next deadline fires, ms; 0 = never.
    #[prost(int64, tag = "2")]
    pub wake_at: i64,
    /// In order.
    #[prost(message, repeated, tag = "3")]
    pub events: Vec<EventRecord>,
    /// Hash of the definition that the saga follows from here on; empty: as before.
    #[prost(bytes = "vec", tag = "4")]
    pub definition: Vec<u8>,
}

impl Effects {
    /// What follows from going from one state to the other.
    pub fn between(definition: &Definition, before: &State, after: &State) -> Effects {
        let done = |i: usize| before.steps.get(i).is_some_and(|s| s.status() == StepStatus::Succeeded);
        Effects::derived(definition, before, after, done)
    }

    /// What follows from going on under another definition; both states are in its order. A stage that it gives to a step
    /// that was done is reached now.
    pub fn moving(definition: &Definition, before: &State, after: &State) -> Effects {
        let effects = Effects::derived(definition, before, after, |_| false);
        Effects { definition: definition.hash().into(), ..effects }
    }

    fn derived(
        definition: &Definition,
        before: &State,
        after: &State,
        was_done: impl Fn(usize) -> bool,
    ) -> Effects {
        let was = flight::commands(before);
        let mut commands = flight::commands(after);
        commands.retain(|c| !was.contains(c));
        Effects {
            commands,
            wake_at: flight::next_deadline(definition, after).unwrap_or(0),
            events: events(definition, before, after, was_done)
                .into_iter()
                .map(|event| EventRecord { event: Some(event) })
                .collect(),
            definition: Vec::new(),
        }
    }
}

fn events(
    definition: &Definition,
    before: &State,
    after: &State,
    was_done: impl Fn(usize) -> bool,
) -> Vec<Event> {
    let mut events = Vec::new();
    if before.version == 0 {
        events.push(Event::Started(Plain {}));
    }
    let mut reached: Vec<u32> = (0..after.steps.len())
        .filter(|&i| after.steps[i].status() == StepStatus::Succeeded && !was_done(i))
        .map(|i| definition.steps[i].stage)
        .filter(|&stage| stage > before.stage && stage <= after.stage)
        .collect();
    reached.sort_unstable();
    reached.dedup();
    for stage in reached {
        let stage = definition.stages[stage as usize - 1].clone();
        events.push(Event::Stage(Named { stage }));
    }
    if before.phase() != after.phase() {
        let why = || Why { reason: after.reason.clone(), detail: after.reason_detail.clone() };
        if before.phase() == Phase::Forward && after.phase() != Phase::Completed {
            events.push(Event::Turned(why()));
        }
        match after.phase() {
            Phase::Completed => events.push(Event::Completed(Plain {})),
            Phase::Compensated => events.push(Event::Compensated(why())),
            Phase::Forward | Phase::Compensating => {}
        }
    }
    events
}
