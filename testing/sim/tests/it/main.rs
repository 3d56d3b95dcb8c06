//! The simulation's own tests: its promises hold over a budget of seeds, and it is deterministic. What it finds is in `tests/planted`.

mod determinism;
mod seeds;
