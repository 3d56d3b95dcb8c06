//! Rows of a history: what is stored becomes an input, and an input is folded, whatever it says and whenever it says that it came.

use skald_core::{Input, input};

use crate::{
    Target,
    golden::{fold, golden},
};

pub(crate) const TARGET: Target = Target {
    name: "history",
    about: "a row of a saga's history: bytes become an input, which is folded at any time into any saga",
    run,
    seeds,
    words: &["reserve", "charge", "pay", "fulfil", "commit", "inventory", "payment", "COMPENSATE", "t/x"],
};

fn run(bytes: &[u8]) {
    let Some((pick, rest)) = bytes.split_first_chunk::<2>() else { return };
    let Some((now, row)) = rest.split_first_chunk::<8>() else { return };
    let stand = golden().stand(u16::from_le_bytes(*pick));
    let now = i64::from_le_bytes(*now);
    let read = match input::decode(row) {
        Ok(read) => read,
        Err(why) => {
            assert!(why.to_string().starts_with("not an input: "), "{why}");
            return;
        }
    };
    let stored = input::encode(&read);
    let again = input::decode(&stored).expect("what we write we read");
    match (&read, &again) {
        // Its signals stand in the stored request.
        (Input::Started(one), Input::Started(other)) => {
            assert_eq!(one.request_hash, other.request_hash);
        }
        _ => assert_eq!(read, again, "decoded, encoded, decoded"),
    }
    assert_eq!(input::encode(&again), stored, "one encoding for one input");
    assert!(!Input::kind_name(read.kind()).is_empty());
    fold(stand, now, &read);
    fold(stand, stand.state.now + 1000, &read);
}

/// Every row of the golden histories, at the moment before it.
fn seeds() -> Vec<Vec<u8>> {
    let stands = golden().stands.iter().enumerate();
    let rows = stands.filter_map(|(n, stand)| stand.next.as_ref().map(|row| (n, row)));
    let seed =
        |n: usize, at: i64, input: &[u8]| [&(n as u16).to_le_bytes()[..], &at.to_le_bytes(), input].concat();
    // At its time, and at the end of all time.
    rows.flat_map(|(n, row)| [seed(n, row.at, &row.input), seed(n, i64::MAX - (n as i64), &row.input)])
        .collect()
}
