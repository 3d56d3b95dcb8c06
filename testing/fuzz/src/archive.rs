//! Files of recorded sagas, as `skald replay` reads them: cut, foreign, lying about lengths, with hostile definitions and rows.

use std::collections::BTreeMap;

use prost::Message as _;
use skald_core::{
    Definition,
    archive::{Broken, Item, MAGIC, Recorded, append, take},
    history::Lineage,
    verify::verify,
};

use crate::{Target, golden::FILE};

pub(crate) const TARGET: Target = Target {
    name: "archive",
    about: "a file of recorded sagas, as `skald replay` reads it: read piece by piece, judged, never a panic",
    run,
    seeds,
    words: &["skald-history\n", "order", "reserve", "charge", "pay", "fulfil", "commit"],
};

fn run(file: &[u8]) {
    let Some(mut rest) = file.strip_prefix(MAGIC) else { return };
    let mut definitions: BTreeMap<i32, Definition> = BTreeMap::new();
    loop {
        let (item, length) = match take(rest) {
            Ok(Some(taken)) => taken,
            Ok(None) => return,
            Err(Broken::Foreign) => panic!("the magic was there"),
            Err(broken) => {
                assert!(broken.to_string().len() <= 1024, "{broken}");
                return;
            }
        };
        assert!(length >= 1 && length <= rest.len(), "it took what was there");
        // Half of it is not it.
        assert!(matches!(take(&rest[..length - 1]), Ok(None)), "a cut record is not whole");
        let mut again = Vec::new();
        append(item.clone(), &mut again);
        assert_eq!(take(&again).expect("readable").expect("whole"), (item.clone(), again.len()));
        rest = &rest[length..];
        match item {
            Item::Definition(stored) => {
                // One that breaks the rules is shown as wrong, and what follows it can't be folded.
                let sound = Definition::decode(&*stored.body).ok().filter(|read| read.check().is_empty());
                if let Some(sound) = sound {
                    definitions.insert(stored.id, sound);
                }
            }
            Item::Saga(saga) => judge(saga.clone(), &definitions),
            Item::Header(_) | Item::End(_) => {}
        }
    }
}

fn judge(saga: skald_core::archive::Saga, definitions: &BTreeMap<i32, Definition>) {
    let Ok(recorded) = Recorded::try_from(saga) else { return };
    let again = Recorded::try_from(skald_core::archive::Saga::from(recorded.clone())).expect("ours");
    assert_eq!(again, recorded);
    let Some(definition) = definitions.get(&recorded.definition) else { return };
    let known: Vec<Definition> = definitions.values().cloned().collect();
    for finding in verify(Lineage::new(definition, &known), &recorded) {
        assert_ne!(finding.code, "PANIC", "{finding:?}");
    }
}

/// The golden histories: a file for each of the sagas, which is small, with its definition.
fn seeds() -> Vec<Vec<u8>> {
    let mut rest = FILE.strip_prefix(MAGIC).expect("the golden file");
    let (mut before, mut seeds) = (BTreeMap::new(), Vec::new());
    let (mut header, mut all) = (Vec::new(), Vec::new());
    while let Ok(Some((item, length))) = take(rest) {
        let bytes = &rest[..length];
        rest = &rest[length..];
        match &item {
            Item::Header(_) => header = [MAGIC, bytes].concat(),
            Item::Definition(stored) => {
                before.insert(stored.id, bytes.to_vec());
                all.extend_from_slice(bytes);
            }
            Item::Saga(saga) => {
                let recorded = Recorded::try_from(saga.clone()).expect("golden");
                let moves = recorded.rows.iter().any(|row| row.input.len() > 64 && row.kind == 7);
                let own = if moves { &all } else { &before[&recorded.definition] };
                seeds.push([&header[..], own, bytes].concat());
            }
            Item::End(_) => seeds.push([&header[..], bytes].concat()),
        }
    }
    seeds
}
