//! Each method of PaymentService, and each of its errors.

use skald_harness::{eventually, owned_postgres};
use skald_kit::config::Secret;
use skald_proto::{
    participant::v1::{
        DescribeRequest, outcome::Answer, participant_service_client::ParticipantServiceClient,
    },
    payment::v1::{ChargeState, GetChargeRequest, SetGatewayMoodRequest},
};
use tonic::Code;

use crate::support::{Installation, SOON, bad_fields, charge, order, refund};

#[tokio::test]
async fn it_says_who_it_is() {
    let payment = Installation::new().await.start().await;
    let mut client = ParticipantServiceClient::new(payment.channel.clone());
    let described = client.describe(DescribeRequest {}).await.expect("described").into_inner();
    let actions: Vec<_> = described.actions.iter().map(|a| (a.name.as_str(), a.undo.as_str())).collect();
    assert_eq!((described.participant.as_str(), actions), ("payment", vec![("charge", "refund")]));
}

#[tokio::test]
async fn a_charge_is_found_or_not() {
    let payment = Installation::new().await.start().await;
    let id = order();
    payment.answer(&charge(id, "tok_ok")).await;
    let found = payment.charge(id).await;
    assert_eq!((found.order_id, found.step.as_str(), found.epoch), (id.to_string(), "charge", 1));
    assert_eq!(
        (found.amount_minor, found.currency.as_str(), found.customer_id.as_str()),
        (500, "EUR", "bob")
    );
    let mut api = payment.api();
    let unknown = GetChargeRequest { order_id: order().to_string() };
    assert_eq!(api.get_charge(unknown).await.expect_err("refused").code(), Code::NotFound);
    let bad = GetChargeRequest { order_id: "nonsense".into() };
    assert_eq!(bad_fields(&api.get_charge(bad).await.expect_err("refused")), ["order_id"]);
}

#[tokio::test]
async fn the_gateways_mood_is_set_while_it_runs() {
    let installation = Installation::new().await;
    let payment = installation.start().await;
    let mut api = payment.api();
    let bad = SetGatewayMoodRequest { latency_ms: 60_001, outage: false, lost_answers_per_mille: 1_001 };
    let status = api.set_gateway_mood(bad).await.expect_err("refused");
    assert_eq!(bad_fields(&status), ["latency_ms", "lost_answers_per_mille"]);

    api.set_gateway_mood(SetGatewayMoodRequest { outage: true, ..Default::default() }).await.expect("set");
    let id = order();
    assert_eq!(payment.execute(charge(id, "tok_ok")).await, None);
    eventually("a call that fails", SOON, async || installation.calls(id).await.first().cloned()).await;
    assert_eq!(payment.charge(id).await.state(), ChargeState::Intent);
    api.set_gateway_mood(SetGatewayMoodRequest::default()).await.expect("set");
    assert!(matches!(payment.answer(&charge(id, "tok_ok")).await, Answer::Succeeded(_)));
    assert_eq!(installation.kinds(id).await, ["charge"]);

    // every answer is lost, and yet each thing happens once: the search tells, when it is heard
    let lossy = SetGatewayMoodRequest { lost_answers_per_mille: 500, ..Default::default() };
    api.set_gateway_mood(lossy).await.expect("set");
    for _ in 0..5 {
        let id = order();
        assert!(matches!(payment.answer(&charge(id, "tok_ok")).await, Answer::Succeeded(_)));
        assert!(matches!(payment.answer(&refund(id)).await, Answer::Undone(_)));
        assert_eq!(installation.kinds(id).await, ["charge", "refund"]);
    }
}

#[tokio::test]
async fn without_a_database_it_is_unavailable_and_comes_back() {
    let mut postgres = owned_postgres().await;
    let mut installation = Installation::new().await;
    installation.config.postgres.url = Secret::new(postgres.url("postgres"));
    let payment = installation.start().await;
    let id = order();
    payment.answer(&charge(id, "tok_ok")).await;
    postgres.kill().await.expect("killed");
    let mut api = payment.api();
    let get = GetChargeRequest { order_id: id.to_string() };
    assert_eq!(api.get_charge(get.clone()).await.expect_err("refused").code(), Code::Unavailable);
    postgres.restart().await.expect("back");
    eventually("payment to answer again", SOON, async || api.get_charge(get.clone()).await).await;
    assert!(matches!(payment.answer(&refund(id)).await, Answer::Undone(_)));
}
