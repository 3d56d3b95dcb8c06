//! Commands over Execute streams that stay open: what settles later is told, streams do not disturb each other, and a participant
//! may do without Kafka's commands altogether, or without streams.

use std::sync::Arc;

use skald_harness::{eventually, free_port};
use skald_participant::Verb;
use skald_proto::participant::v1::{
    self as wire, ExecuteRequest, ExecuteResponse, participant_service_client::ParticipantServiceClient,
};
use sqlx::Connection as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::{
    house::{House, LONG, TRACE, ask, command, name, names, saga},
    toy::{Gateway, Toy},
};

/// A client with its stream open.
struct Line {
    requests: mpsc::Sender<ExecuteRequest>,
    answers: Streaming<ExecuteResponse>,
}

impl Line {
    async fn open(address: &str) -> Result<Line, Status> {
        let mut client = ParticipantServiceClient::connect(address.to_owned()).await.expect("connected");
        let (requests, taken) = mpsc::channel(4);
        let answers = client.execute(ReceiverStream::new(taken)).await?.into_inner();
        Ok(Line { requests, answers })
    }

    async fn say(&self, commands: &[wire::Command], traceparents: &[&str]) {
        let traceparents = traceparents.iter().map(|&trace| trace.to_owned()).collect();
        let request = ExecuteRequest { commands: commands.to_vec(), traceparents };
        self.requests.send(request).await.expect("the stream is open");
    }

    /// The next response that has outcomes.
    async fn hear(&mut self) -> ExecuteResponse {
        loop {
            let answer = tokio::time::timeout(LONG, self.answers.message()).await.expect("in time");
            let answer = answer.expect("no error").expect("an answer");
            if !answer.outcomes.is_empty() {
                return answer;
            }
        }
    }
}

fn charge(id: &str) -> wire::Command {
    command(id, "charge", Verb::Run)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_settles_later_is_told_to_the_stream_that_asked() {
    let house = House::new("late").await;
    let address = house.start(Toy::default()).await;
    let (mut one, mut other) = (Line::open(&address).await.unwrap(), Line::open(&address).await.unwrap());
    let (id, quick) = (saga(), saga());
    let second = TRACE.replace("00f067aa0ba902b7", "00f067aa0ba902b8");
    one.say(&[charge(&id), command(&quick, "reserve", Verb::Run)], &[TRACE, &second]).await;
    other.say(&[command(&saga(), "reserve", Verb::Run)], &[]).await;
    let mut heard = Vec::new();
    while heard.len() < 2 {
        let ExecuteResponse { outcomes, traceparents } = one.hear().await;
        heard.extend(outcomes.into_iter().zip(traceparents));
    }
    heard.sort_by_key(|(outcome, _)| outcome.saga_id == quick);
    let told: Vec<_> = heard.iter().map(|(o, trace)| (o.saga_id.as_str(), name(o), trace.as_str())).collect();
    let succeeded = "succeeded".to_owned();
    assert_eq!(told, [(id.as_str(), succeeded.clone(), TRACE), (quick.as_str(), succeeded, second.as_str())]);
    let outcomes = other.hear().await.outcomes;
    assert_eq!(outcomes.len(), 1, "the other one's own: {outcomes:?}");
    house.stop().await;
}

/// Whoever asks last is answered, and what nobody asked for again is told to any stream that is there: the stream of an orchestrator
/// that went away is of no use to anybody.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_stream_asked_for_is_told_to_who_is_there() {
    let house = House::new("lost").await;
    let gateway = Arc::new(Gateway::default());
    gateway.with(|books| books.mood = "lost before");
    let address = house.start(Toy { gateway: Arc::clone(&gateway), ..Toy::default() }).await;
    let (early, late) = (saga(), saga());
    let lost = Line::open(&address).await.unwrap();
    lost.say(&[charge(&early), charge(&late)], &[]).await;
    house.barrier_is(&early, "RI").await;
    house.barrier_is(&late, "RI").await;
    drop(lost);
    let mut next = Line::open(&address).await.unwrap();
    next.say(&[charge(&early)], &[]).await;
    let silent: Vec<wire::Outcome> = next.answers.message().await.unwrap().expect("handled").outcomes;
    assert_eq!(names(&silent), Vec::<String>::new(), "it has not settled yet");
    gateway.with(|books| books.mood = "");
    let mut heard = Vec::new();
    while heard.len() < 2 {
        heard.extend(next.hear().await.outcomes);
    }
    heard.sort_by_key(|outcome| outcome.saga_id == late);
    let sagas: Vec<&str> = heard.iter().map(|outcome| outcome.saga_id.as_str()).collect();
    assert_eq!(
        (sagas, names(&heard)),
        (vec![early.as_str(), late.as_str()], vec!["succeeded".to_owned(); 2])
    );
    // whoever asks again gets the stored verdict
    next.say(&[charge(&late)], &[]).await;
    let outcomes = next.hear().await.outcomes;
    assert_eq!((outcomes[0].saga_id.as_str(), names(&outcomes)), (late.as_str(), vec!["succeeded".into()]));
    assert_eq!(gateway.moved("charge"), 2);
    house.stop().await;
}

/// One wave waits for a lock, one client never reads: the others are served.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_stuck_holds_up_nobody_else() {
    let house = House::new("stuck").await;
    let address = house.start(Toy::default()).await;
    let id = saga();
    assert_eq!(names(&ask(&address, &[command(&id, "reserve", Verb::Run)]).await), ["succeeded"]);
    let mut sql = house.sql().await;
    let mut lock = sql.begin().await.expect("begun");
    sqlx::query("select from public.shelf for update").execute(&mut *lock).await.expect("locked");
    let mut stuck = Line::open(&address).await.unwrap();
    stuck.say(&[command(&saga(), "reserve", Verb::Run)], &[]).await;
    eventually("the wave to wait for the lock", LONG, async || {
        let waiting: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        )
        .fetch_one(&mut house.sql().await)
        .await
        .expect("counted");
        (waiting == 1).then_some(())
    })
    .await;

    // a client that asks and never reads: its own stream stops taking, at some point
    let deaf = Line::open(&address).await.unwrap();
    let repeat = vec![command(&id, "reserve", Verb::Run); 512];
    let mut taken = 0;
    let full = loop {
        let request = ExecuteRequest { commands: repeat.clone(), ..Default::default() };
        match tokio::time::timeout(LONG / 20, deaf.requests.send(request)).await {
            Ok(sent) => sent.expect("the stream is open"),
            Err(_) => break taken,
        }
        taken += 1;
        assert!(taken < 2_000, "nothing holds it up: {taken} requests were taken");
    };
    assert!(full > 4, "more than what waits at this end");

    assert_eq!(names(&ask(&address, &[command(&id, "reserve", Verb::Run)]).await), ["succeeded"]);
    lock.rollback().await.expect("let go");
    assert_eq!(names(&stuck.hear().await.outcomes), ["succeeded"]);
    drop(deaf);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_handled_is_answered_as_failed_for_good_and_nothing_of_it_is_stored() {
    let house = House::new("culprit").await;
    let address = house.start(Toy::default()).await;
    let step = |step: &str| {
        let mut command = command(&saga(), "reserve", Verb::Run);
        command.step = step.to_owned();
        command
    };
    let culprits = [step("poison"), step("panic"), step("large")];
    let good = command(&saga(), "reserve", Verb::Run);
    let mut all = culprits.to_vec();
    all.push(good.clone());
    let outcomes = ask(&address, &all).await;
    assert_eq!(outcomes.len(), 4);
    for outcome in &outcomes {
        let wanted = if outcome.saga_id == good.saga_id { "succeeded" } else { "failed POISONED final" };
        assert_eq!(name(outcome), wanted, "{}", outcome.step);
    }
    let large = outcomes.iter().find(|outcome| outcome.step == "large").expect("answered");
    assert!(format!("{large:?}").contains("RESULT_TOO_LARGE: a result of 65537 bytes"), "{large:?}");
    for culprit in &culprits {
        assert_eq!(house.barrier(&culprit.saga_id).await, "", "{}", culprit.step);
    }
    assert_eq!(house.shelf().await, (99, 1));
    house.stop().await;
}

/// No broker, no topic of commands: everything comes and goes over streams.
#[tokio::test(flavor = "multi_thread")]
async fn without_kafka() {
    let mut house = House::new("brokerless").await;
    house.config.kafka.bootstrap_servers = format!("127.0.0.1:{}", free_port());
    house.config.commands.kafka = false;
    let address = house.start(Toy::default()).await;
    let mut line = Line::open(&address).await.unwrap();
    let id = saga();
    line.say(&[charge(&id)], &[]).await;
    assert_eq!(names(&line.hear().await.outcomes), ["succeeded"]);
    line.say(&[command(&id, "refund", Verb::Undo)], &[]).await;
    assert_eq!(names(&line.hear().await.outcomes), ["undone"]);
    drop(line);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_streams() {
    let mut house = House::new("streamless").await;
    house.config.commands.grpc = false;
    let address = house.start(Toy::default()).await;
    let refused = Line::open(&address).await.err().expect("refused");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("commands.grpc"), "{refused}");
    let id = saga();
    house.send(&[charge(&id)]).await;
    assert_eq!(names(&house.outcomes(1).await), ["succeeded"]);
    house.stop().await;
}
