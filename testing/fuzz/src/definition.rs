//! Definition files, and definitions as they are stored: read, checked, encoded canonically; refused with a message.

use prost::Message as _;
use skald_core::{Definition, State, definition::parse, transfer};

use crate::{Target, golden::golden};

pub(crate) const TARGET: Target = Target {
    name: "definition",
    about: "a definition file, or a stored definition (behind a NUL): canonical once it was read, refused with a message",
    run,
    seeds,
    words: &[
        "name = ",
        "version = ",
        "input = ",
        "stages = [",
        "max_age = ",
        "[[step]]",
        "signal = true",
        "participant = ",
        "action = ",
        "undo = ",
        "no_effect = true",
        "pivot = true",
        "after = [",
        "needs = [",
        "stage = ",
        "deadline = ",
        "on_deadline = ",
        "on_rejected = \"park\"",
        "retry = {",
        "first = ",
        "factor = ",
        "max = ",
        "attempts = ",
        "slow = ",
        "[reasons]",
        "30m",
        "38days",
        "nan",
        "1e400",
    ],
};

/// The longest refusal, as a multiple of the file: it may quote lines of it, and says a rule per step.
const WORDS: usize = 64 * 1024;

fn run(bytes: &[u8]) {
    if let Some(stored) = bytes.strip_prefix(&[0]) {
        return self::stored(stored);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let read = match parse(text) {
        Ok(read) => read,
        Err(error) => {
            let said = error.to_string();
            assert!(
                !said.is_empty() && said.len() <= WORDS + 8 * text.len(),
                "{} bytes are said",
                said.len()
            );
            return;
        }
    };
    assert!(read.check().is_empty(), "what was taken keeps the rules");
    let body = read.encode_to_vec();
    let again = Definition::decode(&*body).expect("what we write we read");
    assert_eq!((again.encode_to_vec(), again.hash()), (body, read.hash()), "canonical");
    assert_eq!(again, read);
    assert_eq!(parse(text).expect("as before"), read, "the same file is the same definition");
    used(&read);
}

/// Bytes that stand for a definition: what keeps the rules can be followed.
fn stored(bytes: &[u8]) {
    let Ok(read) = Definition::decode(bytes) else { return };
    let broken = read.check();
    assert!(broken.iter().all(|rule| !rule.to_string().is_empty()));
    if broken.is_empty() {
        used(&read);
    }
}

/// A saga follows it, and others could move to it.
fn used(definition: &Definition) {
    let fresh = State::new(definition);
    assert_eq!(fresh.steps.len(), definition.steps.len());
    let pivots = definition.steps.iter().filter(|step| step.pivot).count();
    assert!(pivots <= 1);
    for stand in golden().stands.iter().step_by(37) {
        let _ = transfer::changes(&stand.definition, definition);
        let _ = transfer::obstacles(&stand.state, &stand.definition, definition);
    }
    let found = skald_core::probe::probe(definition, golden().stands[0].saga, &started(definition, fresh));
    assert!(found.is_empty(), "{found:?}");
}

/// The saga after its first input.
fn started(definition: &Definition, mut state: State) -> State {
    let cx =
        skald_core::machine::Context { saga: golden().stands[0].saga, definition, now: 1_700_000_000_000 };
    let started = skald_core::Input::Started(skald_core::input::Started::default());
    skald_core::advance(cx, &mut state, &started).expect("a saga can start");
    state
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![include_bytes!("../../../orchestrator/core/definitions/order.toml").to_vec()];
    let stored = |definition: &Definition| [&[0][..], &definition.encode_to_vec()].concat();
    seeds.extend(golden().definitions.iter().map(stored));
    seeds.push(b"name = \"x\"\nversion = 1\nmax_age = \"1d\"\n[[step]]\nname = \"a\"\nparticipant = \"p\"\naction = \"a\"\nno_effect = true\n".to_vec());
    seeds
}
