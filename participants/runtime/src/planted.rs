//! Known bugs that the simulation's tests put in, to see that each is found. Nothing that ships is built with the feature `planted`;
//! without it, none can be switched on and every question costs nothing.

#[cfg(feature = "planted")]
thread_local! {
    static BUG: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
}

/// Puts one bug in, for this thread; an empty name takes it out.
#[cfg(feature = "planted")]
pub fn set(name: &str) {
    BUG.with_borrow_mut(|bug| name.clone_into(bug));
}

/// Whether this bug is in.
#[cfg(feature = "planted")]
#[must_use]
pub fn is(name: &str) -> bool {
    BUG.with_borrow(|bug| bug == name)
}

/// Whether this bug is in: never.
#[cfg(not(feature = "planted"))]
#[must_use]
pub const fn is(_name: &str) -> bool {
    false
}
