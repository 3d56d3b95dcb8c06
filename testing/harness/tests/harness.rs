//! The harness itself: what it promises to tests.

use std::time::Duration;

use skald_harness::{Process, database, eventually, kafka, owned_postgres, postgres_url, unique};
use sqlx::{Connection, PgConnection};

#[tokio::test]
async fn databases_are_fresh_and_distinct() {
    let (one, two) = (database("shop").await, database("shop").await);
    assert_ne!(one.url, two.url);
    for database in [one, two] {
        let mut connection = PgConnection::connect(&database.url).await.expect("connects");
        let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
            .fetch_one(&mut connection)
            .await
            .expect("answers");
        assert_eq!(tables, 0);
    }
}

#[test]
fn the_shared_servers_are_one_each() {
    // Also without a runtime.
    assert_eq!(postgres_url("a"), postgres_url("b").replace("/b", "/a"));
    assert_eq!(kafka(), kafka());
    assert_ne!(unique("x"), unique("x"));
}

#[tokio::test]
async fn an_owned_server_survives_its_death() {
    let mut server = owned_postgres().await;
    server.kill().await.expect("killed");
    assert!(PgConnection::connect(&server.url("postgres")).await.is_err(), "a killed server does not answer");
    server.restart().await.expect("back");
    PgConnection::connect(&server.url("postgres")).await.expect("answers again");
}

#[tokio::test]
async fn waiting_ends_with_the_answer() {
    let mut asked = 0;
    let answer = eventually("the third answer", Duration::from_secs(5), async || {
        asked += 1;
        (asked == 3).then_some("yes")
    })
    .await;
    assert_eq!((answer, asked), ("yes", 3));
}

#[tokio::test]
#[should_panic(expected = "for the moon; last answer: \"not yet\"")]
async fn waiting_in_vain_says_for_what() {
    eventually("the moon", Duration::from_millis(100), async || Err::<(), _>("not yet")).await;
}

#[tokio::test]
#[should_panic(expected = "the question hung")]
async fn a_question_that_hangs_is_cut_off() {
    eventually("an answer", Duration::from_millis(100), async || {
        std::future::pending::<()>().await;
        Some(())
    })
    .await;
}

#[tokio::test]
async fn a_process_is_watched_and_killed() {
    let process = Process::builder("talker", "sh").args(["-c", "echo hello; exec sleep 600"]).spawn();
    eventually("its first line", Duration::from_secs(5), async || {
        process.log().contains("hello").then_some(())
    })
    .await;
    process.kill9().await;
    assert!(process.status().is_some());

    let process = Process::builder("polite", "sh")
        .args(["-c", "trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done"])
        .spawn();
    eventually("its trap", Duration::from_secs(5), async || process.log().contains("up").then_some(())).await;
    process.sigterm();
    assert_eq!(process.wait(Duration::from_secs(5)).await.code(), Some(7));
}
