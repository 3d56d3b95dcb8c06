//! The simulation finds what is planted. A binary of its own, so that `./dev test` can build it with the bugs in and everything else as
//! the other tests have it.

mod bugs;
mod gate;
