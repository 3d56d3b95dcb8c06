//! Servers that die, connections that break at the worst moment, a broker that does not take what is said.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};
use skald_harness::{eventually, owned_postgres};
use skald_participant::Verb;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    house::{House, LONG, by_saga, command, saga},
    toy::Toy,
};

/// Design section 10, test 12: COMMIT is answered by a dropped connection, after it happened or before it arrived.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_which_nobody_knows_is_decided_again() {
    let mut house = House::new("unknown").await;
    let proxy = Proxy::start(house.config.postgres.url.expose()).await;
    house.config.postgres.url = proxy.url.as_str().into();
    house.start(Toy::default()).await;
    let mut sent = Vec::new();
    for (round, moment) in [AFTER, BEFORE, AFTER].into_iter().enumerate() {
        let id = saga();
        proxy.armed.store(moment, Ordering::SeqCst);
        house.send(&[command(&id, "reserve", Verb::Run)]).await;
        sent.push(id);
        let told = by_saga(&house.outcomes(round + 1).await);
        assert!(sent.iter().all(|id| told[id] == ["succeeded"]), "{told:?}");
        assert_eq!(proxy.armed.load(Ordering::SeqCst), CUT, "a commit was cut off");
        assert_eq!(house.shelf().await, (99 - round as i64, 1 + round as i64), "one effect each");
    }
    house.stop().await;
    assert_eq!(house.length("commands.dlq").await, 0);
}

/// Design section 10, test 11: PostgreSQL dies under load; nothing is a dead letter, all is decided once.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_dies_under_load() {
    let mut postgres = owned_postgres().await;
    postgres.create_database("toy").await.expect("created");
    let house = House::at("restart", postgres.url("toy")).await;
    let ids: Vec<String> = (0..3000).map(|_| saga()).collect();
    house.send(&ids.iter().map(|id| command(id, "reserve", Verb::Run)).collect::<Vec<_>>()).await;
    house.start(Toy::default()).await;
    let mut sql = house.sql().await;
    let decided = eventually("some to be decided", LONG, async || {
        let count =
            sqlx::query_scalar::<_, i64>("select count(*) from skald.barrier").fetch_one(&mut sql).await;
        count.ok().filter(|count| *count > 0)
    })
    .await;
    postgres.kill().await.expect("killed");
    assert!(decided < 3000, "it hit work in flight");
    postgres.restart().await.expect("back again");
    let outcomes = house.outcomes(3000).await;
    let told: HashSet<&str> = outcomes.iter().map(|outcome| outcome.saga_id.as_str()).collect();
    assert_eq!(told.len(), 3000);
    let by = by_saga(&outcomes);
    assert!(
        by.values().all(|answers| answers.iter().all(|answer| *answer == answers[0])),
        "one verdict each"
    );
    let succeeded = by.values().filter(|answers| answers[0] == "succeeded").count();
    assert_eq!((succeeded, house.shelf().await), (100, (0, 100)));
    house.stop().await;
    assert_eq!(house.length("commands.dlq").await, 0);
}

/// An outcome that the broker never took: the command is not finished, and comes again.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_not_finished_before_its_outcome_is_at_the_broker() {
    let mut house = House::new("undelivered").await;
    house.config.shutdown.deadline_seconds = 4;
    let id = saga();
    house.start(Toy::default()).await;
    delete_topic(&house, "skald.toy.outcomes").await;
    house.send(&[command(&id, "reserve", Verb::Run)]).await;
    house.barrier_is(&id, "RS").await;
    house.stop().await;
    let partition_of = id.parse().expect("an id");
    assert_eq!(house.committed(partition_of).await, None);
    // the topic is made again at start
    house.start(Toy::default()).await;
    assert_eq!(by_saga(&house.outcomes(1).await)[&id], ["succeeded"]);
    assert_eq!(house.shelf().await, (99, 1));
    house.stop().await;
    assert_eq!(house.committed(partition_of).await, Some(1));
}

async fn delete_topic(house: &House, name: &str) {
    let servers = &house.config.kafka.bootstrap_servers;
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", servers).create().expect("a client");
    let topic = house.config.kafka.topic(name);
    let results = admin.delete_topics(&[&topic], &AdminOptions::new()).await.expect("asked");
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    eventually("the topic to be gone", LONG, async || {
        let metadata = admin.inner().fetch_metadata(None, LONG).map_err(|e| e.to_string())?;
        if metadata.topics().iter().any(|t| t.name() == topic) {
            Err("still there".to_owned())
        } else {
            Ok(())
        }
    })
    .await;
}

const OFF: u8 = 0;
/// Cut when the server has answered the COMMIT.
const AFTER: u8 = 1;
/// Cut when the COMMIT comes.
const BEFORE: u8 = 2;
const CUT: u8 = 3;

/// Stands between the participant and PostgreSQL and can cut a connection around a COMMIT.
struct Proxy {
    url: String,
    armed: Arc<AtomicU8>,
}

impl Proxy {
    async fn start(url: &str) -> Self {
        let start = url.find('@').expect("a user") + 1;
        let end = start + url[start..].find('/').expect("a database");
        let server = url[start..end].to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let armed = Arc::new(AtomicU8::new(OFF));
        let switch = Arc::clone(&armed);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, armed) =
                    (TcpStream::connect(&server).await.expect("the server"), Arc::clone(&switch));
                tokio::spawn(relay(client, server, armed));
            }
        });
        Self { url: format!("{}{address}{}", &url[..start], &url[end..]), armed }
    }
}

/// Ends, and with it both connections, when either side does, or at a COMMIT that is cut off.
async fn relay(mut client: TcpStream, mut server: TcpStream, armed: Arc<AtomicU8>) {
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let cut = |moment| armed.compare_exchange(moment, CUT, Ordering::SeqCst, Ordering::SeqCst).is_ok();
    let mut committing = false;
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let n = read.unwrap_or(0);
                committing = up[..n].windows(7).any(|w| w == b"COMMIT\0");
                if n == 0 || (committing && cut(BEFORE)) || server.write_all(&up[..n]).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut down) => {
                let n = read.unwrap_or(0);
                if n == 0 || (committing && cut(AFTER)) || client.write_all(&down[..n]).await.is_err() {
                    return;
                }
            }
        }
    }
}
