//! What the command prints, how it ends, and `skald dev` from its start to its end.

#![allow(clippy::print_stdout, reason = "a test that kills says what it hit")]

mod audit;
mod board;
mod commands;
mod conformance;
mod definition;
mod demo;
mod desk;
mod desks;
mod e2e;
mod ids;
mod letters;
mod problems;
mod replay;
mod sagas;
mod tables;
mod text;
