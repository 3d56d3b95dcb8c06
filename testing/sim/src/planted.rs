//! Known bugs that a test puts in, to see that the simulation finds them. Without the feature `planted` none can be switched on.

/// Whether this bug is in.
#[cfg(feature = "planted")]
pub(crate) fn is(name: &str) -> bool {
    skald_core::planted::is(name)
}

/// Whether this bug is in: never.
#[cfg(not(feature = "planted"))]
pub(crate) const fn is(_name: &str) -> bool {
    false
}
