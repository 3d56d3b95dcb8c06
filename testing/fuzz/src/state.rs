//! What is stored of a saga: bytes become a state, or are refused; whatever stands there can be looked at, and a sound one survives
//! every possible next input.

use skald_core::{FORMAT, fields, flight, invariants, probe, state};

use crate::{Target, golden::golden};

pub(crate) const TARGET: Target = Target {
    name: "state",
    about: "a saga's stored state: a format above ours is refused, what is sound survives every next input",
    run,
    seeds,
    words: &["reserve", "charge", "pay", "fulfil", "commit", "OUT_OF_STOCK", "CONTRADICTION", "MAX_AGE"],
};

/// How a state that makes no sense is told of; the second is how debug builds do.
const SEEN: &[&str] =
    &["invariant broken: ", "the state keeps its invariants: ", " is beyond what a saga comes to"];

fn run(bytes: &[u8]) {
    let Some((pick, rest)) = bytes.split_first_chunk::<2>() else { return };
    let Some((format, bytes)) = rest.split_first() else { return };
    let stand = golden().stand(u16::from_le_bytes(*pick));
    let format = u32::from(*format);
    let read = state::decode(format, bytes);
    if format > FORMAT {
        assert!(
            matches!(read, Err(state::Unreadable::Newer { found }) if found == format),
            "a newer format is refused"
        );
        return;
    }
    let Ok(read) = read else { return };
    let stored = state::encode(&read);
    assert_eq!(state::decode(FORMAT, &stored).expect("what we write we read"), read);
    // Looked at by whoever is on call, broken or not.
    let _ = (read.shown(), read.is_final(), flight::commands(&read));
    let _ = fields::first_difference(&read, &stand.state);
    let mut aligned = read.clone();
    if aligned.aligned(&stand.definition).is_none() {
        assert_eq!(aligned, read, "what does not fit is left alone");
        return;
    }
    let _ =
        (flight::deadlines(&stand.definition, &aligned), flight::next_deadline(&stand.definition, &aligned));
    if invariants::check(&stand.definition, &aligned).is_ok() {
        let mut found = probe::probe(&stand.definition, stand.saga, &aligned);
        // A state that no saga comes to may lead to another one. That is seen; it is no reason to fall over.
        found.retain(|(_, what)| !SEEN.iter().any(|seen| what.contains(seen)));
        assert!(found.is_empty(), "{found:?}");
    }
}

/// Each moment of the golden sagas.
fn seeds() -> Vec<Vec<u8>> {
    let stands = golden().stands.iter().enumerate();
    stands.map(|(n, s)| [&(n as u16).to_le_bytes()[..], &[1], &state::encode(&s.state)].concat()).collect()
}
