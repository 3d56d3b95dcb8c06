//! `skald replay events`: what was told is told again, byte by byte, whoever is killed in the middle.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use skald_kit::kafka::{Topic, topics::create_missing};

use super::{
    LIMIT, audit,
    shop::{Load, SHELF, Shop, mixed},
    topics::{Record, Topics},
    world::{Kind, World},
};
use crate::replay::told;

/// Headers and payload.
type Message = (Vec<(String, Vec<u8>)>, Vec<u8>);

/// What there is of each order, in order.
fn by_order(records: Vec<Record>) -> BTreeMap<String, Vec<Message>> {
    let mut orders: BTreeMap<String, Vec<Message>> = BTreeMap::new();
    for Record { key, payload, headers, .. } in records {
        orders.entry(key).or_default().push((headers, payload));
    }
    orders
}

fn header<'a>(message: &'a Message, name: &str) -> &'a str {
    let (_, value) = message.0.iter().find(|(known, _)| known == name).expect("the header");
    std::str::from_utf8(value).expect("text")
}

/// The orchestrator's settings in a file.
fn settings(world: &World) -> PathBuf {
    let file = skald_harness::scratch("backfill").join("orchestrator.toml");
    let text = format!(
        "[postgres]\nurl = \"{}\"\n[kafka]\nbootstrap_servers = \"{}\"\ntopic_prefix = \"{}\"\n",
        world.url(Kind::Orchestrator),
        world.brokers,
        world.prefix
    );
    std::fs::write(&file, text).expect("written");
    file
}

struct Backfill {
    world: World,
    settings: PathBuf,
    topics: Topics,
}

impl Backfill {
    /// Another topic, with another number of partitions; its full name.
    async fn topic(&self, name: &str) -> String {
        let mut kafka = skald_kit::config::Kafka::default();
        kafka.bootstrap_servers.clone_from(&self.world.brokers);
        let name = format!("{}{name}", self.world.prefix);
        let (partitions, config) = (3, BTreeMap::new());
        let topic = Topic { name: name.clone(), partitions, retention_ms: None, config };
        create_missing(&kafka, &[topic]).await.expect("created");
        name
    }

    fn args<'a>(&'a self, rest: &[&'a str]) -> Vec<&'a str> {
        let file = self.settings.to_str().expect("a plain path");
        [&["replay", "events", "--config", file], rest].concat()
    }

    /// Runs it to its end; gives standard output.
    fn run(&self, code: i32, rest: &[&str]) -> String {
        let (ended, out, err) = told(&self.args(rest));
        assert_eq!(ended, code, "{rest:?}: {out}\n{err}");
        format!("{out}\n{err}")
    }

    fn read(&self, topic: &str) -> BTreeMap<String, Vec<Message>> {
        by_order(self.topics.read(&[topic]))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_is_told_again_byte_by_byte() {
    let mut world = World::plan().start().await;
    world.stock(&SHELF).await;
    let shop = Shop::new(&world);
    Load::start(&shop, (0..30).map(mixed), 4).done().await;
    audit::at_rest(&world, &shop).await;
    let (settings, topics) = (settings(&world), Topics::of(&world, "backfill"));
    let backfill = Backfill { world, settings, topics };
    let original = backfill.read("orders.events");
    let events: usize = original.values().map(Vec::len).sum();
    assert!(original.len() == 30 && events > 90, "{events} events of {} orders", original.len());

    let counted = backfill.run(0, &["--since", "1h", "--dry-run"]);
    for line in [
        format!("it would publish      {events} events"),
        "order.created         30".into(),
        "of                    30 sagas".into(),
    ] {
        assert!(counted.contains(&line), "{line} in\n{counted}");
    }
    let asked = backfill.run(2, &["--since", "1h"]);
    assert!(asked.contains("it would publish") && asked.contains("no terminal to ask on"), "{asked}");
    assert!(backfill.run(1, &["--since", "1h", "--yes", "--topic", "nowhere"]).contains("no topic nowhere"));
    assert!(backfill.run(2, &["--yes"]).contains("--since is missing"));
    assert_eq!(backfill.read("orders.events"), original, "nothing was published so far");

    let all = backfill.topic("all").await;
    backfill.run(0, &["--since", "1h", "--topic", &all, "--yes", "--rate", "100000"]);
    assert_eq!(backfill.read("all"), original);
    parts_of_time(&backfill, &original).await;
    killed_in_the_middle(&backfill, &original).await;
    what_was_spoilt_is_left_out(&backfill, original).await;
}

/// Two ranges that meet: each event is in one of them.
async fn parts_of_time(backfill: &Backfill, original: &BTreeMap<String, Vec<Message>>) {
    let mut times: Vec<&str> = original.values().flatten().map(|m| header(m, "ce_time")).collect();
    times.sort_unstable();
    let middle = times[times.len() / 2];
    let mut halves = Vec::new();
    for (name, range) in [("early", ["1h", middle]), ("late", [middle, "0s"])] {
        let topic = backfill.topic(name).await;
        backfill.run(0, &["--since", range[0], "--until", range[1], "--topic", &topic, "--yes"]);
        halves.push(backfill.read(name));
    }
    let [early, late] = [&halves[0], &halves[1]];
    assert!(early.values().flatten().all(|m| header(m, "ce_time") < middle));
    assert!(late.values().flatten().all(|m| header(m, "ce_time") >= middle));
    for (order, events) in original {
        let both = [early, late].into_iter().flat_map(|half| half.get(order).into_iter().flatten());
        assert_eq!(both.collect::<Vec<_>>(), events.iter().collect::<Vec<_>>(), "{order}");
    }
}

/// Killed when it was at work for a while: the same command goes on, and nothing is left out.
async fn killed_in_the_middle(backfill: &Backfill, original: &BTreeMap<String, Vec<Message>>) {
    let topic = backfill.topic("killed").await;
    let cursor = skald_harness::scratch("cursor").join("backfill.json");
    let file = cursor.to_str().expect("a plain path");
    let first = ["--since", "1h", "--topic", &topic, "--cursor", file, "--rate", "10", "--yes"];
    let mut child = Command::new(env!("CARGO_BIN_EXE_skald"))
        .args(backfill.args(&first))
        .stdout(Stdio::null())
        .spawn()
        .expect("the program runs");
    let published = |cursor: &Path| -> Option<u64> {
        let job: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(cursor).ok()?).ok()?;
        job["published"].as_u64()
    };
    skald_harness::eventually("some events", LIMIT, async || published(&cursor).filter(|n| *n >= 20)).await;
    child.kill().expect("killed");
    child.wait().expect("it is gone");
    let before = backfill.read("killed");
    assert!(before.len() < original.len(), "it was in the middle");
    assert!(backfill.run(2, &["--since", "2h", "--cursor", file, "--yes"]).contains("has a job already"));
    assert_eq!(backfill.read("killed"), before);
    backfill.run(0, &["--cursor", file, "--rate", "100000", "--yes"]);
    assert!(!cursor.exists(), "the job is done");
    let after = backfill.read("killed");
    // What was published before is not published again, but for the last chunk.
    let twice = after.values().map(Vec::len).sum::<usize>() - original.values().map(Vec::len).sum::<usize>();
    assert!(twice <= 20, "{twice} came twice");
    let mut kept = after;
    for events in kept.values_mut() {
        let mut last = String::new();
        events.retain(|event| {
            let newer = header(event, "ce_sequence") > last.as_str();
            if newer {
                header(event, "ce_sequence").clone_into(&mut last);
            }
            newer
        });
    }
    assert_eq!(&kept, original, "a consumer that drops what is not newer has everything");
}

/// Of a saga whose history was changed nothing is said; all others are told.
async fn what_was_spoilt_is_left_out(backfill: &Backfill, mut original: BTreeMap<String, Vec<Message>>) {
    let (spoilt, _) = original.pop_first().expect("an order");
    let flip = "update history set digest = digest # 1 where saga_id = $1::uuid and seq = 2";
    let mut sql = backfill.world.sql(Kind::Orchestrator).await;
    assert_eq!(sqlx::query(flip).bind(&spoilt).execute(&mut sql).await.unwrap().rows_affected(), 1);
    let topic = backfill.topic("spoilt").await;
    let out = backfill.run(1, &["--since", "1h", "--topic", &topic, "--yes", "--output", "jsonl"]);
    let lines: Vec<serde_json::Value> =
        out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(lines[0]["saga"], spoilt.as_str());
    assert!(lines[0]["left_out"].as_str().unwrap().starts_with("row 2: digest"), "{out}");
    assert_eq!((&lines[1]["summary"]["left_out"], &lines[1]["summary"]["sagas"]), (&1.into(), &29.into()));
    assert_eq!(backfill.read("spoilt"), original);
}
