//! A state as named fields: for words, and to name the first field in which two states differ. Payloads and the
//! ids of signals are shown by their hash, never by content.

use sha2::{Digest, Sha256};

use crate::{
    effects::{CommandRef, Effects, Event},
    input::{Payload, Verb},
    state::{Pending, Seal, State, Step, Verdict},
};

/// Where two states differ first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The step's name; empty for the saga itself.
    pub step: String,
    /// The field's name.
    pub field: &'static str,
    /// What this binary finds.
    pub found: String,
    /// What is stored.
    pub recorded: String,
}

/// The first field in which `found` differs from `recorded`: the saga's own, then step by step.
pub fn first_difference(found: &State, recorded: &State) -> Option<Difference> {
    let first = |step: &str, found: Fields, recorded: Fields| {
        let differing = found.into_iter().zip(recorded).find(|(f, r)| f != r);
        differing.map(|((field, found), (_, recorded))| Difference {
            step: step.into(),
            field,
            found: shown(found),
            recorded: shown(recorded),
        })
    };
    let steps = found.steps.iter().zip(&recorded.steps);
    first("", saga(found), saga(recorded))
        .or_else(|| steps.into_iter().find_map(|(f, r)| first(&f.name, step(f), step(r))))
}

/// A state and what follows from it, line by line: every field that has not its default.
pub fn words(state: &State, effects: &Effects) -> Vec<String> {
    let entered = state.steps.iter().filter(|step| step.entered_at != 0);
    let steps = entered.map(|one| format!("{}: {}", one.name, filled(step(one).into_iter().skip(1))));
    let commands = effects.commands.iter().map(|command| format!("send {}", command_words(command)));
    let wake = (effects.wake_at != 0).then(|| format!("wake {}", effects.wake_at));
    let events = effects.events.iter().filter_map(|record| record.event.as_ref());
    let events = events.map(|event| format!("event {}", event_words(event)));
    let saga = format!("saga: {}", filled(saga(state).into_iter()));
    let digits = || effects.definition.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let follow = (!effects.definition.is_empty()).then(|| format!("follow definition {:.12}", digits()));
    [saga].into_iter().chain(steps).chain(commands).chain(wake).chain(events).chain(follow).collect()
}

/// `reserve RUN/1 attempt 1`.
pub fn command_words(command: &CommandRef) -> String {
    let verb = Verb::try_from(command.verb).map_or("?", Verb::name);
    format!("{} {verb}/{} attempt {}", command.step, command.epoch, command.attempt)
}

/// `Turned EXPIRED`.
pub fn event_words(event: &Event) -> String {
    match event {
        Event::Started(_) => "Started".into(),
        Event::Stage(named) => format!("Stage {}", named.stage),
        Event::Turned(why) => format!("Turned {}", why.reason),
        Event::Completed(_) => "Completed".into(),
        Event::Compensated(why) => format!("Compensated {}", why.reason),
    }
}

type Fields = Vec<(&'static str, String)>;

// Both are taken apart whole, so that a new field can't be forgotten here.

fn saga(state: &State) -> Fields {
    let State {
        phase: _,
        version,
        now,
        created_at,
        stage,
        steps,
        early,
        reason,
        reason_detail,
        parked,
        paused_at,
    } = state;
    let names = steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>().join(" ");
    let kept =
        |s: &crate::input::Signal| format!("{} {} {}", s.name, token(&s.signal_id), payload(&s.payload));
    vec![
        ("phase", format!("{:?}", state.phase())),
        ("version", number(*version)),
        ("now", number(*now)),
        ("created_at", number(*created_at)),
        ("stage", number(*stage)),
        ("steps", names),
        ("early", early.iter().map(kept).collect::<Vec<_>>().join(", ")),
        ("reason", reason.clone()),
        ("reason_detail", payload(reason_detail)),
        ("parked", parked.clone()),
        ("paused_at", number(*paused_at)),
    ]
}

fn step(step: &Step) -> Fields {
    let Step {
        name,
        status: _,
        epoch,
        attempt,
        pending: _,
        retry_at,
        entered_at,
        give_up_at,
        run: _,
        undo: _,
        contradicted,
        parked,
        last_error,
        result,
        signal_id,
        vouched,
        seal: _,
    } = step;
    let error = last_error.as_ref().map(|e| format!("{}: {} at {}", e.code, e.message, e.at));
    vec![
        ("name", name.clone()),
        ("status", format!("{:?}", step.status())),
        ("epoch", number(*epoch)),
        ("attempt", number(*attempt)),
        ("pending", unless(Pending::Nothing, step.pending())),
        ("retry_at", number(*retry_at)),
        ("entered_at", number(*entered_at)),
        ("give_up_at", number(*give_up_at)),
        ("run", unless(Verdict::Unknown, step.run())),
        ("undo", unless(Verdict::Unknown, step.undo())),
        ("contradicted", number(*contradicted)),
        ("parked", parked.clone()),
        ("last_error", error.unwrap_or_default()),
        ("result", payload(result)),
        ("signal_id", token(signal_id)),
        ("vouched", if *vouched { "true".into() } else { String::new() }),
        ("seal", unless(Seal::GiveUp, step.seal())),
    ]
}

fn unless<T: PartialEq + std::fmt::Debug>(nothing: T, value: T) -> String {
    if value == nothing { String::new() } else { format!("{value:?}") }
}

/// Empty for the default.
fn number<N: Default + PartialEq + ToString>(number: N) -> String {
    if number == N::default() { String::new() } else { number.to_string() }
}

fn payload(payload: &Option<Payload>) -> String {
    payload.as_ref().map_or(String::new(), |p| {
        let kind = if p.type_url.is_empty() { "untyped" } else { &p.type_url };
        format!("{kind} ({} bytes, {})", p.value.len(), hash(&p.value))
    })
}

/// A signal's id may be what its sender pays with.
fn token(id: &str) -> String {
    if id.is_empty() { String::new() } else { format!("#{}", hash(id.as_bytes())) }
}

/// Enough to tell two apart.
fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes)[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn filled(fields: impl Iterator<Item = (&'static str, String)>) -> String {
    let filled = fields.filter(|(_, value)| !value.is_empty());
    filled.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

fn shown(value: String) -> String {
    if value.is_empty() { "(none)".into() } else { value }
}
