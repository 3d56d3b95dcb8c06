//! What a charge costs: round trips to PostgreSQL of the wave that opens its intent, and of the settling.

use skald_harness::eventually;

use crate::{
    support::{Installation, SOON, charge, order},
    trips::Trips,
};

#[tokio::test]
async fn an_intent_and_its_settling_cost_few_round_trips() {
    let mut installation = Installation::new().await;
    let direct = installation.database.url.clone();
    let trips = Trips::start_at(&direct, 0).await;
    installation.config.postgres.url = trips.url.as_str().into();
    let payment = installation.start().await;
    let mut costs = (0, 0);
    // the first round prepares the statements
    for _ in 0..2 {
        let opening = || trips.of("insert into skald.barrier");
        let settling = || trips.of("update skald.barrier");
        let (opened, settled) = (opening(), settling());
        let id = order();
        assert_eq!(payment.execute(charge(id, "tok_ok")).await, None);
        let opened = opening() - opened;
        eventually("the charge to be settled and its event gone", SOON, async || {
            let left: i64 = sqlx::query_scalar(
                "select (select count(*) from skald.intent) + (select count(*) from skald.outbox)",
            )
            .fetch_one(&mut installation.connect().await)
            .await
            .expect("counted");
            (left == 0 && settling() > settled).then_some(())
        })
        .await;
        costs = (opened, settling() - settled);
    }
    assert_eq!(costs, (6, 7));
    payment.stop().await;
}
