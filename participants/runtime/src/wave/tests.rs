//! Each row: what a poll brought, and the waves that it is cut into.

use super::*;

/// `a.run` is the first attempt of saga a; `a.run2` the second; `*` another content under the same name.
fn command(text: &str) -> Command {
    let (saga, rest) = text.split_once('.').expect("saga.verb");
    let (verb, verb_text) = [("run", Verb::Run), ("undo", Verb::Undo), ("seal", Verb::SealRun)]
        .into_iter()
        .find_map(|(name, verb)| rest.strip_prefix(name).map(|left| (verb, left)))
        .expect("a verb");
    Command {
        protocol: 1,
        saga: Uuid::from_u128(u128::from(saga.as_bytes()[0])),
        step: "reserve".to_owned(),
        verb,
        epoch: 1,
        attempt: verb_text.trim_end_matches('*').parse().unwrap_or(1),
        action: if verb_text.ends_with('*') { "other" } else { "reserve" }.to_owned(),
        input: None,
        needs: vec![],
        traceparent: None,
    }
}

#[test]
fn a_poll_is_cut_into_waves() {
    for (poll, waves) in [
        ("", vec![]),
        ("a.run", vec!["a.run:0"]),
        ("a.run b.run c.undo", vec!["a.run:0 b.run:1 c.undo:2"]),
        ("a.run a.undo", vec!["a.run:0", "a.undo:1"]),
        // an exact repeat is decided once and answered twice
        ("a.run a.run a.undo", vec!["a.run:0,1", "a.undo:2"]),
        ("a.run a.undo a.run", vec!["a.run:0,2", "a.undo:1"]),
        ("a.run b.run a.run b.undo a.undo b.undo", vec!["a.run:0,2 b.run:1", "b.undo:3,5 a.undo:4"]),
        // another attempt is another command
        ("a.run a.run2 a.run2", vec!["a.run:0", "a.run2:1,2"]),
        // so is another content under the same name: the barrier decides, not this room
        ("a.run a.run*", vec!["a.run:0", "a.run*:1"]),
        ("a.undo a.seal a.run b.run", vec!["a.undo:0 b.run:3", "a.seal:1", "a.run:2"]),
    ] {
        let deliveries = poll.split_whitespace().enumerate();
        let cut = cut(deliveries.map(|(origin, text)| Delivery { command: command(text), origin }).collect());
        let parse = |wave: &&str| {
            let items = wave.split_whitespace().map(|item| {
                let (text, origins) = item.split_once(':').expect("origins");
                let origins = origins.split(',').map(|n| n.parse().expect("a number")).collect();
                Item { command: command(text), origins }
            });
            items.collect::<Vec<Item<usize>>>()
        };
        assert_eq!(cut, waves.iter().map(parse).collect::<Vec<_>>(), "{poll}");
    }
}
