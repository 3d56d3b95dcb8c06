//! Counts and times that no saga comes to are refused where a state or an input is read.

use skald_core::{Input, Refused, State, input::Started, machine::Context, state};
use uuid::Uuid;

use crate::definitions::order;

/// What follows from it would have no number, or no time.
#[test]
fn a_state_with_counts_or_times_that_no_saga_comes_to_is_refused() {
    let sound = State { version: i32::MAX as u32, now: 1 << 52, ..State::new(&order()) };
    assert_eq!(state::decode(1, &state::encode(&sound)).unwrap(), sound);
    let change: [fn(&mut State); 4] = [
        |s| s.version += 1,
        |s| s.now = i64::MAX,
        |s| s.steps[0].epoch = u32::MAX,
        |s| s.steps[0].give_up_at = i64::MIN,
    ];
    for change in change {
        let mut beyond = sound.clone();
        change(&mut beyond);
        let error = state::decode(1, &state::encode(&beyond)).unwrap_err().to_string();
        assert!(error.ends_with("is beyond what a saga comes to"), "{error}");
    }
    let mut saga = State::new(&order());
    let cx = Context { saga: Uuid::nil(), definition: &order(), now: i64::MAX };
    let refused = skald_core::advance(cx, &mut saga, &Input::Started(Started::default())).unwrap_err();
    assert_eq!(refused, Refused::Malformed(format!("{} ms is a time that no clock shows", i64::MAX)));
    assert_eq!(saga, State::new(&order()));
}
