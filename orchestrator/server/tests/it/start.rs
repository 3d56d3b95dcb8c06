//! A start that can't work ends with an error that says what to do.

use skald_kit::lifecycle::Shutdown;
use skald_server::Config;

use crate::{
    course::define,
    support::{DEADLINE, World},
};

async fn refused(config: Config) -> String {
    let ended = tokio::time::timeout(DEADLINE, skald_server::run(config, Shutdown::new())).await;
    format!("{:#}", ended.expect("it ends").expect_err("with an error"))
}

fn assert_says(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "{word:?} in: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_and_definitions_that_are_wrong_are_named() {
    let world = World::start().await;
    let config = {
        let mut config = world.config.clone();
        config.listen.grpc.set_port(0);
        config.listen.http.set_port(0);
        config
    };
    world.stop().await;

    let mut other = config.clone();
    other.kafka.partitions = 3;
    let topic = config.kafka.topic("skald.inventory.commands");
    assert_says(&refused(other).await, &[&topic, "has 2 partitions; it must have 3"]);

    let mut missing = config.clone();
    missing.kafka.topic_prefix = format!("{}.", skald_harness::unique("nobody"));
    missing.kafka.create_topics = false;
    let topic = missing.kafka.topic("orders.events");
    assert_says(&refused(missing).await, &[&topic, "is missing; create it with 2 partitions"]);

    let mut wrong = config.clone();
    let step = "[[step]]\nname = \"lonely\"\nparticipant = \"p\"\naction = \"a\"\n";
    define(&mut wrong, "bad", &format!("name = \"bad\"\nversion = 1\nmax_age = \"1d\"\n{step}"));
    assert_says(&refused(wrong).await, &["bad.toml", "step lonely", "undo"]);

    let mut nowhere = config.clone();
    nowhere.definitions.folder = Some("/nonexistent/definitions".into());
    assert_says(&refused(nowhere).await, &["/nonexistent/definitions"]);

    // A newer binary's migration is there.
    let newer =
        "insert into public._sqlx_migrations (version, description, success, checksum, execution_time)
                 values (9999, 'newer', true, '', 0)";
    let mut sql = skald_kit::pg::connection(&config.postgres.url).await.unwrap();
    sqlx::query(newer).execute(&mut sql).await.unwrap();
    assert_says(&refused(config).await, &["migration", "9999"]);
}
