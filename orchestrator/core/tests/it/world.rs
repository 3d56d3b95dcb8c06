//! Model participants around one saga: a barrier per step as the participant runtime keeps it (RUN, UNDO and SEAL
//! with tombstones, intents that settle later), a transport that loses, repeats and reorders, a driver that
//! re-sends what is in flight, and a clock. Honest all along: so nothing may ever contradict itself.

use std::sync::Arc;

use skald_core::{
    CommandRef, Definition, Input, Refused, flight,
    input::{
        Act, Answer, CancelRequested, DeadlineFired, Operator, Outcome, Postponed, Resolve, Skip, Unit, Verb,
    },
    state::Phase,
};

use crate::{
    random::Choices,
    support::{self, Saga, saga},
};

/// What a participant's table says of a step.
#[derive(Clone, Default, Debug)]
struct Barrier {
    /// The verdict for RUN.
    run: Option<Answer>,
    /// An outside call for RUN is open: the attempt that it will answer.
    intent: Option<u32>,
    /// An UNDO waits for the intent: the attempt that it will answer.
    undo_waits: Option<u32>,
    /// The verdict for UNDO.
    undo: Option<Answer>,
}

/// A step and, from 0, its epoch.
type At = (usize, usize);

pub(crate) struct World {
    pub(crate) saga: Saga,
    /// Per step, per epoch.
    barriers: Vec<Vec<Barrier>>,
    commands: Vec<CommandRef>,
    outcomes: Vec<Outcome>,
    /// Everything that was ever on its way: offsets may be reset to the earliest.
    all_commands: Vec<CommandRef>,
    all_outcomes: Vec<Outcome>,
    /// How often each step's action took effect, and its undo.
    pub(crate) ran: Vec<u32>,
    pub(crate) undone: Vec<u32>,
    pub(crate) sealed: bool,
    /// How many steps a person vouched for.
    pub(crate) vouched: u32,
    /// A person asked nobody.
    pub(crate) unfenced: bool,
}

impl World {
    pub(crate) fn new(definition: &Arc<Definition>, c: &mut Choices) -> World {
        let early: Vec<String> = (definition.steps.iter())
            .filter(|step| step.is_signal() && c.next(2) == 1)
            .map(|step| step.name.clone())
            .collect();
        let early: Vec<(&str, &str)> = early.iter().map(|name| (name.as_str(), "early")).collect();
        let n = definition.steps.len();
        let mut world = World {
            saga: saga(definition).started_with(&early),
            barriers: vec![vec![]; n],
            commands: vec![],
            outcomes: vec![],
            all_commands: vec![],
            all_outcomes: vec![],
            ran: vec![0; n],
            undone: vec![0; n],
            sealed: false,
            vouched: 0,
            unfenced: false,
        };
        world.send_effects();
        world
    }

    /// Anything that can happen, happens.
    pub(crate) fn storm(&mut self, c: &mut Choices) {
        while !c.over() {
            match c.next(16) {
                0..=2 => self.deliver_command(c),
                3..=5 => self.deliver_outcome(c),
                6 | 7 => self.resend(),
                8 => self.settle(c.next(self.barriers.len()), c),
                9 => self.pass_time(c),
                10 => self.fire(),
                11 | 12 => self.signal(c),
                13 | 14 if c.rarely(6) => self.fold(Input::CancelRequested(CancelRequested::default())),
                _ if c.rarely(3) => self.postpone(c),
                _ => self.act(c),
            }
        }
    }

    /// An operator does anything, mostly on the version that there is.
    fn act(&mut self, c: &mut Choices) {
        let steps = self.saga.definition.clone();
        let step = &c.pick(&steps.steps.iter().collect::<Vec<_>>()).name;
        let unfenced = c.rarely(6);
        let act = match c.next(8) {
            0 | 1 => support::retry(if c.rarely(3) { "" } else { step }),
            2 => support::skip(step, unfenced, Some("BY HAND")),
            3 => support::resolve(step, unfenced),
            4 => Act::Compensate(Unit {}),
            5 => Act::Pause(Unit {}),
            6 => Act::Resume(Unit {}),
            _ => Act::Cancel(Unit {}),
        };
        self.acted(act, self.saga.state.version - u32::from(c.rarely(8)));
    }

    fn acted(&mut self, act: Act, expected_version: u32) {
        let vouched = self.saga.state.steps.iter().filter(|step| step.vouched).count();
        let unfenced = matches!(&act, Act::Skip(Skip { unfenced: true, .. }))
            || matches!(&act, Act::Resolve(Resolve { unfenced: true, .. }));
        let (request_id, reason) = ("r".into(), "random".into());
        let before = self.unfenced;
        self.unfenced |= unfenced;
        self.fold(Input::Operator(Operator { request_id, expected_version, reason, act: Some(act) }));
        self.unfenced = before || (unfenced && self.saga.last.is_ok());
        let now = self.saga.state.steps.iter().filter(|step| step.vouched).count();
        self.vouched += (now - vouched) as u32;
    }

    fn postpone(&mut self, c: &mut Choices) {
        let participant = c.pick(&["p", "q"]).to_owned();
        self.fold(Input::Postponed(Postponed { participant }));
    }

    /// Nothing is lost any more, everybody answers, and the saga comes to rest.
    pub(crate) fn calm(&mut self, all_signals: bool) {
        let c = &mut Choices::of(&[]);
        for _ in 0..1000 {
            while !(self.commands.is_empty() && self.outcomes.is_empty()) {
                while !self.commands.is_empty() {
                    self.deliver_command(c);
                }
                self.settle_all(c);
                while !self.outcomes.is_empty() {
                    self.deliver_outcome(c);
                }
            }
            self.settle_all(c);
            if !self.outcomes.is_empty() {
                continue;
            }
            let definition = self.saga.definition.clone();
            for step in definition.steps.iter().filter(|step| all_signals && step.is_signal()) {
                self.fold(Input::Signal(support::a_signal(&step.name, "calm")));
            }
            if self.saga.state.paused_at != 0 {
                self.acted(Act::Resume(Unit {}), self.saga.state.version);
            }
            self.resend();
            if !self.commands.is_empty() {
                continue;
            }
            match flight::next_deadline(&definition, &self.saga.state) {
                Some(at) => {
                    self.saga.now = self.saga.now.max(at);
                    self.fire();
                }
                None => return,
            }
        }
        panic!("it never comes to rest: {:#?}", self.saga.state);
    }

    /// Everything that was ever sent arrives once more, the last first.
    pub(crate) fn haunt(&mut self) {
        let c = &mut Choices::of(&[]);
        self.commands = self.all_commands.clone();
        while !self.commands.is_empty() {
            self.commands.rotate_right(1);
            self.deliver_command(c);
        }
        self.outcomes = self.all_outcomes.clone();
        while !self.outcomes.is_empty() {
            self.outcomes.rotate_right(1);
            self.deliver_outcome(c);
        }
    }

    /// What must be true at any time, and more when it is at rest.
    pub(crate) fn judge(&self, at_rest: bool) {
        let state = &self.saga.state;
        let definition = &self.saga.definition;
        let parked = (state.steps.iter().map(|step| &step.parked)).chain([&state.parked]);
        let mut reasons = parked.filter(|parked| !parked.is_empty());
        let contradicted = reasons.clone().any(|r| r.starts_with("CONTRADICTION"));
        assert!(self.unfenced || !contradicted, "honest participants: {state:#?}");
        for (i, step) in definition.steps.iter().enumerate() {
            let (ran, undone) = (self.ran[i], self.undone[i]);
            if state.steps[i].vouched {
                // A person's word; where it was fenced, nothing happens behind it.
                let fenced = !self.unfenced && state.phase() == Phase::Completed;
                assert!(!fenced || ran == 0, "{} was skipped and ran: {state:#?}", step.name);
                continue;
            }
            assert!(ran <= 1 && undone <= ran, "{} ran {ran} times, undone {undone}: {state:#?}", step.name);
            match state.phase() {
                Phase::Completed => {
                    let once = u32::from(!step.is_signal());
                    assert!((ran, undone) == (once, 0), "{} of a completed saga: {ran} {undone}", step.name);
                }
                Phase::Compensated if !step.no_effect => {
                    assert_eq!(ran, undone, "{} of a compensated saga", step.name);
                }
                _ => {}
            }
        }
        assert!(
            self.unfenced || !(state.is_final() && state.is_parked()),
            "it ended and calls somebody: {state:#?}"
        );
        if at_rest && !state.is_final() {
            let reason = reasons.next().expect("it rests, is not final, and calls nobody");
            let known = ["FINAL: ", "NO: ", "EXPIRED: ", "MAX_AGE: ", "VOUCHED: ", "BUSY: ", "CONTRADICTION"];
            assert!(known.iter().any(|known| reason.starts_with(known)), "parked for {reason:?}");
        }
    }

    fn fold(&mut self, input: Input) {
        let saga = self.saga.clone();
        self.saga = saga.look_away().input(input);
        if let Err(Refused::Malformed(why)) = &self.saga.last {
            panic!("an honest input is malformed: {why}");
        }
        self.send_effects();
        self.judge(false);
    }

    /// The fast path: what an input decided is sent once. (A refused one decided nothing.)
    fn send_effects(&mut self) {
        if let Ok(effects) = &self.saga.last {
            self.commands.extend(effects.commands.iter().cloned());
            self.all_commands.extend(effects.commands.iter().cloned());
        }
    }

    /// The guarantee.
    fn resend(&mut self) {
        let in_flight = flight::commands(&self.saga.state);
        self.commands.extend(in_flight.iter().cloned());
        self.all_commands.extend(in_flight);
        assert!(self.commands.len() < 10_000, "commands pile up");
    }

    fn fire(&mut self) {
        self.fold(Input::DeadlineFired(DeadlineFired {}));
    }

    fn pass_time(&mut self, c: &mut Choices) {
        let due = flight::next_deadline(&self.saga.definition, &self.saga.state).unwrap_or(self.saga.now);
        self.saga.now = match c.next(5) {
            0 | 1 => self.saga.now.max(due),
            2 => self.saga.now + 1000,
            3 => self.saga.now + 600_000,
            // The database's clock was set back.
            _ => self.saga.now - 5000,
        };
    }

    fn signal(&mut self, c: &mut Choices) {
        let definition = self.saga.definition.clone();
        let signals: Vec<_> = definition.steps.iter().filter(|step| step.is_signal()).collect();
        if !signals.is_empty() {
            let step = c.pick(&signals);
            self.fold(Input::Signal(support::a_signal(&step.name, c.pick(&["one", "two"]))));
        }
    }

    /// Takes one on its way: it arrives, arrives and comes again, or is lost.
    fn take<T: Clone>(on_the_way: &mut Vec<T>, c: &mut Choices) -> Option<T> {
        if on_the_way.is_empty() {
            return None;
        }
        let i = c.next(on_the_way.len());
        match c.next(6) {
            0..=3 => Some(on_the_way.remove(i)),
            4 => Some(on_the_way[i].clone()),
            _ => {
                on_the_way.remove(i);
                None
            }
        }
    }

    fn deliver_outcome(&mut self, c: &mut Choices) {
        if let Some(outcome) = World::take(&mut self.outcomes, c) {
            self.fold(Input::Outcome(outcome));
        }
    }

    fn deliver_command(&mut self, c: &mut Choices) {
        let Some(command) = World::take(&mut self.commands, c) else { return };
        let i = self.saga.definition.index(&command.step).expect("a step");
        let at = (i, command.epoch as usize - 1);
        if self.barriers[i].len() < command.epoch as usize {
            self.barriers[i].resize_with(command.epoch as usize, Barrier::default);
        }
        let answer = match command.verb() {
            Verb::Run => self.run(at, command.attempt, c),
            Verb::Undo => self.undo(at, command.attempt, c),
            Verb::SealRun => self.seal(at, c),
            Verb::SealUndo => self.seal_undo(at, c),
        };
        if let Some(answer) = answer {
            self.answer(at, command.verb(), command.attempt, answer);
        }
    }

    fn answer(&mut self, (i, epoch): At, verb: Verb, attempt: u32, answer: Answer) {
        let step = self.saga.definition.steps[i].name.clone();
        let epoch = epoch as u32 + 1;
        let outcome = Outcome { step, verb: verb as i32, epoch, attempt, answer: Some(answer) };
        self.outcomes.push(outcome.clone());
        self.all_outcomes.push(outcome);
    }

    fn run(&mut self, at: At, attempt: u32, c: &mut Choices) -> Option<Answer> {
        let barrier = &mut self.barriers[at.0][at.1];
        if barrier.intent.is_some() {
            barrier.intent = Some(attempt);
            return None;
        }
        if barrier.run.is_none() {
            match c.next(12) {
                0..=5 => return Some(self.took_effect(at)),
                6 => barrier.run = Some(support::rejected("NO")),
                7 | 8 => return Some(support::failed("BUSY", true)),
                9 => return Some(support::failed("FINAL", false)),
                10 => barrier.intent = Some(attempt),
                // The participant is down.
                _ => return None,
            }
        }
        barrier.run.clone()
    }

    fn took_effect(&mut self, at: At) -> Answer {
        self.ran[at.0] += 1;
        let answer = support::succeeded(&self.saga.definition.steps[at.0].name);
        self.barriers[at.0][at.1].run = Some(answer.clone());
        answer
    }

    /// What came after it is undone before it.
    fn judge_order(&self, i: usize) {
        let steps = &self.saga.definition.steps;
        for j in (i + 1..steps.len()).filter(|&j| self.saga.definition.is_ancestor(i, j)) {
            if self.saga.state.steps[j].vouched || self.unfenced {
                continue;
            }
            let open = self.barriers[j].iter().any(|b| b.intent.is_some()) || self.ran[j] != self.undone[j];
            assert!(!open || steps[j].no_effect, "{} is undone before {}", steps[i].name, steps[j].name);
        }
    }

    fn undo(&mut self, at: At, attempt: u32, c: &mut Choices) -> Option<Answer> {
        self.judge_order(at.0);
        let barrier = &mut self.barriers[at.0][at.1];
        if barrier.undo.is_some() {
            return barrier.undo.clone();
        }
        if barrier.intent.is_some() {
            barrier.undo_waits = Some(attempt);
            return None;
        }
        match barrier.run.get_or_insert_with(support::sealed) {
            Answer::Succeeded(_) => match c.next(8) {
                0..=4 => {
                    self.undone[at.0] += 1;
                    barrier.undo = Some(support::undone());
                }
                5 | 6 => return Some(support::failed("BUSY", true)),
                _ => return Some(support::failed("FINAL", false)),
            },
            _ => barrier.undo = Some(support::nothing_to_undo()),
        }
        barrier.undo.clone()
    }

    fn seal(&mut self, at: At, c: &mut Choices) -> Option<Answer> {
        let barrier = &mut self.barriers[at.0][at.1];
        self.sealed = true;
        if barrier.intent.is_some() {
            return None;
        }
        match c.next(6) {
            4 => Some(support::failed("BUSY", true)),
            5 => Some(support::failed("FINAL", false)),
            _ => Some(barrier.run.get_or_insert_with(support::sealed).clone()),
        }
    }

    /// Tells that the undo was done, or makes sure that it never is; the action is sealed or settled first.
    fn seal_undo(&mut self, at: At, c: &mut Choices) -> Option<Answer> {
        let barrier = &mut self.barriers[at.0][at.1];
        if barrier.intent.is_some() || barrier.undo_waits.is_some() {
            return None;
        }
        match c.next(8) {
            6 => return Some(support::failed("BUSY", true)),
            7 => return Some(support::failed("FINAL", false)),
            _ => {}
        }
        barrier.run.get_or_insert_with(support::sealed);
        Some(barrier.undo.get_or_insert_with(support::fenced).clone())
    }

    /// The sweeper looks at open outside calls of a step, if there are any.
    fn settle(&mut self, i: usize, c: &mut Choices) {
        for epoch in 0..self.barriers[i].len() {
            self.settle_one((i, epoch), c);
        }
    }

    fn settle_one(&mut self, at: At, c: &mut Choices) {
        let Some(attempt) = self.barriers[at.0][at.1].intent else { return };
        let answer = match c.next(4) {
            0 | 1 => self.took_effect(at),
            2 => support::rejected("NO"),
            _ => return self.answer(at, Verb::Run, attempt, support::failed("BUSY", true)),
        };
        let barrier = &mut self.barriers[at.0][at.1];
        barrier.run = Some(answer.clone());
        barrier.intent = None;
        let waits = barrier.undo_waits.take();
        self.answer(at, Verb::Run, attempt, answer);
        if let Some(attempt) = waits
            && let Some(answer) = self.undo(at, attempt, c)
        {
            self.answer(at, Verb::Undo, attempt, answer);
        }
    }

    fn settle_all(&mut self, c: &mut Choices) {
        for i in 0..self.barriers.len() {
            self.settle(i, c);
        }
    }
}
