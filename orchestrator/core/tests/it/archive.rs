//! Files of recorded sagas: what was written is read again, what is cut or foreign is found out, and every file of the
//! corpus (`tests/golden/corpus`) replays. An export of a real database, scrubbed, may be put there.

use std::{collections::BTreeMap, fs};

use prost::Message;
use skald_core::{
    Definition,
    archive::{self, Broken, End, Header, Item, MAGIC, Recorded, Stored, append, take},
    verify::verify,
};

use crate::{golden, history::histories, verify::recorded};

/// Every golden history in one file.
fn file() -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    let header = Header { version: archive::VERSION, exported_at: 1, by: "0.1.0".into(), scrubbed: false };
    append(Item::Header(header), &mut file);
    let (mut known, mut end) = (Vec::<[u8; 32]>::new(), End::default());
    for (i, (_, saga)) in histories().into_iter().enumerate() {
        let hash = saga.definition.hash();
        let id = known.iter().position(|h| *h == hash).unwrap_or_else(|| {
            known.push(hash);
            let (name, body) = (saga.definition.name.clone(), saga.definition.encode_to_vec());
            append(
                Item::Definition(Stored { id: known.len() as i32 - 1, name, hash: hash.into(), body }),
                &mut file,
            );
            known.len() - 1
        });
        let saga = Recorded { definition: id as i32, ..recorded(&saga) };
        end = End { sagas: i as u64 + 1, rows: end.rows + saga.rows.len() as u64 };
        append(Item::Saga(saga.into()), &mut file);
    }
    append(Item::End(end), &mut file);
    file
}

/// All records.
fn items(file: &[u8]) -> Result<Vec<Item>, Broken> {
    let mut rest = file.strip_prefix(MAGIC).ok_or(Broken::Foreign)?;
    let mut items = Vec::new();
    while let Some((item, length)) = take(rest)? {
        items.push(item);
        rest = &rest[length..];
    }
    assert!(rest.is_empty(), "{} bytes are left over", rest.len());
    Ok(items)
}

#[test]
fn what_is_written_is_read_again() {
    let items = items(&file()).expect("a file");
    let sagas: Vec<Recorded> = items
        .iter()
        .filter_map(|item| match item {
            Item::Saga(saga) => Some(saga.clone().try_into().expect("a saga")),
            _ => None,
        })
        .collect();
    let written = histories();
    assert_eq!(sagas.len(), written.len());
    for (read, (name, saga)) in sagas.into_iter().zip(&written) {
        let definition = read.definition;
        assert_eq!(read, Recorded { definition, ..recorded(saga) }, "{name}");
    }
    let rows = written.iter().map(|(_, saga)| saga.rows.len() as u64).sum();
    assert_eq!(items.last(), Some(&Item::End(End { sagas: written.len() as u64, rows })));
}

#[test]
fn every_file_of_the_corpus_replays() {
    let name = "corpus/golden.skald-history";
    if golden::blessing() {
        fs::create_dir_all(golden::path("corpus")).expect("the corpus");
        fs::write(golden::path(name), file()).expect("written");
    }
    assert!(fs::read(golden::path(name)).expect("the corpus") == file(), "{name} is not what is written now");
    for entry in fs::read_dir(golden::path("corpus")).expect("the corpus") {
        let path = entry.expect("a file").path();
        let mut definitions = BTreeMap::new();
        for item in items(&fs::read(&path).expect("a file")).expect("records") {
            match item {
                Item::Definition(stored) => {
                    let definition = Definition::decode(&*stored.body).expect("a definition");
                    assert_eq!(definition.hash().to_vec(), stored.hash);
                    definitions.insert(stored.id, definition);
                }
                Item::Saga(saga) => {
                    let saga = Recorded::try_from(saga).expect("a saga");
                    let found = verify(&definitions[&saga.definition], &saga);
                    assert_eq!(found, [], "{}: saga {}", path.display(), saga.id);
                }
                Item::Header(_) | Item::End(_) => {}
            }
        }
    }
}

#[test]
fn what_is_cut_asks_for_more() {
    let file = file();
    let bytes = &file[MAGIC.len()..];
    let (_, first) = take(bytes).expect("a record").expect("a whole one");
    for length in 0..first {
        assert_eq!(take(&bytes[..length]), Ok(None), "{length} bytes");
    }
}

#[test]
fn what_is_broken_or_newer_is_refused() {
    let mut newer = Vec::new();
    append(Item::Header(Header { version: archive::VERSION + 1, ..Header::default() }), &mut newer);
    assert_eq!(take(&newer), Err(Broken::Newer(archive::VERSION + 1)));
    for bytes in [&[0xff; 12][..], &[0xff, 0xff, 0xff, 0xff, 0x7f], &[2, 0x0a, 0x09], &[0]] {
        assert!(matches!(take(bytes), Err(Broken::Record(_))), "{bytes:?}");
    }
    let Item::Saga(mut saga) = items(&file()).expect("records").remove(2) else { panic!("a saga") };
    saga =
        archive::Saga::decode(&[&saga.encode_to_vec()[..], &[0x0a, 1, 7]].concat()[..]).expect("a message");
    assert!(matches!(Recorded::try_from(saga), Err(Broken::Record(_))));
}
