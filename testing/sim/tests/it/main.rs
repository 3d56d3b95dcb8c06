//! The simulation's own tests: its promises hold over a budget of seeds, it is deterministic, and it finds what is planted.

mod determinism;
#[cfg(feature = "planted")]
mod gate;
#[cfg(feature = "planted")]
mod planted;
#[cfg(not(feature = "planted"))]
mod seeds;
