//! The HTTP and gRPC servers around nothing.

use skald_harness::{eventually, http_status};
use skald_kit::config::Grpc;
use skald_kit::health::{Health, Status};
use skald_kit::lifecycle::{Shutdown, Tasks};
use skald_kit::{grpc, http};
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::SOON;

#[tokio::test]
async fn http_tells_health_and_metrics() {
    let (health, shutdown) = (Health::new("kit"), Shutdown::new());
    let tasks = Tasks::new(&shutdown);
    let listener = http::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tasks.spawn("http", http::serve_on(listener, health.clone(), shutdown.clone()));
    for (status, live, ready) in
        [(Status::Up, 200, 200), (Status::Degraded, 200, 200), (Status::Down, 200, 503)]
    {
        health.set("postgres", status, "as the test says");
        assert_eq!(http_status(&format!("{base}/health/live")).await.unwrap(), live);
        assert_eq!(http_status(&format!("{base}/health/ready")).await.unwrap(), ready, "{status:?}");
    }
    assert_eq!(http_status(&format!("{base}/metrics")).await.unwrap(), 200);
    assert_eq!(http_status(&format!("{base}/nothing")).await.unwrap(), 404);
    shutdown.request();
    tasks.join(SOON).await.unwrap();
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let listener = http::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let error = format!("{:#}", grpc::bind(address).await.unwrap_err());
    assert!(error.starts_with(&format!("cannot listen on {address} (gRPC)")), "{error}");
}

#[tokio::test]
async fn grpc_has_health_and_reflection_and_stops_though_someone_watches() {
    let (health, shutdown) = (Health::new("kit"), Shutdown::new());
    let tasks = Tasks::new(&shutdown);
    let listener = grpc::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let sets: &[&'static [u8]] = &[tonic_health::pb::FILE_DESCRIPTOR_SET];
    let routes = tonic::service::Routes::default();
    let (served, stop) = (health.clone(), shutdown.clone());
    tasks.spawn("grpc", async move {
        grpc::serve_on(listener, None, &Grpc::default(), routes, sets, served, stop).await
    });
    let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();

    let mut client = HealthClient::new(channel.clone());
    let mut watch = client.watch(HealthCheckRequest { service: String::new() }).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    health.set("postgres", Status::Down, "gone");
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    health.set("postgres", Status::Degraded, "slow");
    eventually("the named service serves", SOON, async || {
        let named = HealthCheckRequest { service: "grpc.health.v1.Health".to_owned() };
        let status = client.check(named).await.unwrap().into_inner().status();
        (status == ServingStatus::Serving).then_some(())
    })
    .await;

    let names = reflected(channel).await;
    for name in ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"] {
        assert!(names.iter().any(|known| known == name), "{names:?}");
    }
    shutdown.request();
    tasks.join(SOON).await.unwrap();
}

async fn reflected(channel: tonic::transport::Channel) -> Vec<String> {
    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let details = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol("google.rpc.BadRequest".to_owned())),
    };
    let mut client = ServerReflectionClient::new(channel);
    let requests = tokio_stream::iter([list, details]);
    let mut answers = client.server_reflection_info(requests).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(services)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list of services")
    };
    let described = answers.message().await.unwrap().unwrap().message_response;
    assert!(matches!(described, Some(MessageResponse::FileDescriptorResponse(_))), "{described:?}");
    services.service.into_iter().map(|service| service.name).collect()
}
