//! Messages that make no sense become dead letters, whole; the partition moves on.

use prost::Message as _;
use skald_kit::kafka::Message;
use skald_proto::{
    order::v1::OrderStatus,
    participant::v1::{Command, Outcome, Succeeded, Undone, Verb, outcome::Answer},
};

use crate::support::{DEADLINE, Participant, Reader, World, yes};

const NOBODY: &str = "0193f6a0-0000-7000-8000-000000000000";

fn outcome(command: &Command, change: impl FnOnce(&mut Outcome)) -> Vec<u8> {
    let mut outcome = Outcome {
        protocol: 1,
        saga_id: command.saga_id.clone(),
        step: command.step.clone(),
        verb: command.verb,
        epoch: command.epoch,
        attempt: command.attempt,
        participant: "inventory".into(),
        answer: Some(yes(command)),
    };
    change(&mut outcome);
    outcome.encode_to_vec()
}

fn header<'a>(message: &'a Message, name: &str) -> &'a str {
    message.header_str(name).unwrap_or_else(|| panic!("{name} in {:?}", message.headers))
}

/// Every letter stands in the table, whole, and the saga that the keys name on the list of those that need a person.
async fn on_the_operators_list(world: &World, id: &str, letters: usize) {
    let kept: Vec<(String, Vec<u8>, serde_json::Value)> =
        skald_harness::eventually("the letters in the table", DEADLINE, async || {
            let kept =
                "select reason, payload, headers from dead_letter where saga_id = $1::uuid and state = 'OPEN'
                         order by kafka_offset";
            let kept: Vec<_> = sqlx::query_as(kept).bind(id).fetch_all(&mut world.sql().await).await.unwrap();
            if kept.len() == letters { Ok(kept) } else { Err(kept.len()) }
        })
        .await;
    assert!(
        kept.iter().any(|(reason, payload, _)| reason.starts_with("UNDECODABLE") && payload == &[0xff; 40])
    );
    assert!(kept.iter().all(|(.., headers)| headers.to_string().contains("skald-origin-offset")));
    let entry: (String, String) = sqlx::query_as("select step, kind from attention where saga_id = $1::uuid")
        .bind(id)
        .fetch_one(&mut world.sql().await)
        .await
        .unwrap();
    assert_eq!(entry, (String::new(), "DEAD_LETTER".into()));
    assert_eq!(world.order(id).await.status(), OrderStatus::Completed, "its state is untouched");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_kept_whole_and_the_partition_moves_on() {
    let world = World::start().await;
    let kafka = &world.config.kafka;
    let inventory = Participant::start(kafka, "inventory", |_| None).await;
    let payment = Participant::start(kafka, "payment", |c| Some(yes(c))).await;
    let dead = Reader::of(kafka, "skald.inventory.outcomes.dlq");
    let dead_payment = Reader::of(kafka, "skald.payment.outcomes.dlq");
    let id = world.submit("k").await;
    let command = inventory.command(&id, "reserve", Verb::Run).await;

    let succeeded = || Some(Answer::Succeeded(Succeeded { result: None }));
    let large = prost_types::Any { type_url: "t".into(), value: vec![1; 64 * 1024 + 1] };
    let senseless: Vec<(&str, Vec<u8>)> = vec![
        ("UNDECODABLE: not an outcome", vec![0xff; 40]),
        ("UNDECODABLE: protocol 9", outcome(&command, |o| o.protocol = 9)),
        ("UNDECODABLE: saga_id", outcome(&command, |o| o.saga_id = "nobody".into())),
        ("UNDECODABLE: an outcome without an answer", outcome(&command, |o| o.answer = None)),
        ("UNKNOWN_SAGA", outcome(&command, |o| o.saga_id = NOBODY.into())),
        ("MALFORMED: order has no step", outcome(&command, |o| o.step = "nonsense".into())),
        ("MALFORMED", outcome(&command, |o| o.verb = 77)),
        ("MALFORMED", outcome(&command, |o| (o.verb, o.answer) = (Verb::Undo.into(), succeeded()))),
        ("MALFORMED", outcome(&command, |o| o.answer = Some(Answer::Undone(Undone::default())))),
        ("MALFORMED", outcome(&command, |o| o.epoch = 2)),
        ("MALFORMED: \"pay\" is a signal", outcome(&command, |o| o.step = "pay".into())),
        ("IMPOSTOR: payment", outcome(&command, |o| o.participant = "payment".into())),
        // It says who it is, but the step is another's.
        ("IMPOSTOR: charge is payment's", outcome(&command, |o| o.step = "charge".into())),
        (
            "TOO_LARGE",
            outcome(&command, |o| o.answer = Some(Answer::Succeeded(Succeeded { result: Some(large) }))),
        ),
        // The reason quotes what is five times as long when it is quoted: nothing would take such a letter, and it would be sent
        // again for ever.
        ("UNDECODABLE: saga_id", outcome(&command, |o| o.saga_id = "\u{1}".repeat(500_000))),
        ("MALFORMED: order has no step", outcome(&command, |o| o.step = "\u{1}".repeat(500_000))),
        // As large as a broker takes: with the headers that a dead letter has more, it would not take it.
        ("UNDECODABLE: not an outcome", vec![0xff; 1_000_000]),
    ];
    let speaker = inventory.speaker();
    for (n, (_, payload)) in senseless.iter().enumerate() {
        speaker.raw(&id, payload, None, &[("n", n.to_string().as_bytes()), ("traceparent", b"abc")]);
    }
    // Behind them in the same partition: the true answer.
    inventory.speaker().say(&command, yes(&command), None);
    let commit = inventory.command(&id, "commit", Verb::Run).await;
    inventory.speaker().say(&commit, yes(&commit), None);
    world.until(&id, OrderStatus::Completed).await;

    let letters = skald_harness::eventually("every dead letter", DEADLINE, async || {
        let letters = dead.messages.lock().unwrap().clone();
        if letters.len() == senseless.len() { Ok(letters) } else { Err(letters.len()) }
    })
    .await;
    let mut offsets = std::collections::BTreeSet::new();
    for (n, (reason, payload)) in senseless.iter().enumerate() {
        let letter = letters.iter().find(|l| header(l, "n") == n.to_string()).unwrap();
        assert!(letter.payload == *payload, "{reason}: its bytes");
        assert_eq!(letter.key.as_deref(), Some(id.as_bytes()), "{reason}: its key");
        assert_eq!(header(letter, "traceparent"), "abc", "{reason}: its headers");
        assert!(
            header(letter, "skald-reason").starts_with(reason),
            "{reason}: {}",
            header(letter, "skald-reason")
        );
        assert_eq!(header(letter, "skald-origin-topic"), kafka.topic("skald.inventory.outcomes"));
        assert!(header(letter, "skald-origin-partition").parse::<i32>().is_ok());
        assert_eq!(header(letter, "skald-attempts"), "1");
        offsets.insert(header(letter, "skald-origin-offset").parse::<i64>().unwrap());
    }
    assert_eq!(offsets.len(), senseless.len(), "each has its place");
    world.all_finished("skald.inventory.outcomes").await;
    on_the_operators_list(&world, &id, senseless.len()).await;
    assert_eq!(payment.asked(&id).len(), 1);
    assert!(dead_payment.messages.lock().unwrap().is_empty());
    crate::replay::every_history(&world).await;
    world.stop().await;
}
