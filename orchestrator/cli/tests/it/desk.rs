//! Golden: what operators see.

use prost_types::Timestamp;
use skald_cli::{
    operator::view,
    output::{json, text::ago},
};
use skald_proto::{
    admin::v1::{self as admin, action::Verb},
    inventory::v1::Reserved,
    participant::v1::{BarrierRow, BarrierVerdict, Verb as PVerb},
    saga::v1::{Saga, SagaStatus, Step, StepError, StepStatus},
};

const NOW: i64 = 1_700_000_000;

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: NOW + seconds, nanos: 0 })
}

fn planned(verb: &str, action: &str) -> admin::PlannedCommand {
    admin::PlannedCommand {
        participant: "payment".into(),
        step: "charge".into(),
        verb: verb.into(),
        action: action.into(),
        epoch: 1,
        attempt: 2,
        frozen: false,
    }
}

#[test]
fn an_answer_says_what_changes_and_what_is_sent() {
    let answer = admin::ActResponse {
        version: 7,
        status: SagaStatus::Running.into(),
        commands: vec![planned("SEAL_RUN", "charge")],
        steps: vec![admin::StepChange {
            step: "charge".into(),
            from: StepStatus::Running.into(),
            to: StepStatus::Sealing.into(),
            vouched: false,
        }],
        repeated: false,
        definition: String::new(),
    };
    assert_eq!(
        view::answer(&answer, "it would do this", false),
        "\
it would do this (version 7, RUNNING)
  charge: RUNNING → SEALING
  send SEAL_RUN of charge to payment (charge, epoch 1, attempt 2)"
    );
    let moves = admin::ActResponse {
        definition: "order@2".into(),
        commands: vec![admin::PlannedCommand { frozen: true, ..planned("RUN", "charge") }],
        steps: vec![admin::StepChange { from: 0, to: StepStatus::Running.into(), ..answer.steps[0].clone() }],
        ..answer.clone()
    };
    assert_eq!(
        view::answer(&moves, "done", false),
        "\
done (version 7, RUNNING)
  follow order@2
  charge: new → RUNNING
  send RUN of charge to payment (charge, epoch 1, attempt 2), which is frozen: it waits until a thaw"
    );
    let vouched =
        admin::StepChange { vouched: true, to: StepStatus::Succeeded.into(), ..answer.steps[0].clone() };
    let paused = admin::ActResponse {
        status: SagaStatus::Paused.into(),
        commands: vec![],
        steps: vec![vouched],
        ..answer
    };
    assert_eq!(
        view::answer(&paused, "done", false),
        "\
done (version 7, PAUSED)
  charge: RUNNING → SUCCEEDED, on your word
  send nothing until it is resumed"
    );
}

#[test]
fn a_page_says_where_a_saga_stands_and_what_can_be_done() {
    let step = |name: &str, participant: &str, status: StepStatus| Step {
        name: name.into(),
        participant: participant.into(),
        status: status.into(),
        epoch: 1,
        ..Default::default()
    };
    let charge = Step {
        attempt: 1,
        parked: "UNRESOLVED: ask the bank".into(),
        last_error: Some(StepError {
            code: "UNRESOLVED".into(),
            message: "ask the bank".into(),
            at: at(-60),
        }),
        ..step("charge", "payment", StepStatus::Running)
    };
    let retry = Verb::Retry(admin::Retry { step: "charge".into() });
    let needed =
        admin::Skip { step: "reserve".into(), result: Some(Default::default()), ..Default::default() };
    let possible = |verb, text: &str| admin::Possible {
        action: Some(admin::Action { verb: Some(verb) }),
        text: text.into(),
        commands: vec![],
    };
    let page = admin::ExplainResponse {
        saga: Some(Saga {
            saga_id: "018bcfe5-6800-7000-8000-000000000001".into(),
            definition: "order".into(),
            customer_id: "ada".into(),
            version: 4,
            updated_at: at(-60),
            steps: vec![step("reserve", "inventory", StepStatus::Succeeded), charge],
            ..Default::default()
        }),
        stands: "PARKED, charge parked: UNRESOLVED: ask the bank".into(),
        waits: vec![admin::Wait {
            step: "charge".into(),
            since: at(-7_300),
            sent_to: "skald.payment.commands/3".into(),
            resends: 2,
            text: "charge: RUN waits for a person: UNRESOLVED: ask the bank".into(),
            ..Default::default()
        }],
        upcoming: vec![admin::Upcoming { at: at(200_000), text: "the saga is too old".into() }],
        possible: vec![
            possible(retry, "RUN of charge goes to payment, the saga is RUNNING"),
            possible(Verb::Skip(needed), "reserve becomes SUCCEEDED, the saga is RUNNING"),
        ],
        participants: vec![admin::ParticipantView {
            participant: "payment".into(),
            barrier: vec![BarrierRow {
                step: "charge".into(),
                epoch: 1,
                verb: PVerb::Run.into(),
                verdict: BarrierVerdict::Intent.into(),
                ..Default::default()
            }],
            lag: Some(2),
            breaker: "OPEN".into(),
            open_intents: 3,
            unresolved_intents: 1,
        }],
        disagreements: vec!["reserve is done here, and inventory has nothing of its RUN".into()],
        unknown: vec!["what inventory has of it: no answer in 2 s".into()],
    };
    assert_eq!(
        view::page(&page, NOW, false),
        "\
018bcfe5-6800-7000-8000-000000000001 PARKED, charge parked: UNRESOLVED: ask the bank
order, version 4, customer ada, last change 2023-11-14 22:12:20 (60 s ago)

STEP     PARTICIPANT  STATUS     EPOCH  ATTEMPT  DEADLINE  NOTES
reserve  inventory    SUCCEEDED      1
charge   payment      RUNNING        1        1            parked: UNRESOLVED: ask the bank; UNRESOLVED: ask the bank (at 2023-11-14 22:12:20)

It waits for
  charge: RUN waits for a person: UNRESOLVED: ask the bank, since 2 h ago
    skald.payment.commands/3, 2 looks into silence
What participants say
  payment: lag 2, breaker OPEN, 3 open calls, 1 of them unresolved
    charge RUN epoch 1: INTENT
  ! reserve is done here, and inventory has nothing of its RUN
  ? what inventory has of it: no answer in 2 s
What happens by itself
  2023-11-17 05:46:40 (in 2 d)  the saga is too old
What you can do
  retry --step charge                RUN of charge goes to payment, the saga is RUNNING
  skip --step reserve --result FILE  reserve becomes SUCCEEDED, the saga is RUNNING"
    );
    let quarantined = admin::ExplainResponse {
        saga: Some(Saga { quarantine: "POISON".into(), ..Default::default() }),
        ..Default::default()
    };
    let shown = view::page(&quarantined, NOW, false);
    assert!(shown.ends_with("What you can do\n  skald saga release, once its cause is mended"), "{shown}");
}

#[test]
fn participants_say_who_froze_them() {
    let frozen = admin::Participant {
        name: "payment".into(),
        frozen_at: at(0),
        frozen_by: "ada".into(),
        reason: "the bank is down".into(),
        ramp_until: None,
    };
    let plain = admin::Participant { name: "inventory".into(), ..Default::default() };
    assert_eq!(
        view::participants(&[plain, frozen], false),
        "\
PARTICIPANT  FROZEN SINCE (UTC)   BY   RAMP UNTIL (UTC)  WHY
inventory
payment      2023-11-14 22:13:20  ada                    the bank is down"
    );
}

#[test]
fn times_are_told_as_far_as_they_matter() {
    for (seconds, said) in [
        (-119, "119 s ago"),
        (-120, "2 min ago"),
        (-7_200, "2 h ago"),
        (-172_800, "2 d ago"),
        (0, "0 s ago"),
        (5, "in 5 s"),
    ] {
        assert_eq!(ago(at(seconds).as_ref(), NOW), said);
    }
    assert_eq!(ago(None, NOW), "");
}

#[test]
fn a_result_is_read_from_json_that_says_its_type() {
    let read = json::read_any(r#"{"@type": "skald.inventory.v1.Reserved", "step": "reserve", "epoch": 1}"#);
    let reserved: Reserved = read.unwrap().to_msg().unwrap();
    assert_eq!((reserved.step.as_str(), reserved.epoch), ("reserve", 1));
    for (text, wrong) in [
        ("[]", "must be an object"),
        ("{}", "must have an @type"),
        (r#"{"@type": "a.B"}"#, "a.B is in no contract"),
        (r#"{"@type": "skald.inventory.v1.Reserved", "colour": 1}"#, "colour"),
    ] {
        let error = json::read_any(text).unwrap_err();
        assert!(error.contains(wrong), "{text}: {error}");
    }
}

#[test]
fn a_bulk_job_is_foreseen_and_followed() {
    let foreseen = admin::StartBulkResponse {
        bulk: None,
        count: 7,
        examples: vec![
            admin::BulkExample {
                saga_id: "a".into(),
                commands: vec![planned("RUN", "charge")],
                refused: "".into(),
            },
            admin::BulkExample { saga_id: "b".into(), commands: vec![], refused: "it is paused".into() },
        ],
    };
    assert_eq!(
        view::bulk_foreseen(&foreseen, false),
        "\
7 sagas fit
  a  send RUN of charge to payment (charge, epoch 1, attempt 2)
  b  refused: it is paused
  …"
    );
    let bulk = admin::Bulk {
        request_id: "j".into(),
        state: admin::BulkState::Running.into(),
        action: Some(admin::Action { verb: Some(Verb::Retry(admin::Retry::default())) }),
        per_second: 2.5,
        actor: "ada".into(),
        reason: "back".into(),
        total: 7,
        done: 3,
        moved: 1,
        refused: 1,
        refusals: vec![admin::BulkRefusal { saga_id: "b".into(), why: "it is paused".into() }],
        ..Default::default()
    };
    assert_eq!(
        view::bulks(&[bulk], false),
        "\
JOB  STATE    VERB   TOTAL  DONE  MOVED  REFUSED  PER S  BY   WHY
j    RUNNING  retry      7     3      1        1    2.5  ada  back
  b refused: it is paused"
    );
}
