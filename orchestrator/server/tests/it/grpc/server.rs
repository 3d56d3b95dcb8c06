//! What every gRPC server of ours has: reflection, health, a limit on messages.

use futures::StreamExt as _;
use skald_proto::saga::v1 as saga;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::support::World;

#[tokio::test(flavor = "multi_thread")]
async fn reflection_health_and_a_limit() {
    let world = World::start().await;
    let ask = |what| {
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(what) };
        let mut client = ServerReflectionClient::new(world.channel());
        async move {
            let stream = futures::stream::iter([request]);
            let mut answers = client.server_reflection_info(stream).await.unwrap().into_inner();
            answers.next().await.unwrap().unwrap().message_response.unwrap()
        }
    };
    let MessageResponse::ListServicesResponse(list) = ask(MessageRequest::ListServices("*".into())).await
    else {
        panic!("no list of services")
    };
    let names: Vec<_> = list.service.into_iter().map(|s| s.name).collect();
    for service in ["skald.order.v1.OrderService", "skald.saga.v1.SagaService", "grpc.health.v1.Health"] {
        assert!(names.iter().any(|n| n == service), "{service} in {names:?}");
    }
    let details = MessageRequest::FileContainingSymbol("google.rpc.BadRequest".into());
    assert!(matches!(ask(details).await, MessageResponse::FileDescriptorResponse(_)), "error details");

    let mut health = HealthClient::new(world.channel());
    for service in ["", "skald.order.v1.OrderService"] {
        let check = HealthCheckRequest { service: service.into() };
        let answer = health.check(check).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }

    let durability = world.health("durability").await;
    assert!(durability.1.contains("synchronous_commit on"), "{durability:?}");

    let huge = saga::StartRequest {
        definition: "order".into(),
        idempotency_key: "k".into(),
        input: Some(prost_types::Any { type_url: String::new(), value: vec![0; 2 << 20] }),
        ..Default::default()
    };
    let refused = world.sagas().start(huge).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::OutOfRange, "{refused:?}");
    assert!(refused.message().contains("1048576"), "{refused:?}");
    world.stop().await;
}
