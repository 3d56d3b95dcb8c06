//! Nobody answers: nothing burns, nobody is flooded, and what can't be known is asked for as long as it takes.

mod kafka;
mod participant;
mod pivot;
