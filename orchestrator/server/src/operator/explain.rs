//! One page about a saga: where it stands, what it waits for, what happens next by itself, what could be done. Everything
//! but the re-sendings is a pure function of the stored state.

use skald_core::{
    Definition, Input, State,
    flight::{self, Deadline},
    input::{Act, Operator, Payload, Resolve, Retry, Skip, Unit},
    state::{self, StepStatus},
};
use skald_proto::{admin::v1 as wire, saga::v1 as saga};
use tonic::Status;

use super::{act, participants};
use crate::{
    intake::{
        Desk,
        errors::{self, BadFields},
        validate, view,
    },
    store::read::{self, Shown},
};

pub(super) async fn explain(
    desk: &Desk,
    request: &wire::ExplainRequest,
) -> Result<wire::ExplainResponse, Status> {
    let mut bad = BadFields::default();
    let id = validate::id(&mut bad, "saga_id", &request.saga_id);
    bad.into_result()?;
    let row = desk.read("saga", id).await?;
    let definition = desk.definition(row.definition_id).await?;
    let unreadable = |e| Status::internal(format!("table saga, column state, id {id}: {e}"));
    let mut state = state::decode(row.format as u32, &row.state).map_err(unreadable)?;
    let _ = state.aligned(&definition);
    let mut conn = desk.pool.acquire().await.map_err(|e| errors::unreadable(&e))?;
    let resends = read::resends(&mut conn, id).await.map_err(|e| errors::unreadable(&e))?.unwrap_or_default();
    let page = Page { desk, row: &row, definition: &definition, state: &state, resends };
    drop(conn);
    let learned = participants::ask(desk, id, &definition, &state).await;
    let mut shown = view::saga(&row, &definition, false);
    shown.input = None;
    Ok(wire::ExplainResponse {
        saga: Some(shown),
        stands: page.stands(),
        waits: page.waits(),
        upcoming: page.upcoming(),
        possible: page.possible()?,
        participants: learned.views,
        disagreements: learned.disagreements,
        unknown: learned.unknown,
    })
}

struct Page<'a> {
    desk: &'a Desk,
    row: &'a Shown,
    definition: &'a Definition,
    state: &'a State,
    resends: i16,
}

impl Page<'_> {
    fn stands(&self) -> String {
        let Page { row, state, definition, .. } = self;
        let mut out = view::stands("saga", row, definition);
        if !state.reason.is_empty() {
            out += &format!(", {}", state.reason);
        }
        if !state.parked.is_empty() {
            out += &format!(", parked: {}", state.parked);
        }
        for step in state.steps.iter().filter(|step| !step.parked.is_empty()) {
            out += &format!(", {} parked: {}", step.name, step.parked);
        }
        if let Some(why) = &row.quarantine {
            out += &format!(", quarantined: {why}");
        }
        for step in state.steps.iter().filter(|step| step.vouched) {
            out += &format!(", {} vouched for by a person", step.name);
        }
        out
    }

    fn waits(&self) -> Vec<wire::Wait> {
        let steps = self.state.steps.iter().zip(&self.definition.steps);
        steps.filter_map(|(step, graph)| self.wait(step, graph)).collect()
    }

    fn wait(&self, step: &state::Step, graph: &skald_core::definition::Step) -> Option<wire::Wait> {
        let mut wait = wire::Wait {
            step: step.name.clone(),
            participant: graph.participant.clone(),
            since: Some(view::timestamp(step.entered_at)),
            ..Default::default()
        };
        if step.status() == StepStatus::AwaitingSignal {
            wait.verb = "SIGNAL".into();
            wait.text = format!("{} waits for its signal", step.name);
            return Some(wait);
        }
        let verb = flight::verb(step)?;
        wait.verb = verb.name().into();
        wait.sent_to = self.desk.shared.transports.place(self.row.id, &graph.participant);
        wait.frozen = self.desk.shared.frozen.of(&graph.participant).is_some();
        let held = self.state.paused_at != 0;
        wait.text = match step.pending() {
            _ if self.row.quarantine.is_some() => {
                format!("{}: the saga is quarantined and takes no answer", step.name)
            }
            state::Pending::Answer if held => {
                format!("{}: {} waits for the end of the pause", step.name, verb.name())
            }
            state::Pending::Answer if wait.frozen => {
                format!("{}: {} is frozen, {} waits", step.name, graph.participant, verb.name())
            }
            state::Pending::Answer => {
                wait.resends = i32::from(self.resends);
                format!("{}: {} was sent to {} and not answered", step.name, verb.name(), graph.participant)
            }
            state::Pending::Retry => format!("{}: {} failed and is tried again", step.name, verb.name()),
            state::Pending::Nothing => {
                format!("{}: {} waits for a person: {}", step.name, verb.name(), step.parked)
            }
        };
        if let Some(error) = &step.last_error {
            wait.text += &format!(" (last error {}: {})", error.code, error.message);
        }
        Some(wait)
    }

    /// What happens next by itself, the nearest first.
    fn upcoming(&self) -> Vec<wire::Upcoming> {
        if self.row.quarantine.is_some() {
            return Vec::new();
        }
        let Page { state, definition, .. } = self;
        let name = |i: usize| &state.steps[i].name;
        let said = |deadline: Deadline| match deadline {
            Deadline::Retry(i) => format!("{}: attempt {}", name(i), state.steps[i].attempt + 1),
            Deadline::GiveUp(i) if self.frozen(i) => {
                format!("{} is due, and counts anew: its participant is frozen", name(i))
            }
            Deadline::GiveUp(i) if definition.steps[i].pivot => {
                format!("{} gives up: it is sealed, and what happened decides", name(i))
            }
            Deadline::GiveUp(i) if definition.after_pivot(i) => format!("{} gives up and parks", name(i)),
            Deadline::GiveUp(i) => {
                format!("{} gives up: the saga is undone, {}", name(i), definition.steps[i].give_up_reason)
            }
            Deadline::MaxAge => "the saga is too old: undone, or parked once the pivot succeeded".into(),
        };
        let mut upcoming: Vec<(i64, String)> =
            flight::deadlines(definition, state).into_iter().map(|(at, what)| (at, said(what))).collect();
        let waiting = flight::commands(state);
        let going = waiting.iter().any(|c| definition.index(&c.step).is_some_and(|i| !self.frozen(i)));
        if going {
            let driver = &self.desk.shared.config.driver;
            let at = driver.resend_at(self.row.updated_at, self.resends);
            upcoming.push((at, "what is in flight is sent again, if the budget allows".into()));
        }
        upcoming.sort();
        let line = |(at, text)| wire::Upcoming { at: Some(view::timestamp(at)), text };
        upcoming.into_iter().map(line).collect()
    }

    fn frozen(&self, i: usize) -> bool {
        self.desk.shared.frozen.of(&self.definition.steps[i].participant).is_some()
    }

    /// What could be done now: every action that the core would take, each tried on a copy.
    fn possible(&self) -> Result<Vec<wire::Possible>, Status> {
        if self.row.quarantine.is_some() {
            return Ok(Vec::new());
        }
        let mut possible = Vec::new();
        for (action, act) in self.candidates() {
            let operator =
                Operator { expected_version: self.state.version, act: Some(act), ..Default::default() };
            let now = self.desk.shared.clock.now_ms();
            let foreseen = act::foresee(self.definition, None, self.row, now, Input::Operator(operator))?;
            let Ok(foreseen) = foreseen else { continue };
            let told = act::told(self.desk, self.definition, &foreseen);
            let text = words(&told);
            possible.push(wire::Possible {
                action: Some(wire::Action { verb: Some(action) }),
                text,
                commands: told.commands,
            });
        }
        Ok(possible)
    }

    fn candidates(&self) -> Vec<(wire::action::Verb, Act)> {
        use wire::action::Verb;
        let mut all = Vec::new();
        for (i, step) in self.state.steps.iter().enumerate() {
            let step = step.name.clone();
            let needed = self.definition.steps.iter().any(|other| other.needs.contains(&(i as u32)));
            let result = needed.then(Payload::default);
            let wanted = result.as_ref().map(|_| Default::default());
            let retry = Retry { step: step.clone() };
            all.push((Verb::Retry(wire::Retry { step: step.clone() }), Act::Retry(retry)));
            let skip = Skip { step: step.clone(), result, ..Default::default() };
            let shown = wire::Skip { step: step.clone(), result: wanted, ..Default::default() };
            all.push((Verb::Skip(shown), Act::Skip(skip)));
            let resolve = Resolve { step: step.clone(), ..Default::default() };
            all.push((Verb::Resolve(wire::Resolve { step, ..Default::default() }), Act::Resolve(resolve)));
        }
        all.push((Verb::Resolve(wire::Resolve::default()), Act::Resolve(Resolve::default())));
        all.push((Verb::Compensate(wire::Compensate {}), Act::Compensate(Unit {})));
        all.push((Verb::Cancel(wire::Cancel {}), Act::Cancel(Unit {})));
        all.push((Verb::Pause(wire::Pause {}), Act::Pause(Unit {})));
        all.push((Verb::Resume(wire::Resume {}), Act::Resume(Unit {})));
        all
    }
}

/// What follows, in words.
fn words(told: &wire::ActResponse) -> String {
    let name = |n: i32| {
        let status = saga::StepStatus::try_from(n).unwrap_or_default();
        status.as_str_name().trim_start_matches("STEP_STATUS_").to_owned()
    };
    let mut parts: Vec<String> =
        told.steps.iter().map(|s| format!("{} becomes {}", s.step, name(s.to))).collect();
    let sends = told.commands.iter();
    parts.extend(sends.map(|c| {
        let waits = if c.frozen { ", which is frozen: it waits" } else { "" };
        format!("{} of {} goes to {}{waits}", c.verb, c.step, c.participant)
    }));
    parts.push(format!("the saga is {}", told.status().as_str_name().trim_start_matches("SAGA_STATUS_")));
    parts.join(", ")
}
