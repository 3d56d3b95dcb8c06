//! A saga that moves to another definition in the middle of a batch.

use std::sync::Arc;

use skald_core::{
    Input,
    definition::parse,
    input::{Act, Migrate, Operator},
    plan::{Ask, Fate, plan},
};

use super::batch;
use crate::{
    definitions::order,
    support::{self, saga},
};

#[test]
fn a_saga_that_moves_is_written_and_sent_by_the_definition_that_it_moves_to() {
    let text = include_str!("../../../definitions/order.toml");
    let added = "[[step]]\nname = \"notify\"\nparticipant = \"mail\"\naction = \"send\"\nno_effect = true\n\
                 after = [\"reserve\"]\n# From here on";
    let text = text.replace("version = 1", "version = 2").replace("# From here on", added);
    let text = text.replace("pivot = true\n", "pivot = true\nafter = [\"fulfil\", \"notify\"]\n");
    let new = Arc::new(parse(&text).expect("sound"));
    let waits = saga(&order()).started().succeeded("reserve");
    let migrate = Migrate { from: order().hash().into(), to: new.hash().into() };
    let operator = |expected_version| {
        let (request_id, reason) = ("r".into(), "because".into());
        let act = Some(Act::Migrate(migrate.clone()));
        Input::Operator(Operator { request_id, expected_version, reason, act })
    };
    let batch = batch(5_000)
        .with(1, &waits)
        .ask(1, Ask::Move(new.clone(), operator(2)))
        .ask(1, Ask::Move(new.clone(), operator(2)))
        .ask(1, Ask::Fold(Input::Signal(support::a_signal("pay", "p"))));
    let done = plan(batch.now, batch.items, batch.loaded, &batch.frozen);
    let fates: Vec<_> = done.settled.iter().map(|(_, fate)| matches!(fate, Fate::Accepted { .. })).collect();
    assert_eq!(fates, [true, false, true], "{:?}", done.settled);
    assert_eq!(done.writes[0].definition, new);
    let sent: Vec<_> = done.sends.iter().map(|s| (s.participant.as_str(), s.action.as_str())).collect();
    assert_eq!(sent, [("payment", "charge"), ("mail", "send")]);
}
