//! What participants have of a saga: asked now, at their own desks, and put beside ours. One that does not answer is said
//! to be unknown; it holds nothing up.

use std::time::Duration;

use futures::future::join_all;
use skald_core::{
    Definition, State,
    definition::Step as Graph,
    flight,
    input::Verb,
    state::{Step, StepStatus},
};
use skald_proto::{
    admin::v1 as wire,
    participant::v1::{
        self as participant, BarrierRow, BarrierVerdict, BreakerState,
        participant_admin_service_client::ParticipantAdminServiceClient,
    },
};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::{config::Participant, intake::Desk};

/// Who does not answer a question within this is not waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was learned.
#[derive(Debug, Default)]
pub(super) struct Learned {
    pub(super) views: Vec<wire::ParticipantView>,
    pub(super) disagreements: Vec<String>,
    pub(super) unknown: Vec<String>,
}

/// Asks every participant of a saga.
pub(super) async fn ask(desk: &Desk, saga: Uuid, definition: &Definition, state: &State) -> Learned {
    let mut names: Vec<&str> = definition.steps.iter().map(|s| s.participant.as_str()).collect();
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    names.dedup();
    let known = &desk.shared.config.participants;
    let asked = names.iter().map(|name| async move {
        let unset = || format!("what {name} has of it: no address is set (participants.{name})");
        let participant = known.get(*name).ok_or_else(unset)?;
        let mut answer = Err(unset());
        // Its instances have one database: the first one that answers will do.
        for address in participant.addresses() {
            let why = |s: Status| format!("what {name} has of it: {address} says: {}", s.message());
            answer = one(name, participant, address, saga).await.map_err(why);
            if answer.is_ok() {
                break;
            }
        }
        answer
    });
    let mut learned = Learned::default();
    for answer in join_all(asked).await {
        match answer {
            Ok((view, unknown)) => {
                let of = |(_, graph): &(&Step, &Graph)| graph.participant == view.participant;
                let steps = state.steps.iter().zip(&definition.steps).filter(of);
                learned
                    .disagreements
                    .extend(steps.filter_map(|(step, graph)| differ(step, graph, &view.barrier)));
                learned.unknown.extend(unknown.iter().map(|line| format!("{}: {line}", view.participant)));
                learned.views.push(view);
            }
            Err(why) => learned.unknown.push(why),
        }
    }
    learned
}

/// What it has, and what it could not learn itself.
async fn one(
    name: &str,
    participant: &Participant,
    address: &str,
    saga: Uuid,
) -> Result<(wire::ParticipantView, Vec<String>), Status> {
    let wrong = |e: tonic::transport::Error| Status::unavailable(e.to_string());
    let endpoint = participant.endpoint(address).map_err(|e| Status::invalid_argument(format!("{e:#}")))?;
    let endpoint = endpoint.connect_timeout(PATIENCE);
    let request = participant::GetBarrierRequest { saga_id: saga.to_string() };
    let (mut client, barrier) = within(async {
        let mut client = ParticipantAdminServiceClient::new(endpoint.connect().await.map_err(wrong)?);
        match client.get_barrier(request).await {
            Ok(answer) => Ok((client, answer.into_inner().rows)),
            Err(status) if status.code() == Code::NotFound => Ok((client, Vec::new())),
            Err(status) => Err(status),
        }
    })
    .await?;
    // Apart from the barrier: it takes longer while the participant itself waits for its broker or database.
    let status = within(async { client.get_status(participant::GetStatusRequest {}).await }).await;
    let status = status.map_or_else(
        |why| participant::GetStatusResponse {
            unknown: vec![format!("lag, breaker and open calls: {}", why.message())],
            ..Default::default()
        },
        tonic::Response::into_inner,
    );
    let breaker = status.breaker.map(|b| BreakerState::try_from(b.state).unwrap_or_default());
    let intents = status.intents.unwrap_or_default();
    let view = wire::ParticipantView {
        participant: name.to_owned(),
        barrier,
        lag: (!status.lag.is_empty()).then(|| status.lag.iter().map(|lag| lag.messages).sum()),
        breaker: breaker
            .map(|b| b.as_str_name().trim_start_matches("BREAKER_STATE_").to_owned())
            .unwrap_or_default(),
        open_intents: intents.open,
        unresolved_intents: intents.unresolved,
    };
    Ok((view, status.unknown))
}

/// What comes soon enough.
async fn within<T>(answer: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let late = || Err(Status::deadline_exceeded(format!("no answer in {} s", PATIENCE.as_secs())));
    tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_| late())
}

/// What a participant has of a step that does not fit to what we have.
fn differ(step: &Step, graph: &Graph, rows: &[BarrierRow]) -> Option<String> {
    let row = |verb: participant::Verb| {
        rows.iter()
            .find(|r| r.step == step.name && r.epoch == step.epoch && r.verb() == verb)
            .map(|r| r.verdict())
    };
    let (run, undo) = (row(participant::Verb::Run), row(participant::Verb::Undo));
    let decided = |verdict: Option<BarrierVerdict>| verdict.filter(|v| *v != BarrierVerdict::Intent);
    let word = |v: BarrierVerdict| v.as_str_name().trim_start_matches("BARRIER_VERDICT_").to_owned();
    let (name, who) = (&step.name, &graph.participant);
    let late = |verb: &str, verdict| {
        format!(
            "{who} has decided {verb} of {name}: {}; its answer has not arrived here, and comes when it is asked again",
            word(verdict)
        )
    };
    match flight::verb(step) {
        Some(Verb::Run | Verb::SealRun) => return decided(run).map(|verdict| late("RUN", verdict)),
        Some(Verb::Undo | Verb::SealUndo) => return decided(undo).map(|verdict| late("UNDO", verdict)),
        None => {}
    }
    let has = |verdict: Option<BarrierVerdict>| verdict.map_or("nothing".to_owned(), word);
    match step.status() {
        _ if step.vouched || graph.is_signal() => None,
        StepStatus::Succeeded if run != Some(BarrierVerdict::Succeeded) => {
            Some(format!("{name} is done here, and {who} has {} of its RUN", has(run)))
        }
        StepStatus::Undone if undo != Some(BarrierVerdict::Undone) => {
            Some(format!("{name} is undone here, and {who} has {} of its UNDO", has(undo)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(verb: participant::Verb, verdict: BarrierVerdict) -> BarrierRow {
        BarrierRow {
            step: "reserve".into(),
            epoch: 1,
            verb: verb.into(),
            verdict: verdict.into(),
            ..Default::default()
        }
    }

    fn step(status: StepStatus) -> Step {
        Step { name: "reserve".into(), status: status as i32, epoch: 1, ..Default::default() }
    }

    #[test]
    fn what_does_not_fit_is_said() {
        use BarrierVerdict::{Intent, Rejected, Succeeded, Undone};
        use participant::Verb::{Run, Undo};
        let definition = Definition::order();
        let said = |status, rows: &[BarrierRow]| differ(&step(status), &definition.steps[0], rows);
        assert_eq!(said(StepStatus::Running, &[]), None);
        assert_eq!(said(StepStatus::Running, &[row(Run, Intent)]), None);
        let late = said(StepStatus::Running, &[row(Run, Rejected)]).unwrap();
        assert!(late.starts_with("inventory has decided RUN of reserve: REJECTED"), "{late}");
        assert_eq!(said(StepStatus::Succeeded, &[row(Run, Succeeded)]), None);
        let lost = said(StepStatus::Succeeded, &[]).unwrap();
        assert_eq!(lost, "reserve is done here, and inventory has nothing of its RUN");
        let late = said(StepStatus::Undoing, &[row(Run, Succeeded), row(Undo, Undone)]).unwrap();
        assert!(late.starts_with("inventory has decided UNDO of reserve: UNDONE"), "{late}");
        assert!(said(StepStatus::Undone, &[row(Run, Succeeded)]).is_some());
        let vouched = Step { vouched: true, ..step(StepStatus::Succeeded) };
        assert_eq!(differ(&vouched, &definition.steps[0], &[]), None);
        let older = BarrierRow { epoch: 2, ..row(Run, Rejected) };
        assert_eq!(said(StepStatus::Running, &[older]), None, "another epoch's");
    }
}
