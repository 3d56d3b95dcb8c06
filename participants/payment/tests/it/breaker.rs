//! The breaker around the running service: intents wait while it is open, and all of them end when the gateway is back.

use skald_harness::eventually;
use skald_proto::{participant::v1::outcome::Answer, payment::v1::SetGatewayMoodRequest};

use crate::support::{Installation, SOON, charge, order};

#[tokio::test]
async fn with_the_gateway_down_intents_wait_and_then_all_of_them_are_charged_once() {
    let installation = Installation::new().await;
    // a process of its own: the metrics of a process are one
    let payment = installation
        .spawn_with(&[
            "BREAKER__CONSECUTIVE_FAILURES=3",
            "BREAKER__OPEN_MS=100",
            "BREAKER__MAX_OPEN_MS=400",
            "BREAKER__RAMP_MS=300",
        ])
        .await;
    let state = async || {
        let metrics = payment.metrics().await;
        let line = metrics.lines().find(|line| line.starts_with("payment_breaker_state ")).map(str::to_owned);
        line.unwrap_or_default()
    };
    assert_eq!(state().await, "payment_breaker_state 0");
    let gateway = async || {
        let (_, json) = payment
            .get("health/ready")
            .await
            .split_once("\r\n\r\n")
            .map(|(h, b)| (h.to_owned(), b.to_owned()))
            .expect("a body");
        let report: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let said =
            |name: &str| report["dependencies"]["gateway"][name].as_str().unwrap_or_default().to_owned();
        (report["status"].as_str().unwrap_or_default().to_owned(), said("status"), said("detail"))
    };
    assert_eq!(gateway().await.1, "UP");
    let mut api = payment.api();
    api.set_gateway_mood(SetGatewayMoodRequest { outage: true, ..Default::default() }).await.expect("set");
    let orders: Vec<_> = (0..20).map(|_| order()).collect();
    for id in &orders {
        assert_eq!(payment.execute(charge(*id, "tok_ok")).await, None);
    }
    eventually("the breaker to open", SOON, async || {
        (state().await == "payment_breaker_state 1").then_some(())
    })
    .await;
    eventually("health to say for how long", SOON, async || {
        let (service, gateway, detail) = gateway().await;
        let told = detail.contains("no calls for 1 s") && detail.contains("breaker is open");
        if (service.as_str(), gateway.as_str(), told) == ("DEGRADED", "DEGRADED", true) {
            Ok(())
        } else {
            Err(detail)
        }
    })
    .await;
    api.set_gateway_mood(SetGatewayMoodRequest::default()).await.expect("set");
    for id in &orders {
        assert!(matches!(payment.answer(&charge(*id, "tok_ok")).await, Answer::Succeeded(_)));
        assert_eq!(installation.kinds(*id).await, ["charge"]);
    }
    eventually("the breaker to close", SOON, async || {
        (state().await == "payment_breaker_state 0").then_some(())
    })
    .await;
    let (service, gateway, detail) = gateway().await;
    assert_eq!((service.as_str(), gateway.as_str(), detail.as_str()), ("UP", "UP", ""));
    payment.stop().await;
}
