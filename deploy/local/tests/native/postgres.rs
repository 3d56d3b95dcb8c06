//! A committed row survives every way of ending PostgreSQL.

use skald_local::{Error, Postgres, PostgresOptions};
use sqlx::{Connection, PgConnection};

use crate::folder;

async fn rows(server: &Postgres) -> i64 {
    let mut connection = PgConnection::connect(&server.url("shop")).await.expect("connects");
    sqlx::query_scalar("SELECT count(*) FROM orders").fetch_one(&mut connection).await.expect("answers")
}

async fn insert(server: &Postgres) {
    let mut connection = PgConnection::connect(&server.url("shop")).await.expect("connects");
    sqlx::query("INSERT INTO orders DEFAULT VALUES").execute(&mut connection).await.expect("inserted");
}

#[tokio::test]
async fn a_row_survives_stop_kill_and_restart() {
    let mut server =
        Postgres::start(PostgresOptions::new(folder("pg"))).await.expect("starts").remove_on_drop();
    server.create_database("shop").await.expect("a database");
    server.create_database("shop").await.expect("it exists: no error");
    let mut connection = PgConnection::connect(&server.url("shop")).await.expect("connects");
    sqlx::query("CREATE TABLE orders (id serial)").execute(&mut connection).await.expect("a table");
    let fsync: String = sqlx::query_scalar("SHOW fsync").fetch_one(&mut connection).await.expect("answers");
    assert_eq!(fsync, "on");

    // The connection stays open: a killed server has a backend that must go too.
    insert(&server).await;
    let (first, port) = (server.pid(), server.port());
    server.kill().await.expect("killed");
    assert!(sqlx::query("SELECT 1").execute(&mut connection).await.is_err(), "the backend is gone");
    assert!(!std::path::Path::new(&format!("/proc/{first}")).exists(), "no zombie remains");
    server.restart().await.expect("starts again");
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), first);
    assert_eq!(rows(&server).await, 1);

    insert(&server).await;
    server.stop().await.expect("stops");
    server.stop().await.expect("stopped already: no error");
    assert_eq!(server.pid(), 0);
    server.restart().await.expect("starts again");
    server.restart().await.expect("restarts while it runs");
    assert_eq!(rows(&server).await, 2);
}

#[tokio::test]
async fn the_folder_is_kept_and_settings_count() {
    let folder = folder("kept");
    let mut server = Postgres::start(PostgresOptions::new(&folder)).await.expect("starts");
    server.create_database("shop").await.expect("a database");
    let taken = Postgres::start(PostgresOptions::new(&folder)).await;
    assert!(matches!(taken, Err(Error::InUse { .. })), "{taken:?}");
    server.stop().await.expect("stops");
    drop(server);

    let options = PostgresOptions::new(&folder).setting("work_mem", "7MB");
    let server = Postgres::start(options).await.expect("starts on what is there").remove_on_drop();
    let mut connection = PgConnection::connect(&server.url("shop")).await.expect("the database was kept");
    let setting: String =
        sqlx::query_scalar("SHOW work_mem").fetch_one(&mut connection).await.expect("answers");
    assert_eq!(setting, "7MB");
}

#[tokio::test]
async fn a_bad_setting_is_told_with_the_log() {
    let folder = folder("bad");
    let refused = Postgres::start(PostgresOptions::new(&folder).setting("work_mem", "lots")).await;
    let text = refused.expect_err("refused").to_string();
    assert!(text.contains("invalid value for parameter \"work_mem\""), "{text}");
    std::fs::remove_dir_all(folder).expect("removed");
}

/// A folder below a closed one (as a checkout in root's home is): another stands in, and is found again.
#[tokio::test]
async fn an_unreachable_folder_has_a_stand_in() {
    use std::os::unix::fs::PermissionsExt;
    let closed = folder("closed");
    std::fs::create_dir_all(&closed).expect("a folder");
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).expect("closed");
    let wanted = closed.join("pg");
    let first = Postgres::start(PostgresOptions::new(&wanted)).await.expect("starts");
    first.create_database("shop").await.expect("a database");
    let used = first.folder().to_owned();
    drop(first);
    let again = Postgres::start(PostgresOptions::new(&wanted)).await.expect("starts again").remove_on_drop();
    assert_eq!(again.folder(), used, "the same stand-in each time");
    PgConnection::connect(&again.url("shop")).await.expect("with what was in it");
    let _ = std::fs::remove_dir_all(closed);
}
