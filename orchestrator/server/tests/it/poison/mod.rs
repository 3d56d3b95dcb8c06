//! Inputs that can't be understood or handled: kept whole, and nobody else waits for them.

mod letters;
mod quarantine;
mod reread;
