//! How much work tests may do: `SKALD_BUDGET=ci` (default) or `full`.

/// How much a test may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// Minutes for the whole suite on two cores.
    Ci,
    /// As long as it takes.
    Full,
}

impl Budget {
    /// One value for each: `budget().pick(50, 200)` orders.
    pub fn pick<T>(self, ci: T, full: T) -> T {
        match self {
            Self::Ci => ci,
            Self::Full => full,
        }
    }
}

/// The budget of this run.
///
/// # Panics
/// When `SKALD_BUDGET` is neither `ci` nor `full`: a typing error must not shrink a run in silence.
#[must_use]
pub fn budget() -> Budget {
    match std::env::var("SKALD_BUDGET").as_deref() {
        Err(_) | Ok("" | "ci") => Budget::Ci,
        Ok("full") => Budget::Full,
        Ok(other) => panic!("SKALD_BUDGET is `{other}`; it can be ci or full"),
    }
}
