//! A batch of inputs meets the sagas that they are about: everything that has to be written, sent and
//! answered, decided at once. The driver only executes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use uuid::Uuid;

use crate::{
    definition::Definition,
    effects::{CommandRef, Event},
    flight, history,
    input::{self, DeadlineFired, Input, Payload, Postponed},
    machine::{Context, Refused, advance_to},
    planted,
    state::{self, State, Status},
};

/// One thing that came in. `T` is the driver's: an offset to finish, a caller to answer.
#[derive(Debug)]
pub struct Item<T> {
    /// Which saga it is about.
    pub saga: Uuid,
    /// Who caused it, for the history.
    pub actor: String,
    /// What is asked.
    pub ask: Ask,
    /// Given back when it is settled.
    pub token: T,
}

/// What is asked of a saga.
#[derive(Debug)]
pub enum Ask {
    /// Begin; the saga must not be among the loaded ones.
    Start(Arc<Definition>, Input),
    /// Fold this in.
    Fold(Input),
    /// Fold this in, which moves the saga to another definition.
    Move(Arc<Definition>, Input),
    /// Look whether something is due, and re-send what waits for an answer when `resend` says so.
    Wake {
        /// The gap since the last sending is over.
        resend: bool,
    },
}

/// A saga as it was read under its row lock.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it follows.
    pub definition: Arc<Definition>,
    /// As stored.
    pub state: State,
    /// No input is taken until an operator looked.
    pub quarantined: bool,
}

/// Everything that follows from a batch.
#[derive(Debug)]
pub struct Plan<T> {
    /// One per saga that changed, by id.
    pub writes: Vec<Write>,
    /// To be sent once the writes are committed.
    pub sends: Vec<Send>,
    /// Sagas that were looked at and stay as they are, by id.
    pub looked_at: Vec<LookedAt>,
    /// Every item's token, in arrival order.
    pub settled: Vec<(T, Fate)>,
}

/// A saga that an [`Ask::Wake`] left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookedAt {
    /// Its id.
    pub saga: Uuid,
    /// The next deadline, ms.
    pub deadline: Option<i64>,
    /// Commands are in flight.
    pub in_flight: bool,
}

/// A saga's new row, history rows and events.
#[derive(Debug, PartialEq)]
pub struct Write {
    /// Its id.
    pub saga: Uuid,
    /// It is new.
    pub insert: bool,
    /// What it follows.
    pub definition: Arc<Definition>,
    /// The version that it was read with.
    pub was: u32,
    /// Its new state.
    pub state: State,
    /// The new state's bytes.
    pub bytes: Vec<u8>,
    /// For the column.
    pub status: Status,
    /// The next deadline, ms.
    pub deadline: Option<i64>,
    /// Commands are in flight.
    pub in_flight: bool,
    /// One per accepted input.
    pub rows: Vec<history::Row>,
    /// What happened, with the version at which it did.
    pub events: Vec<(u32, Event)>,
    /// Why it needs a person, by step ("" = the saga itself), when that changed.
    pub attention: Option<Vec<Attention>>,
}

/// Why something stands in the operators' inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It waits for a person.
    Parked,
    /// A person vouched for it: it stays visible.
    Vouched,
}

impl Kind {
    /// As the table has it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Parked => "PARKED",
            Kind::Vouched => "VOUCHED",
        }
    }
}

/// One reason why a saga needs a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attention {
    /// What kind of reason.
    pub kind: Kind,
    /// "" = the saga itself.
    pub step: String,
    /// "" = the saga itself, or a signal.
    pub participant: String,
    /// Such as UNAVAILABLE or CONTRADICTION.
    pub code: String,
    /// For a person.
    pub message: String,
}

/// A command with all that core knows of it.
#[derive(Debug, PartialEq)]
pub struct Send {
    /// The saga's id.
    pub saga: Uuid,
    /// To whom.
    pub participant: String,
    /// The action's name, or the undo's.
    pub action: String,
    /// Which command.
    pub command: CommandRef,
    /// Results that it carries, by step.
    pub needs: Vec<(String, Payload)>,
    /// It was sent before and not answered.
    pub resend: bool,
}

/// What became of an item.
#[derive(Debug, PartialEq)]
pub enum Fate {
    /// Folded in.
    Accepted {
        /// The saga's version after it.
        version: u32,
    },
    /// Not accepted, nothing changed.
    Refused(Refused),
    /// There is no such saga.
    UnknownSaga,
    /// The saga takes nothing until an operator looked.
    Quarantined,
}

struct Open {
    saga: Loaded,
    fits: bool,
    was: u32,
    insert: bool,
    parked: Vec<Attention>,
    /// The state's bytes after the last input that was accepted.
    bytes: Vec<u8>,
    rows: Vec<history::Row>,
    events: Vec<(u32, Event)>,
    sends: Vec<CommandRef>,
    looked_at: bool,
    resend: bool,
}

/// Decides a batch: the items of a saga in arrival order, each saga written once.
///
/// Of a step at a participant that is `frozen` no deadline fires: it is postponed.
pub fn plan<T>(
    now: i64,
    items: Vec<Item<T>>,
    loaded: BTreeMap<Uuid, Loaded>,
    frozen: &BTreeSet<String>,
) -> Plan<T> {
    let mut open: BTreeMap<Uuid, Open> =
        loaded.into_iter().map(|(id, saga)| (id, Open::new(saga, false))).collect();
    let mut settled = Vec::with_capacity(items.len());
    for Item { saga: id, actor, ask, token } in items {
        let fate = match (ask, open.get_mut(&id)) {
            (Ask::Start(definition, input), None) => {
                let state = State::new(&definition);
                let saga = Loaded { definition, state, quarantined: false };
                let mut fresh = Open::new(saga, true);
                let fate = fresh.fold(id, now, actor, &input, None);
                if matches!(fate, Fate::Accepted { .. }) {
                    open.insert(id, fresh);
                }
                fate
            }
            (Ask::Start(..), Some(_)) => Fate::Refused(Refused::Repeat),
            (_, None) => Fate::UnknownSaga,
            (_, Some(saga)) if saga.saga.quarantined => Fate::Quarantined,
            (Ask::Fold(input), Some(saga)) => saga.fold(id, now, actor, &input, None),
            (Ask::Move(to, input), Some(saga)) => saga.fold(id, now, actor, &input, Some(&to)),
            (Ask::Wake { resend }, Some(saga)) => saga.wake(id, now, actor, resend, frozen),
        };
        settled.push((token, fate));
    }
    let mut plan = Plan { writes: Vec::new(), sends: Vec::new(), looked_at: Vec::new(), settled };
    for (id, saga) in open {
        saga.sends(id, &mut plan.sends);
        if saga.rows.is_empty() {
            plan.looked_at.extend(saga.look(id));
        } else {
            plan.writes.push(saga.write(id));
        }
    }
    plan
}

impl Open {
    fn new(mut saga: Loaded, insert: bool) -> Open {
        // A state that does not fit is refused by `advance`, input by input, and nothing is sent for it.
        let fits = saga.state.aligned(&saga.definition).is_some();
        Open {
            fits,
            was: saga.state.version,
            insert,
            parked: attention(&saga),
            saga,
            bytes: Vec::new(),
            rows: Vec::new(),
            events: Vec::new(),
            sends: Vec::new(),
            looked_at: false,
            resend: false,
        }
    }

    fn fold(
        &mut self,
        id: Uuid,
        now: i64,
        actor: String,
        input: &Input,
        to: Option<&Arc<Definition>>,
    ) -> Fate {
        let cx = Context { saga: id, definition: &self.saga.definition, now };
        match advance_to(cx, to.map(Arc::as_ref), &mut self.saga.state, input) {
            Err(refused) => Fate::Refused(refused),
            Ok(effects) => {
                if let Some(to) = to.filter(|_| !effects.definition.is_empty()) {
                    self.saga.definition = Arc::clone(to);
                }
                let state = &self.saga.state;
                self.bytes = state::encode(state);
                let received = input::encode(input);
                let over = if planted::is("digest_over_received_bytes") { &received } else { &self.bytes };
                let digest = history::digest(over, &effects);
                self.rows.push(history::Row {
                    seq: state.version,
                    at: state.now,
                    rules: crate::RULES,
                    kind: input.kind(),
                    actor,
                    input: received,
                    digest,
                });
                let version = state.version;
                self.events.extend(effects.events.into_iter().filter_map(|e| Some((version, e.event?))));
                self.sends.extend(effects.commands);
                Fate::Accepted { version }
            }
        }
    }

    fn wake(&mut self, id: Uuid, now: i64, actor: String, resend: bool, frozen: &BTreeSet<String>) -> Fate {
        let postponed = frozen.iter().filter_map(|p| self.postpone(id, now, &actor, p)).last();
        let due = || flight::next_deadline(&self.saga.definition, &self.saga.state);
        self.resend |= resend && self.fits;
        if !self.fits || due().is_some_and(|at| at <= now) {
            return self.fold(id, now, actor, &Input::DeadlineFired(DeadlineFired {}), None);
        }
        self.looked_at = true;
        postponed.unwrap_or(Fate::Refused(Refused::NotDue))
    }

    /// Deadlines that are due at a frozen participant count anew; None when none is.
    fn postpone(&mut self, id: Uuid, now: i64, actor: &str, participant: &str) -> Option<Fate> {
        if !self.fits {
            return None;
        }
        flight::overdue(&self.saga.definition, &self.saga.state, participant, now).next()?;
        let input = Input::Postponed(Postponed { participant: participant.into() });
        Some(self.fold(id, now, actor.into(), &input, None))
    }

    /// The commands to send: of those that were decided now, or are to be repeated, what is still in
    /// flight after the whole batch.
    fn sends(&self, id: Uuid, out: &mut Vec<Send>) {
        for command in flight::commands(&self.saga.state) {
            let fresh = self.sends.contains(&command);
            if fresh || self.resend {
                out.push(send(id, &self.saga, command, !fresh));
            }
        }
    }

    fn look(&self, id: Uuid) -> Option<LookedAt> {
        let Loaded { definition, state, .. } = &self.saga;
        self.looked_at.then(|| LookedAt {
            saga: id,
            deadline: flight::next_deadline(definition, state),
            in_flight: !flight::commands(state).is_empty(),
        })
    }

    fn write(self, id: Uuid) -> Write {
        let parked = attention(&self.saga);
        let Loaded { definition, state, .. } = self.saga;
        Write {
            saga: id,
            insert: self.insert,
            was: self.was,
            bytes: self.bytes,
            status: state.shown(),
            deadline: flight::next_deadline(&definition, &state),
            in_flight: !flight::commands(&state).is_empty(),
            rows: self.rows,
            events: self.events,
            attention: (parked != self.parked).then_some(parked),
            state,
            definition,
        }
    }
}

/// Everything about a command that is in flight.
fn send(saga: Uuid, loaded: &Loaded, command: CommandRef, resend: bool) -> Send {
    let definition = &loaded.definition;
    let i = definition.index(&command.step).expect("a command in flight is of a step");
    let step = &definition.steps[i];
    let undo = matches!(command.verb(), input::Verb::Undo | input::Verb::SealUndo);
    let result = |&n: &u32| {
        let step = &loaded.state.steps[n as usize];
        step.result.clone().map(|result| (step.name.clone(), result))
    };
    Send {
        saga,
        participant: step.participant.clone(),
        action: if undo { step.undo.clone() } else { step.action.clone() },
        needs: if undo { Vec::new() } else { step.needs.iter().filter_map(result).collect() },
        command,
        resend,
    }
}

/// Why a saga needs a person, as it stands.
fn attention(saga: &Loaded) -> Vec<Attention> {
    let entry = |kind, step: &str, why: &str| {
        let (code, message) = why.split_once(": ").unwrap_or((why, ""));
        let participant = saga.definition.index(step).map_or("", |i| &saga.definition.steps[i].participant);
        Attention {
            kind,
            step: step.into(),
            participant: participant.into(),
            code: code.into(),
            message: message.into(),
        }
    };
    let state = &saga.state;
    let own = (!state.parked.is_empty()).then(|| entry(Kind::Parked, "", &state.parked));
    let parked = state.steps.iter().filter(|s| !s.parked.is_empty());
    let vouched = state.steps.iter().filter(|s| s.vouched);
    own.into_iter()
        .chain(parked.map(|step| entry(Kind::Parked, &step.name, &step.parked)))
        .chain(vouched.map(|step| entry(Kind::Vouched, &step.name, "VOUCHED: a person's word stands for it")))
        .collect()
}
