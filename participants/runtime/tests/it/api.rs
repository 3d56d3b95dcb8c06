//! ParticipantService: who answers, what it can do, what it refuses.

use skald_harness::eventually;
use skald_participant::Verb;
use skald_proto::participant::v1::{
    DescribeRequest, ExecuteRequest, participant_service_client::ParticipantServiceClient,
};
use tonic::Code;

use crate::{
    house::{House, LONG, ask, command, names, saga},
    toy::Toy,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_participant_describes_itself() {
    let house = House::new("describe").await;
    let address = house.start(Toy::default()).await;
    let mut client = ParticipantServiceClient::connect(address).await.expect("connected");
    let told = client.describe(DescribeRequest {}).await.expect("described").into_inner();
    assert_eq!(
        (told.participant.as_str(), told.protocols.as_slice(), told.horizon_days),
        ("toy", [1].as_slice(), 45)
    );
    let actions: Vec<_> = told.actions.iter().map(|a| (a.name.as_str(), a.undo.as_str())).collect();
    assert_eq!(actions, [("reserve", "release"), ("charge", "refund")]);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_over_a_stream_meet_the_same_barrier() {
    let house = House::new("stream").await;
    let address = house.start(Toy::default()).await;
    let id = saga();
    let (reserve, release) = (command(&id, "reserve", Verb::Run), command(&id, "release", Verb::Undo));
    let seal = command(&id, "release", Verb::SealUndo);
    assert_eq!(
        names(&ask(&address, &[reserve.clone(), reserve.clone(), release]).await),
        ["succeeded", "succeeded", "undone"]
    );
    house.send(&[reserve]).await;
    assert_eq!(names(&house.outcomes(1).await), ["succeeded"]);
    assert_eq!(names(&ask(&address, &[seal]).await), ["undone"]);
    // fenced before it ran: neither will ever happen
    let never = saga();
    let fence = command(&never, "release", Verb::SealUndo);
    assert_eq!(names(&ask(&address, &[fence]).await), ["fenced"]);
    let late = [command(&never, "reserve", Verb::Run), command(&never, "release", Verb::Undo)];
    assert_eq!(names(&ask(&address, &late).await), ["sealed", "fenced"]);
    assert_eq!(house.shelf().await, (100, 0));
    // what can't be understood gets no answer, and does not disturb the others
    let mut malformed = command(&saga(), "reserve", Verb::Run);
    malformed.epoch = 0;
    let good = command(&saga(), "reserve", Verb::Run);
    assert_eq!(names(&ask(&address, &[malformed, good]).await), ["succeeded"]);
    // too many at once
    let mut client = ParticipantServiceClient::connect(address).await.expect("connected");
    let commands = vec![command(&id, "reserve", Verb::Run); 513];
    let mut answers = client
        .execute(tokio_stream::once(ExecuteRequest { commands, ..Default::default() }))
        .await
        .expect("taken")
        .into_inner();
    assert_eq!(answers.message().await.expect_err("refused").code(), Code::InvalidArgument);
    house.stop().await;
}

/// A stream without an end does not hold up a stop.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_stream_ends_with_the_participant() {
    let house = House::new("endless").await;
    let address = house.start(Toy::default()).await;
    let mut client = ParticipantServiceClient::connect(address).await.expect("connected");
    let mut answers =
        client.execute(tokio_stream::pending::<ExecuteRequest>()).await.expect("taken").into_inner();
    house.stop().await;
    eventually("the stream to end", LONG, async || match answers.message().await {
        Ok(Some(_)) => None,
        Ok(None) | Err(_) => Some(()),
    })
    .await;
}
