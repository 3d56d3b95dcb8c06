//! A saga goes on under another version of its definition. What it has entered is a fact and stays as it is; what the new
//! version lets it enter at once is entered.

use super::{Context, Refused, course, operator};
use crate::{
    definition::Definition,
    input::{Act, Input},
    state::{Phase, State},
    transfer::{self, obstacles},
};

/// The definition that an input moves the saga to; None: it is another input.
pub(super) fn target<'a>(
    cx: Context<'_>,
    to: Option<&'a Definition>,
    saga: &State,
    input: &Input,
) -> Result<Option<&'a Definition>, Refused> {
    let Input::Operator(operator) = input else { return Ok(None) };
    let Some(Act::Migrate(migrate)) = &operator.act else { return Ok(None) };
    if saga.version == 0 {
        return Err(Refused::Malformed("the saga has not started".into()));
    }
    operator::is_seen(saga, operator)?;
    let missing = || Refused::Malformed("the definition that it is to follow is not at hand".into());
    let to = to.filter(|to| to.hash() == *migrate.to).ok_or_else(missing)?;
    let no = |why: String| Err(Refused::NotAllowed(why));
    if migrate.from == migrate.to {
        return no(format!("it follows {} already", transfer::name(to)));
    }
    if cx.definition.hash() != *migrate.from {
        return no(format!(
            "it follows {}, which is not what it was to leave",
            transfer::name(cx.definition)
        ));
    }
    if saga.is_final() {
        return no(format!("it is {:?}: nothing of it is left to follow a definition", saga.phase()));
    }
    let too_old = |age_ms: u64| saga.created_at.saturating_add(age_ms as i64) <= cx.now;
    let forward = saga.phase() == Phase::Forward;
    if forward && too_old(to.max_age_ms) && !too_old(cx.definition.max_age_ms) {
        let age = transfer::time(to.max_age_ms);
        return no(format!("it is older than max_age there ({age}): it would be ended for that at once"));
    }
    let obstacles = obstacles(saga, cx.definition, to);
    if obstacles.is_empty() { Ok(Some(to)) } else { no(obstacles.join("; ")) }
}

/// Goes on under the definition of `cx`, which is the new one. On its way back nothing changes: what is to be undone
/// was entered, and so is the same in both.
pub(super) fn fold(cx: Context<'_>, saga: &mut State) {
    if saga.phase() == Phase::Forward {
        course::forward(cx, saga);
    }
}
