//! Connections, migrations, partitions, instances, commit.

use std::net::SocketAddr;

use skald_harness::eventually;
use skald_kit::clock::DbClock;
use skald_kit::config::{Postgres, Secret};
use skald_kit::instance::{self, Instance};
use skald_kit::lifecycle::{Shutdown, Tasks};
use skald_kit::migrate::{self, Set};
use skald_kit::partitions::{self, Table, WEEK_MS, Week};
use skald_kit::pg::{self, Class, Outcome};
use skald_kit::{ids, migrate::Error};
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{SOON, database};

async fn show(connection: &mut PgConnection, setting: &'static str) -> String {
    sqlx::query("select current_setting($1)").bind(setting).fetch_one(connection).await.unwrap().get(0)
}

#[tokio::test]
async fn connections_have_their_settings() {
    let (url, mut worker) = database().await;
    for (setting, value) in [
        ("search_path", "public"),
        ("application_name", "skald"),
        ("random_page_cost", "1.1"),
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        ("jit", "off"),
    ] {
        assert_eq!(show(&mut worker, setting).await, value, "{setting}");
    }
    let pool = pg::read_pool(&Postgres { url, max_read_connections: 2 }).unwrap();
    let mut reader = pool.acquire().await.unwrap();
    assert_eq!(show(&mut reader, "search_path").await, "public");
    assert_eq!(show(&mut reader, "enable_seqscan").await, "off", "reads prefer an index too");
    assert_eq!(show(&mut reader, "plan_cache_mode").await, "auto", "and are planned for what they ask");
}

static OTHER: sqlx::migrate::Migrator = sqlx::migrate!("tests/it/migrations");

#[tokio::test(flavor = "multi_thread")]
async fn several_sets_live_in_one_database_and_run_at_once() {
    let url = Secret::new(skald_harness::database("kit").await.url);
    let sets = [Set::kit(), Set::participant(&OTHER), Set::service(&OTHER)];
    let runs = (0..4).map(|_| {
        let url = url.clone();
        tokio::spawn(async move { migrate::run(&url, &sets[..2]).await })
    });
    for run in runs.collect::<Vec<_>>() {
        run.await.unwrap().unwrap();
    }
    let mut connection = pg::connection(&url).await.unwrap();
    let count = "select (select count(*) from skald._kit_migrations) * 10 + (select count(*) from skald._participant_migrations)";
    let applied: i64 = sqlx::query_scalar(count).fetch_one(&mut connection).await.unwrap();
    assert_eq!(applied, 11);
    // The same migration in a set of its own is applied again, and fails: the sets do not know each other.
    let error = migrate::run(&url, &sets).await.unwrap_err();
    assert!(matches!(error, Error::Set { set: "service", .. }), "{error}");
}

#[tokio::test]
async fn errors_of_the_server_have_their_class() {
    let (_, mut connection) = database().await;
    for (statement, class) in [
        ("select 1/0", Class::Poison),
        ("select 'x'::int", Class::Poison),
        (
            "insert into skald.instance (id, service, address) select gen_random_uuid(), null, ''",
            Class::Transient { expected: false },
        ),
        (
            "create table t (a int primary key, constraint positive check (a > 0)); insert into t values (0)",
            Class::Poison,
        ),
        ("create table t (a int primary key); insert into t values (1), (1)", Class::Conflict),
        ("create table t (a int) partition by range (a); insert into t values (1)", Class::Conflict),
        ("select nonsense", Class::Transient { expected: false }),
        ("set statement_timeout = 1; select pg_sleep(10)", Class::Transient { expected: true }),
    ] {
        let error = sqlx::raw_sql(statement).execute(&mut connection).await.unwrap_err();
        assert_eq!(pg::classify(&error, &["positive"]), class, "{statement}: {error}");
    }
}

#[tokio::test]
async fn a_commit_that_the_server_refuses_is_known_to_be_none() {
    let (_, mut connection) = database().await;
    sqlx::raw_sql("create table t (a int unique deferrable initially deferred)")
        .execute(&mut connection)
        .await
        .unwrap();
    let mut transaction = connection.begin().await.unwrap();
    sqlx::query("insert into t values (1), (1)").execute(&mut *transaction).await.unwrap();
    let Outcome::NotCommitted(error) = pg::commit(transaction).await else {
        panic!("a deferred key was violated")
    };
    assert_eq!(pg::classify(&error, &[]), Class::Conflict);
    let mut transaction = connection.begin().await.unwrap();
    sqlx::query("insert into t values (1)").execute(&mut *transaction).await.unwrap();
    assert!(matches!(pg::commit(transaction).await, Outcome::Committed));
}

/// Forwards to the server and cuts the connection as soon as a COMMIT has gone through it.
async fn cuts_at_commit(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let server = TcpStream::connect(server).await.unwrap();
        let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
            (client.into_split(), server.into_split());
        let back = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
        let mut buffer = vec![0; 65536];
        loop {
            let read = from_client.read(&mut buffer).await.unwrap();
            to_server.write_all(&buffer[..read]).await.unwrap();
            if read == 0 || buffer[..read].windows(6).any(|window| window == b"COMMIT") {
                back.abort();
                return;
            }
        }
    });
    address
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_unknown() {
    let (url, mut direct) = database().await;
    sqlx::raw_sql("create table t (a int)").execute(&mut direct).await.unwrap();
    let options = pg::connect_options(&url).unwrap();
    let server =
        tokio::net::lookup_host((options.get_host(), options.get_port())).await.unwrap().next().unwrap();
    let proxy = cuts_at_commit(server).await;
    let options = options.host(&proxy.ip().to_string()).port(proxy.port());
    let mut connection = PgConnection::connect_with(&options).await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    sqlx::query("insert into t values (1)").execute(&mut *transaction).await.unwrap();
    let Outcome::Unknown(error) = pg::commit(transaction).await else { panic!("nobody can know") };
    assert_eq!(pg::classify(&error, &[]), Class::Transient { expected: true });
}

const SAGA: Table = Table { schema: "public", name: "saga" };
const NOW: i64 = 1_794_787_200_000;

async fn partitioned() -> (Secret, PgConnection) {
    let (url, mut connection) = database().await;
    let table =
        "create table saga (id uuid primary key, n int not null check (n > 0)) partition by range (id);
                 create index on saga (n);
                 create table saga_default partition of saga default";
    sqlx::raw_sql(table).execute(&mut connection).await.unwrap();
    (url, connection)
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_made_once_whoever_makes_them() {
    let (url, mut connection) = partitioned().await;
    let makers = (0..4).map(|_| {
        let url = url.clone();
        tokio::spawn(async move {
            let mut connection = pg::connection(&url).await.unwrap();
            partitions::ensure(&mut connection, SAGA, NOW, NOW + 3 * WEEK_MS, Some(50)).await.unwrap().len()
        })
    });
    let mut made = 0;
    for maker in makers.collect::<Vec<_>>() {
        made += maker.await.unwrap();
    }
    assert_eq!(made, 4);
    let existing = partitions::existing(&mut connection, SAGA).await.unwrap();
    let names: Vec<_> = existing.iter().map(|partition| partition.name.as_str()).collect();
    assert_eq!(names, ["saga_20261116", "saga_20261123", "saga_20261130", "saga_20261207"]);
    assert_eq!((existing[0].lower, existing[0].upper), (NOW, NOW + WEEK_MS));
    let options: Vec<String> =
        sqlx::query_scalar("select unnest(reloptions) from pg_class where relname = 'saga_20261116'")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    assert_eq!(options, ["fillfactor=50"]);
    assert!(
        partitions::ensure(&mut connection, SAGA, NOW, NOW + 3 * WEEK_MS, Some(50)).await.unwrap().is_empty()
    );
}

#[tokio::test]
async fn rows_find_their_week_and_old_weeks_go() {
    let (_, mut connection) = partitioned().await;
    partitions::ensure(&mut connection, SAGA, NOW, NOW + WEEK_MS, None).await.unwrap();
    for (ms, partition) in [
        (NOW, "saga_20261116"),
        (NOW + WEEK_MS - 1, "saga_20261116"),
        (NOW + WEEK_MS, "saga_20261123"),
        (NOW - 1, "saga_default"),
    ] {
        let insert = "insert into saga values ($1, 1) returning tableoid::regclass::text";
        let found: String =
            sqlx::query_scalar(insert).bind(ids::mint(ms)).fetch_one(&mut connection).await.unwrap();
        assert_eq!(found, partition, "{:?}", Week::of(ms));
    }
    assert!(partitions::drop_before(&mut connection, SAGA, NOW + WEEK_MS - 1).await.unwrap().is_empty());
    assert_eq!(
        partitions::drop_before(&mut connection, SAGA, NOW + WEEK_MS).await.unwrap(),
        ["saga_20261116"]
    );
    let left: i64 = sqlx::query_scalar("select count(*) from saga").fetch_one(&mut connection).await.unwrap();
    assert_eq!(left, 2);
}

#[tokio::test]
async fn an_instance_beats_until_it_stops_and_counts_as_dead_when_it_does_not() {
    let (url, mut connection) = database().await;
    let (shutdown, clock) = (Shutdown::new(), DbClock::new());
    let tasks = Tasks::new(&shutdown);
    let living = Instance::new("orchestrator", "here");
    let frozen = Instance::new("orchestrator", "there");
    frozen.register(&mut connection).await.unwrap();
    tasks.spawn("heartbeat", living.clone().run(url.clone(), clock.clone(), shutdown.clone()));
    let dead = eventually("the frozen one is dead", SOON, async || {
        let dead = instance::dead(&mut connection, "orchestrator").await.unwrap();
        (!dead.is_empty()).then_some(dead)
    })
    .await;
    assert_eq!(dead.iter().map(|peer| peer.id).collect::<Vec<_>>(), [frozen.id]);
    let alive = instance::alive(&mut connection, "orchestrator").await.unwrap();
    assert_eq!(alive.iter().map(|peer| peer.id).collect::<Vec<_>>(), [living.id]);
    assert!(alive[0].beat_ms > alive[0].started_ms);
    assert!(instance::alive(&mut connection, "inventory").await.unwrap().is_empty());
    assert!(clock.is_synced());
    assert!((clock.now_ms() - alive[0].beat_ms).abs() < 5_000);
    frozen.beat(&mut connection).await.unwrap();
    assert_eq!(instance::alive(&mut connection, "orchestrator").await.unwrap().len(), 2);
    shutdown.request();
    tasks.join(SOON).await.unwrap();
    let left = instance::alive(&mut connection, "orchestrator").await.unwrap();
    assert_eq!(left.iter().map(|peer| peer.id).collect::<Vec<_>>(), [frozen.id]);
}
