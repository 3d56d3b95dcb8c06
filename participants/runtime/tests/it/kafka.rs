//! Commands over Kafka: one poll with several of one saga, repeats, what is too old, and what can't be handled.

use std::sync::{Arc, atomic::Ordering};

use prost::Message as _;
use skald_kit::{
    kafka::{Message, partition_for_id},
    partitions,
};
use skald_participant::{Verb, dead_letter};
use skald_proto::participant::v1 as wire;
use uuid::Uuid;

use crate::{
    house::{House, TRACE, ask, by_saga, command, names, saga, saga_of},
    toy::Toy,
};

/// Design section 10, test 2: all three lie in the topic before the participant starts, so one poll brings them.
#[tokio::test(flavor = "multi_thread")]
async fn reserve_reserve_release_in_one_poll() {
    let house = House::new("poll").await;
    let id = saga();
    let (reserve, release) = (command(&id, "reserve", Verb::Run), command(&id, "release", Verb::Undo));
    house.send(&[reserve.clone(), reserve, release]).await;
    house.start(Toy::default()).await;
    let outcomes = house.outcomes(3).await;
    let mut told = names(&outcomes);
    told.sort();
    assert_eq!(told, ["succeeded", "succeeded", "undone"]);
    assert_eq!(house.barrier(&id).await, "RS US");
    assert_eq!(house.shelf().await, (100, 0));
    assert_eq!(house.thing(&id).await, Some(("L".to_owned(), 2)));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_repeat_gets_the_first_verdict_also_after_a_restart() {
    let house = House::new("repeat").await;
    let ids: Vec<String> = (0..40).map(|_| saga()).collect();
    let of = |action, verb| ids.iter().map(|id| command(id, action, verb)).collect::<Vec<_>>();
    house.start(Toy::default()).await;
    house.send(&of("reserve", Verb::Run)).await;
    house.send(&of("reserve", Verb::Run)).await;
    house.outcomes(80).await;
    house.stop().await;
    assert_eq!(house.shelf().await, (60, 40));

    house.start(Toy::default()).await;
    let mut again = of("reserve", Verb::Run);
    again.iter_mut().for_each(|command| command.attempt = 2);
    house.send(&again).await;
    house.send(&of("release", Verb::Undo)).await;
    house.send(&of("reserve", Verb::SealRun)).await;
    let outcomes = by_saga(&house.outcomes(200).await);
    for id in &ids {
        let mut told = outcomes[id].clone();
        told.sort();
        assert_eq!(told, ["succeeded", "succeeded", "succeeded", "succeeded", "undone"], "{id}");
    }
    assert_eq!(house.shelf().await, (100, 0));
    house.stop().await;
}

/// Design section 10, test 10: everything comes again after the barrier forgot it.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_barrier_forgot_is_refused() {
    let house = House::new("old").await;
    let (old, young) = (saga_of(60), saga());
    // sixty days ago it was reserved: there was a partition, and a row in it
    let barrier = partitions::Table { schema: "skald", name: "barrier" };
    let at = i64::try_from(old.parse::<Uuid>().expect("an id").as_u128() >> 80).expect("48 bits");
    let mut sql = house.sql().await;
    partitions::ensure(&mut sql, barrier, at, at, None).await.expect("made");
    let row = "insert into skald.barrier (saga_id, step, epoch, verb, verdict) values ($1::uuid, 'reserve', 1, 'R', 'S')";
    sqlx::query(row).bind(&old).execute(&mut sql).await.expect("inserted");

    house.send(&[command(&old, "reserve", Verb::Run), command(&young, "reserve", Verb::Run)]).await;
    let future = saga_of(-60);
    house.send(&[command(&future, "reserve", Verb::Run), command(&old, "release", Verb::Undo)]).await;
    house.start(Toy::default()).await;
    let outcomes = by_saga(&house.outcomes(4).await);
    assert_eq!(outcomes[&old], ["failed TOO_OLD final", "failed TOO_OLD final"]);
    assert_eq!(outcomes[&young], ["succeeded"]);
    assert_eq!(outcomes[&future], ["failed FROM_THE_FUTURE"]);
    assert_eq!(house.shelf().await, (99, 1), "only the young one took something");

    // a partition that goes while the participant runs: its bounds are looked at again
    let youngest = saga();
    let known = partitions::existing(&mut sql, barrier).await.expect("listed");
    let now = i64::try_from(youngest.parse::<Uuid>().expect("an id").as_u128() >> 80).expect("48 bits");
    let present = known.iter().find(|p| p.lower <= now && now < p.upper).expect("this week's");
    partitions::drop_before(&mut sql, barrier, present.upper).await.expect("dropped");
    house.send(&[command(&youngest, "reserve", Verb::Run)]).await;
    assert_eq!(by_saga(&house.outcomes(5).await)[&youngest], ["failed TOO_OLD final"]);
    assert_eq!(house.shelf().await, (99, 1));
    house.stop().await;
}

/// Nothing that can't be understood or handled holds up what stands behind it, and it is kept whole.
#[tokio::test(flavor = "multi_thread")]
async fn poison_is_kept_whole_and_the_partition_moves_on() {
    let house = House::new("poison").await;
    let at = |id: &str| id.parse::<Uuid>().expect("an id");
    let good = saga();
    let undecodable = b"\xff\x00no protobuf";
    let headers: &[(&str, &[u8])] = &[("traceparent", TRACE.as_bytes()), ("mine", b"\x00\x01")];
    house.produce(at(&good), None, undecodable, headers);
    let mut malformed = command("not-an-id", "reserve", Verb::Run);
    house.produce(at(&good), Some(b"not-an-id"), &malformed.encode_to_vec(), &[]);
    malformed.saga_id = saga();
    house.produce(at(&good), Some(b"another key"), &malformed.encode_to_vec(), &[]);
    // in one wave with good ones: one that makes the database refuse, one that panics
    let mut poison = command(&saga(), "reserve", Verb::Run);
    poison.step = "poison".to_owned();
    let mut panics = command(&saga(), "reserve", Verb::Run);
    panics.step = "panic".to_owned();
    let mut unknown = command(&saga(), "paint", Verb::Run);
    unknown.step = "paint".to_owned();
    let mut later = command(&saga(), "reserve", Verb::Run);
    later.protocol = 2;
    let mut busy = command(&saga(), "reserve", Verb::Run);
    busy.step = "busy".to_owned();
    let others: Vec<wire::Command> = (0..5).map(|_| command(&saga(), "reserve", Verb::Run)).collect();
    let mut all = vec![poison.clone(), unknown.clone(), panics.clone(), later.clone(), busy.clone()];
    all.extend(others.iter().cloned());
    for c in &all {
        house.produce(at(&good), Some(c.saga_id.as_bytes()), &c.encode_to_vec(), &[]);
    }
    house.send(&[command(&good, "reserve", Verb::Run)]).await;
    let toy = Toy::default();
    let panicked = Arc::clone(&toy.panics);
    let address = house.start(toy).await;

    let dead = house.read("commands.dlq", 5).await;
    let outcomes = house.read("outcomes", 9).await;
    let outcomes: Vec<wire::Outcome> =
        outcomes.iter().map(|m| wire::Outcome::decode(m.payload.as_slice()).expect("an outcome")).collect();
    let told = by_saga(&outcomes);
    assert_eq!(told[&good], ["succeeded"], "the partition moved on");
    assert_eq!(told[&unknown.saga_id], ["failed UNIMPLEMENTED"]);
    assert_eq!(told[&later.saga_id], ["failed UNIMPLEMENTED"]);
    assert_eq!(told[&busy.saga_id], ["failed BUSY"]);
    assert!(others.iter().all(|c| told[&c.saga_id] == ["succeeded"]), "{told:?}");
    assert_eq!(house.shelf().await, (94, 6), "the culprits took nothing");
    for c in [&poison, &panics, &unknown, &later, &busy] {
        assert_eq!(house.barrier(&c.saga_id).await, "", "nothing is stored for {}", c.step);
    }

    let offset = |message: &Message| header(message, dead_letter::OFFSET);
    let find = |offset_wanted: &str| dead.iter().find(|m| offset(m) == offset_wanted).expect("a dead letter");
    let first = find("0");
    assert_eq!(first.payload, undecodable, "byte for byte");
    assert_eq!(first.key.as_deref(), Some(good.as_bytes()));
    assert_eq!(first.header("mine"), Some(b"\x00\x01".as_slice()));
    assert_eq!(first.header_str("traceparent"), Some(TRACE));
    assert!(header(first, dead_letter::REASON).contains("undecodable"));
    assert_eq!(header(first, dead_letter::ATTEMPTS), "1");
    assert_eq!(header(first, dead_letter::TOPIC), house.config.kafka.topic("skald.toy.commands"));
    let partition = partition_for_id(at(&good), house.config.kafka.partitions);
    assert_eq!(header(first, dead_letter::PARTITION), partition.to_string());
    assert!(header(find("1"), dead_letter::REASON).contains("saga_id"));
    assert!(header(find("2"), dead_letter::REASON).contains("another key"));
    let refused = find("3");
    assert_eq!(refused.payload, poison.encode_to_vec());
    assert!(header(refused, dead_letter::REASON).contains("no number"), "{refused:?}");
    assert_eq!(header(refused, dead_letter::ATTEMPTS), "3", "it failed alone three times");
    assert!(header(find("5"), dead_letter::REASON).contains("the toy panics"));

    // alone from the start it fails exactly so often; over a stream nobody answers it
    let before = panicked.load(Ordering::Relaxed);
    panics.saga_id = saga();
    assert_eq!(names(&ask(&address, &[panics]).await), ["failed POISONED final"]);
    assert_eq!(panicked.load(Ordering::Relaxed) - before, 3);

    // all offsets are finished: the group's position is the end
    house.stop().await;
    assert_eq!(house.committed(at(&good)).await, Some(3 + all.len() as i64 + 1));
}

fn header(message: &Message, name: &str) -> String {
    message.header_str(name).unwrap_or_default().to_owned()
}
