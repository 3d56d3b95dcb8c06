//! Known bugs that a test puts in, to see that the simulation finds them: in the core, in the participants' runtime, and in what is only
//! executed. Without the feature `planted` none can be switched on.

/// Puts one bug in, for this thread; an empty name takes it out.
#[cfg(feature = "planted")]
pub fn set(name: &str) {
    skald_core::planted::set(name);
    skald_participant::planted::set(name);
}

/// Whether this bug is in.
pub(crate) fn is(name: &str) -> bool {
    skald_core::planted::is(name)
}
