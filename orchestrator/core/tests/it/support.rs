//! A readable way to say what happened to a saga, and to see *everything* that followed from it.
//!
//! `saga(&order()).started().succeeded("reserve").expect("…")`: every call folds one input, and each input
//! is judged by what must always hold (see [`Saga::judge`]). `expect` compares the whole change: a line
//! for every step that differs in any field, one for the saga's own fields, then each command, the
//! wake-up and each event; or the refusal. A field that is absent from a line has its default.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use skald_core::{
    CommandRef, Definition, Effects, Event, Input, Refused, State, advance, advance_to, flight,
    history::{self, Lineage},
    input::{
        self, Act, Answer, CancelRequested, DeadlineFired, Done, Failure, Migrate, No, Operator, Outcome,
        Payload, Postponed, Request, Resolve, Retry, Signal, Skip, Unit, Verb,
    },
    invariants,
    machine::Context,
    state::{self, Pending, Seal, Step, Verdict},
};
use uuid::Uuid;

/// When every test saga begins, ms.
pub(crate) const T0: i64 = 1_800_000_000_000;
/// Its id.
pub(crate) const ID: Uuid = Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0001);

/// A saga, everything that it accepted, and what followed from the last input.
#[derive(Clone)]
pub(crate) struct Saga {
    pub(crate) definition: Arc<Definition>,
    /// What it followed before.
    pub(crate) left: Vec<Arc<Definition>>,
    pub(crate) id: Uuid,
    pub(crate) now: i64,
    pub(crate) state: State,
    pub(crate) request: Vec<u8>,
    pub(crate) rows: Vec<history::Row>,
    pub(crate) last: Result<Effects, Refused>,
    said: String,
    looked_at: bool,
}

/// A saga that nothing has happened to.
pub(crate) fn saga(definition: &Arc<Definition>) -> Saga {
    Saga {
        definition: definition.clone(),
        left: Vec::new(),
        id: ID,
        now: T0,
        state: State::new(definition),
        request: Vec::new(),
        rows: Vec::new(),
        last: Ok(Effects::default()),
        said: String::new(),
        looked_at: true,
    }
}

impl Saga {
    /// Folds any input, judges the result, and keeps what to compare.
    pub(crate) fn input(self, input: Input) -> Saga {
        self.folded(input, None)
    }

    fn folded(mut self, input: Input, to: Option<&Arc<Definition>>) -> Saga {
        assert!(self.last.is_ok() || self.looked_at, "a refusal that no test looked at: {}", self.said);
        let mut before = self.state.clone();
        let cx = Context { saga: self.id, definition: &self.definition, now: self.now };
        self.last = match to {
            None => advance(cx, &mut self.state, &input),
            Some(to) => advance_to(cx, Some(to), &mut self.state, &input),
        };
        if let Some(to) = to.filter(|_| self.last.is_ok()) {
            self.left.push(std::mem::replace(&mut self.definition, to.clone()));
            before.steps.retain(|step| to.index(&step.name).is_some());
            before.aligned(to).expect("what it has not was taken out");
        }
        self.looked_at = false;
        self.judge(&before, &input);
        self.said = match &self.last {
            Ok(effects) => change(&self.definition, &before, &self.state, effects),
            Err(refused) => format!("refused, {}: {refused}", kind(refused)),
        };
        self
    }

    /// What must hold after every input, accepted or not.
    fn judge(&mut self, before: &State, input: &Input) {
        let after = &self.state;
        let Ok(effects) = &self.last else {
            assert_eq!(before, after, "a refused input changed the saga");
            return;
        };
        invariants::check(&self.definition, after).expect("invariants");
        assert_eq!(after.version, before.version + 1);
        assert_eq!(after.now, self.now.max(before.now));
        let was = flight::commands(before);
        let mut fresh = flight::commands(after);
        fresh.retain(|command| !was.contains(command));
        assert_eq!(effects.commands, fresh, "commands and what is in flight disagree");
        assert_eq!(effects.wake_at, flight::next_deadline(&self.definition, after).unwrap_or(0));
        self.rows.push(history::Row {
            seq: after.version,
            at: after.now,
            rules: skald_core::RULES,
            kind: input.kind(),
            actor: "test".into(),
            input: input::encode(input),
            digest: history::digest(&state::encode(after), effects),
        });
    }

    /// Compares everything that followed from the last input, and replays the whole history.
    #[track_caller]
    pub(crate) fn expect(mut self, expected: &str) -> Saga {
        let lines = |text: &str| text.trim().lines().map(str::trim).collect::<Vec<_>>().join("\n");
        let (expected, said) = (lines(expected), lines(&self.said));
        assert!(expected == said, "expected:\n{expected}\n\nfollowed:\n{said}\n");
        self.replays();
        self.looked_at = true;
        self
    }

    /// The recorded rows lead to the same state, digest by digest.
    #[track_caller]
    pub(crate) fn replays(&self) {
        let known = self.known();
        let replayed =
            history::replay(Lineage::new(&self.definition, &known), self.id, &self.request, &self.rows);
        assert_eq!(replayed.expect("replay"), self.state);
    }

    /// Finds every definition that it ever followed.
    pub(crate) fn known(&self) -> Vec<Arc<Definition>> {
        self.left.iter().chain([&self.definition]).cloned().collect()
    }

    /// Everything that followed from the last input.
    pub(crate) fn said(&self) -> &str {
        &self.said
    }

    /// Whether the last input was refused does not matter.
    pub(crate) fn look_away(mut self) -> Saga {
        self.looked_at = true;
        self
    }

    /// Time passes, and nothing else.
    pub(crate) fn after(mut self, time: &str) -> Saga {
        self.now += humantime::parse_duration(time).expect("a duration").as_millis() as i64;
        self
    }

    /// Time passes until the next deadline.
    pub(crate) fn until_due(mut self) -> Saga {
        self.now = flight::next_deadline(&self.definition, &self.state).expect("a deadline is open");
        self
    }

    pub(crate) fn started(self) -> Saga {
        self.started_with(&[])
    }

    /// Submitted along with signals, each a name and an id.
    pub(crate) fn started_with(mut self, signals: &[(&str, &str)]) -> Saga {
        let request = Request {
            input: Some(payload("input")),
            signals: signals.iter().map(|(name, id)| a_signal(name, id)).collect(),
        };
        self.request = prost::Message::encode_to_vec(&request);
        let started = history::started(&self.request).expect("a request");
        self.input(Input::Started(started))
    }

    pub(crate) fn signal(self, name: &str, id: &str) -> Saga {
        self.input(Input::Signal(a_signal(name, id)))
    }

    pub(crate) fn cancelled(self) -> Saga {
        self.input(Input::CancelRequested(CancelRequested { note: "changed my mind".into() }))
    }

    /// An operator acts on what there is.
    pub(crate) fn act(self, act: Act) -> Saga {
        let version = self.state.version;
        self.act_on(version, act)
    }

    /// An operator acts on what there was.
    pub(crate) fn act_on(self, expected_version: u32, act: Act) -> Saga {
        let (request_id, reason) = ("r1".into(), "because".into());
        self.input(Input::Operator(Operator { request_id, expected_version, reason, act: Some(act) }))
    }

    /// An operator moves it to another definition.
    pub(crate) fn moved_to(self, to: &Arc<Definition>) -> Saga {
        let migrate = Migrate { from: self.definition.hash().into(), to: to.hash().into() };
        let (expected_version, reason) = (self.state.version, "because".into());
        let (request_id, act) = ("r1".into(), Some(Act::Migrate(migrate)));
        self.folded(Input::Operator(Operator { request_id, expected_version, reason, act }), Some(to))
    }

    pub(crate) fn retried(self, step: &str) -> Saga {
        self.act(retry(step))
    }

    pub(crate) fn skipped(self, step: &str) -> Saga {
        self.act(skip(step, false, None))
    }

    /// With a result, for steps that others need.
    pub(crate) fn skipped_for(self, step: &str) -> Saga {
        self.act(skip(step, false, Some("BY HAND")))
    }

    pub(crate) fn resolved(self, step: &str) -> Saga {
        self.act(resolve(step, false))
    }

    pub(crate) fn compensated(self) -> Saga {
        self.act(Act::Compensate(Unit {}))
    }

    pub(crate) fn paused(self) -> Saga {
        self.act(Act::Pause(Unit {}))
    }

    pub(crate) fn resumed(self) -> Saga {
        self.act(Act::Resume(Unit {}))
    }

    /// Deadlines are due while the participant is frozen.
    pub(crate) fn postponed(self, participant: &str) -> Saga {
        self.input(Input::Postponed(Postponed { participant: participant.into() }))
    }

    /// Everything that is due happens.
    pub(crate) fn fired(self) -> Saga {
        self.input(Input::DeadlineFired(DeadlineFired {}))
    }

    /// RUN: it took effect; its result is the step's name in capitals.
    pub(crate) fn succeeded(self, step: &str) -> Saga {
        let answer = succeeded(step);
        self.run(step, answer)
    }

    pub(crate) fn rejected(self, step: &str, code: &str) -> Saga {
        self.run(step, rejected(code))
    }

    pub(crate) fn sealed(self, step: &str) -> Saga {
        self.answer(step, Verb::SealRun, sealed())
    }

    pub(crate) fn undone(self, step: &str) -> Saga {
        self.answer(step, Verb::Undo, undone())
    }

    pub(crate) fn nothing_to_undo(self, step: &str) -> Saga {
        self.answer(step, Verb::Undo, nothing_to_undo())
    }

    /// Whatever the step's present verb is: not this time.
    pub(crate) fn failed(self, step: &str) -> Saga {
        let (verb, attempt) = self.present(step);
        self.outcome(step, verb, 1, attempt, Some(failed("UNAVAILABLE", true)))
    }

    /// Whatever the step's present verb is: never.
    pub(crate) fn failed_final(self, step: &str) -> Saga {
        let (verb, attempt) = self.present(step);
        self.outcome(step, verb, 1, attempt, Some(failed("UNRESOLVED", false)))
    }

    pub(crate) fn run(self, step: &str, answer: Answer) -> Saga {
        self.answer(step, Verb::Run, answer)
    }

    /// A verdict of epoch 1; it counts from any attempt.
    pub(crate) fn answer(self, step: &str, verb: Verb, answer: Answer) -> Saga {
        self.outcome(step, verb, 1, 1, Some(answer))
    }

    pub(crate) fn outcome(
        self,
        step: &str,
        verb: Verb,
        epoch: u32,
        attempt: u32,
        answer: Option<Answer>,
    ) -> Saga {
        let step = step.into();
        self.input(Input::Outcome(Outcome { step, verb: verb as i32, epoch, attempt, answer }))
    }

    /// Fails as often as the policy allows, waiting in between.
    pub(crate) fn failed_to_the_end(mut self, step: &str) -> Saga {
        let i = self.definition.index(step).expect("a step");
        for attempt in 1..=self.definition.steps[i].retry.attempts {
            if attempt > 1 {
                self = self.until_due().fired();
            }
            self = self.failed(step);
        }
        self
    }

    pub(crate) fn step(&self, name: &str) -> &Step {
        &self.state.steps[self.definition.index(name).expect("a step")]
    }

    fn present(&self, step: &str) -> (Verb, u32) {
        let step = self.step(step);
        (flight::verb(step).unwrap_or(Verb::Run), step.attempt)
    }
}

pub(crate) fn retry(step: &str) -> Act {
    Act::Retry(Retry { step: step.into() })
}

pub(crate) fn skip(step: &str, unfenced: bool, result: Option<&str>) -> Act {
    Act::Skip(Skip { step: step.into(), evidence: "seen".into(), unfenced, result: result.map(payload) })
}

pub(crate) fn resolve(step: &str, unfenced: bool) -> Act {
    Act::Resolve(Resolve { step: step.into(), evidence: "done".into(), unfenced })
}

pub(crate) fn payload(value: &str) -> Payload {
    Payload { type_url: "t".into(), value: value.into() }
}

pub(crate) fn a_signal(name: &str, id: &str) -> Signal {
    Signal { name: name.into(), signal_id: id.into(), payload: Some(payload(&name.to_uppercase())) }
}

pub(crate) fn succeeded(step: &str) -> Answer {
    Answer::Succeeded(Done { result: Some(payload(&step.to_uppercase())) })
}

pub(crate) fn rejected(code: &str) -> Answer {
    let detail = Some(payload("why"));
    Answer::Rejected(No { code: code.into(), message: "sorry".into(), detail })
}

pub(crate) fn sealed() -> Answer {
    Answer::Sealed(Unit {})
}

pub(crate) fn undone() -> Answer {
    Answer::Undone(Done { result: None })
}

pub(crate) fn nothing_to_undo() -> Answer {
    Answer::NothingToUndo(Unit {})
}

pub(crate) fn fenced() -> Answer {
    Answer::Fenced(Unit {})
}

pub(crate) fn failed(code: &str, retryable: bool) -> Answer {
    Answer::Failed(Failure { code: code.into(), message: "no luck".into(), retryable, retry_after_ms: 0 })
}

/// Everything that changed from one state to the next, and the effects, in words.
pub(crate) fn change(definition: &Definition, before: &State, after: &State, effects: &Effects) -> String {
    let mut out = String::new();
    for (was, is) in before.steps.iter().zip(&after.steps) {
        if was != is {
            writeln!(out, "{}: {}", is.name, step_line(is)).unwrap();
        }
    }
    let own = saga_line(definition, after);
    if own != saga_line(definition, before) {
        writeln!(out, "saga: {own}").unwrap();
    }
    for command in &effects.commands {
        writeln!(out, "send {}", command_line(command)).unwrap();
    }
    writeln!(out, "wake {}", if effects.wake_at == 0 { "never".into() } else { at(effects.wake_at) })
        .unwrap();
    for event in &effects.events {
        writeln!(out, "event {}", event_line(event.event.as_ref().expect("an event"))).unwrap();
    }
    if !effects.definition.is_empty() {
        assert_eq!(effects.definition, definition.hash(), "it follows what it says");
        writeln!(out, "follow {} {}", definition.name, definition.version).unwrap();
    }
    out
}

pub(crate) fn command_line(CommandRef { step, verb, epoch, attempt }: &CommandRef) -> String {
    let verb = Verb::try_from(*verb).expect("a verb").name();
    format!("{step} {verb}/{epoch} attempt {attempt}")
}

pub(crate) fn event_line(event: &Event) -> String {
    let why = |w: &skald_core::effects::Why| {
        format!("{}{}", w.reason, w.detail.as_ref().map(|p| format!(" {}", text(p))).unwrap_or_default())
    };
    match event {
        Event::Started(_) => "Started".into(),
        Event::Stage(named) => format!("Stage {}", named.stage),
        Event::Turned(w) => format!("Turned {}", why(w)),
        Event::Completed(_) => "Completed".into(),
        Event::Compensated(w) => format!("Compensated {}", why(w)),
    }
}

/// Every field of a step that has not its default.
pub(crate) fn step_line(step: &Step) -> String {
    let mut out = format!("{:?}", step.status());
    let mut say = |what: String| write!(out, " {what}").unwrap();
    if step.epoch != 0 {
        say(format!("e{}", step.epoch));
    }
    if step.attempt != 0 {
        say(format!("a{}", step.attempt));
    }
    if step.pending() != Pending::Nothing {
        say(format!("{:?}", step.pending()));
    }
    for (name, time) in
        [("retry", step.retry_at), ("entered", step.entered_at), ("gives_up", step.give_up_at)]
    {
        if time != 0 {
            say(format!("{name}{}", at(time)));
        }
    }
    for (name, verdict) in [("run", step.run()), ("undo", step.undo())] {
        if verdict != Verdict::Unknown {
            say(format!("{name}={verdict:?}"));
        }
    }
    for bit in (0..32).filter(|bit| step.contradicted >> bit & 1 == 1) {
        say(format!("contradicted={:?}", Verdict::try_from(bit).expect("a verdict")));
    }
    if let Some(result) = &step.result {
        say(format!("result={}", text(result)));
    }
    if !step.signal_id.is_empty() {
        say(format!("signal={}", step.signal_id));
    }
    if step.vouched {
        say("vouched".into());
    }
    if step.seal() != Seal::GiveUp {
        say(format!("to {:?}", step.seal()));
    }
    if let Some(error) = &step.last_error {
        say(format!("error({}: {} {})", error.code, error.message, at(error.at)));
    }
    if !step.parked.is_empty() {
        say(format!("PARKED({})", step.parked));
    }
    out
}

/// Every field of the saga itself but version and now, which [`Saga::judge`] checks.
pub(crate) fn saga_line(definition: &Definition, saga: &State) -> String {
    let mut out = format!("{:?}", saga.phase());
    let mut say = |what: String| write!(out, " {what}").unwrap();
    if saga.created_at != 0 {
        say(format!("created{}", at(saga.created_at)));
    }
    if saga.stage != 0 {
        say(definition.stages[saga.stage as usize - 1].clone());
    }
    for early in &saga.early {
        say(format!("early({} {})", early.name, early.signal_id));
    }
    if !saga.reason.is_empty() {
        say(format!("reason={}", saga.reason));
    }
    if let Some(detail) = &saga.reason_detail {
        say(format!("detail={}", text(detail)));
    }
    if saga.paused_at != 0 {
        say(format!("paused{}", at(saga.paused_at)));
    }
    if !saga.parked.is_empty() {
        say(format!("PARKED({})", saga.parked));
    }
    out
}

pub(crate) fn kind(refused: &Refused) -> &'static str {
    match refused {
        Refused::Repeat => "Repeat",
        Refused::Stale => "Stale",
        Refused::NotDue => "NotDue",
        Refused::NotAllowed(_) => "NotAllowed",
        Refused::Moved { .. } => "Moved",
        Refused::Malformed(_) => "Malformed",
    }
}

fn text(payload: &Payload) -> String {
    String::from_utf8_lossy(&payload.value).into_owned()
}

/// A time, relative to the beginning.
pub(crate) fn at(time: i64) -> String {
    let time = Duration::from_millis((time - T0).try_into().expect("not before the beginning"));
    format!("+{}", humantime::format_duration(time).to_string().replace(' ', ""))
}
