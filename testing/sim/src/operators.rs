//! Operators: during the storm they do anything, often on a version that has moved on; afterwards they do what a good one does, until
//! nothing needs them any more.

use std::collections::BTreeMap;

use skald_core::{
    Definition, Input,
    input::{Act, Operator, Payload, Resolve, Retry, Skip, Unit},
    state::{Phase, State, StepStatus},
};
use skald_proto::{inventory, payment};
use uuid::Uuid;

use prost::{Message, Name};

use crate::{
    clients::Reply,
    faults::Fault,
    orchestrator::{Ask, Job, Origin, Step, store::Row},
    world::{Event, World},
};

/// How often a good operator looks at the inbox: up to so many looks, so many ms apart. They last for longer than any saga may live,
/// and then nobody helps any more.
const LOOKS: [(u32, i64); 3] = [(50, 300_000), (150, 3_600_000), (200, 24 * 3_600_000)];

/// What operators remember of what they asked.
#[derive(Debug, Default)]
pub(crate) struct Operators {
    asked: BTreeMap<u64, (Uuid, Operator)>,
    count: u64,
    /// Every saga and request id of an action.
    pub requests: Vec<(Uuid, String)>,
}

impl World {
    /// In the storm: any verb on any saga.
    pub(crate) fn meddle(&mut self, saga: Uuid) {
        let Some(row) = self.store.sagas.get(&saga) else { return };
        let state = row.decoded.clone();
        // Mostly something that is under way.
        let busy: Vec<&str> =
            state.steps.iter().filter(|s| is_busy(s.status())).map(|s| s.name.as_str()).collect();
        let any = busy.is_empty() || self.rng.below(4) == 0;
        let step = if any { &self.rng.pick(&row.definition.steps).name } else { *self.rng.pick(&busy) };
        let step = step.to_owned();
        let undoes = state.phase() == Phase::Compensating;
        let act = match self.rng.below(10) {
            _ if undoes && self.rng.below(2) == 0 => resolve(&step, self.hits(Fault::Unfenced)),
            0 | 1 => retry(if self.rng.below(3) == 0 { "" } else { &step }),
            2 => {
                let result = (self.rng.below(3) > 0).then(|| self.evidence(saga, &step));
                let unfenced = self.hits(Fault::Unfenced);
                Act::Skip(Skip { step, evidence: "a letter".into(), unfenced, result })
            }
            3 => resolve(if self.rng.below(4) == 0 { "" } else { &step }, false),
            4 => resolve(&step, self.hits(Fault::Unfenced)),
            5 | 6 => Act::Compensate(Unit {}),
            7 => Act::Pause(Unit {}),
            8 => Act::Resume(Unit {}),
            _ => Act::Cancel(Unit {}),
        };
        if let Act::Skip(Skip { unfenced: true, .. }) | Act::Resolve(Resolve { unfenced: true, .. }) = act {
            self.oracle.unfenced.insert(saga);
        }
        let stale = u32::from(self.rng.chance(1_500));
        self.act(saga, state.version.saturating_sub(stale), act);
    }

    /// A result that a person gives along for a skipped step.
    fn evidence(&self, saga: Uuid, step: &str) -> Payload {
        let pack = |name: &str, value| Payload { type_url: format!("type.googleapis.com/{name}"), value };
        if step == "reserve" {
            let held = inventory::v1::Reserved { step: step.into(), epoch: 1, units: 1 };
            return pack(&inventory::v1::Reserved::full_name(), held.encode_to_vec());
        }
        let charged = payment::v1::Charged { gateway_ref: saga.to_string(), ..Default::default() };
        pack(&payment::v1::Charged::full_name(), charged.encode_to_vec())
    }

    fn act(&mut self, saga: Uuid, expected_version: u32, act: Act) {
        self.operators.count += 1;
        let request_id = format!("r{}", self.operators.count);
        self.operators.requests.push((saga, request_id.clone()));
        let operator = Operator { request_id, expected_version, reason: "sim".into(), act: Some(act) };
        self.ask_operator(saga, operator);
    }

    fn ask_operator(&mut self, saga: Uuid, operator: Operator) {
        let there = self.orchestrators_there();
        if there.is_empty() {
            return;
        }
        let n = *self.rng.pick(&there);
        let call = self.fresh();
        self.operators.asked.insert(call, (saga, operator.clone()));
        let twice = self.rng.chance(2_000);
        let job = Job { saga, actor: "operator", ask: Ask::Operate(operator), origin: Origin::Call(call) };
        if twice {
            let n = *self.rng.pick(&there);
            let delay = self.latency();
            self.orchestrator_step(n, delay, Step::Job(Box::new(job.clone())));
        }
        let delay = self.latency();
        self.orchestrator_step(n, delay, Step::Job(Box::new(job)));
    }

    /// An operator hears an answer.
    pub(crate) fn operator_told(&mut self, call: u64, reply: &Reply) {
        let Some((saga, operator)) = self.operators.asked.remove(&call) else { return };
        let verb = operator.act.as_ref().map_or("", Act::name);
        match reply {
            Reply::Accepted(_) => self.tally.add_made(format!("operator: {verb}")),
            // The same request again, which may have happened.
            Reply::Unavailable => self.ask_operator(saga, operator),
            _ => {}
        }
    }

    /// After the storm: everything that needs a person gets one.
    pub(crate) fn tend(&mut self) {
        self.tended += 1;
        self.thaw_all();
        for s in 0..self.services.len() {
            self.settle_by_hand(s);
        }
        let waits = |(saga, row): (&Uuid, &Row)| row.known.wake_at.is_some().then_some(*saga);
        let open: Vec<Uuid> = self.store.sagas.iter().filter_map(waits).collect();
        for saga in &open {
            let row = &self.store.sagas[saga];
            let evidence = |step: &str| self.evidence(*saga, step);
            if let Some(act) = help(&row.definition, &row.decoded, self.tended, evidence) {
                self.act(*saga, row.version, act);
            }
        }
        let next = LOOKS.iter().find(|(looks, _)| self.tended < *looks);
        if let Some((_, gap)) = next.filter(|_| !open.is_empty() || self.untold()) {
            self.push(*gap, Event::Tend);
        }
    }

    fn untold(&self) -> bool {
        self.clients.orders.iter().any(|order| order.saga.is_none())
    }
}

fn is_busy(status: StepStatus) -> bool {
    use StepStatus::{AwaitingSignal, Fencing, Rejected, Running, Sealing, Undoing};
    matches!(status, AwaitingSignal | Fencing | Rejected | Running | Sealing | Undoing)
}

fn resolve(step: &str, unfenced: bool) -> Act {
    Act::Resolve(Resolve { step: step.into(), evidence: "a call".into(), unfenced })
}

fn retry(step: &str) -> Act {
    Act::Retry(Retry { step: step.into() })
}

/// What a good operator does for a saga; `look`: how often they looked.
fn help(
    definition: &Definition,
    state: &State,
    look: u32,
    evidence: impl Fn(&str) -> Payload,
) -> Option<Act> {
    if state.paused_at != 0 {
        return Some(Act::Resume(Unit {}));
    }
    if !state.parked.is_empty() && !state.parked.starts_with("MAX_AGE") {
        return Some(resolve("", false));
    }
    let step = state.steps.iter().find(|step| !step.parked.is_empty())?;
    let graph = &definition.steps[definition.index(&step.name)?];
    Some(match (state.phase(), step.status()) {
        (Phase::Compensating, StepStatus::Undoing) if step.vouched => resolve(&step.name, false),
        // Whatever was not believed once won't be believed again.
        (_, StepStatus::Undoing) if look.is_multiple_of(5) => resolve(&step.name, false),
        (Phase::Forward, StepStatus::Rejected) if look.is_multiple_of(4) => Act::Compensate(Unit {}),
        (Phase::Forward, StepStatus::Running | StepStatus::Sealing)
            if look.is_multiple_of(25) && !graph.pivot =>
        {
            Act::Compensate(Unit {})
        }
        (Phase::Forward, StepStatus::AwaitingSignal) => Act::Skip(Skip {
            step: step.name.clone(),
            evidence: "it came by letter".into(),
            unfenced: false,
            result: Some(evidence(&step.name)),
        }),
        _ => retry(&step.name),
    })
}

/// The input of an operator, for those who look through histories.
pub(crate) fn operator_of(input: &Input) -> Option<&Operator> {
    match input {
        Input::Operator(operator) => Some(operator),
        _ => None,
    }
}
