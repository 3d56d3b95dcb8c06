//! A start while the servers are away: health answers from the first moment and says what is missing.

use serde_json::Value;
use skald_harness::{eventually, free_port};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    house::{House, LONG, ask, command, names, saga},
    toy::Toy,
    trips::Trips,
};

/// Status line and report.
async fn health(address: &str) -> Result<(String, Value), String> {
    let mut stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let request = b"GET /health/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.map_err(|error| error.to_string())?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.map_err(|error| error.to_string())?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no body")?;
    let status = head.lines().next().unwrap_or_default().to_owned();
    Ok((status, serde_json::from_str(body).map_err(|error| error.to_string())?))
}

/// Waits until a dependency is said to be so, with these words.
async fn is(address: &str, dependency: &str, status: &str, words: &str) -> String {
    eventually(&format!("{dependency} to be {status}"), LONG, async || {
        let (line, report) = health(address).await?;
        let told = &report["dependencies"][dependency];
        let detail = told["detail"].as_str().unwrap_or_default();
        if told["status"] == status && detail.contains(words) { Ok(line) } else { Err(report.to_string()) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_that_postgres_is_waited_for() {
    let mut house = House::new("early").await;
    let port = free_port();
    let direct = house.config.postgres.url.expose().to_owned();
    house.config.postgres.url = Trips::url(&direct, port).as_str().into();
    let (grpc, http) = house.launch(Toy::default());
    assert!(is(&http, "postgres", "DOWN", "refused").await.contains("503"));
    is(&http, "kafka", "UP", "").await;
    // it comes, and all goes on by itself
    let trips = Trips::start_at(&direct, port).await;
    assert_eq!(trips.url, house.config.postgres.url.expose());
    assert!(is(&http, "postgres", "UP", "").await.contains("200"));
    let outcomes = ask(&grpc, &[command(&saga(), "reserve", skald_participant::Verb::Run)]).await;
    assert_eq!(names(&outcomes), ["succeeded"]);
    assert!(trips.of("insert into skald.barrier") > 0, "the way was the one that was closed");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_that_kafka_is_waited_for_and_a_stop_does_not_wait() {
    let mut house = House::new("nobroker").await;
    house.config.kafka.bootstrap_servers = format!("127.0.0.1:{}", free_port());
    let (_, http) = house.launch(Toy::default());
    // from the first moment
    assert!(is(&http, "kafka", "DOWN", "").await.contains("503"));
    is(&http, "postgres", "UP", "").await;
    is(&http, "kafka", "DOWN", "does not answer").await;
    house.stop().await;
}
