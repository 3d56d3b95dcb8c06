//! What the command prints, how it ends, and `skald dev` from its start to its end.

mod board;
mod commands;
mod demo;
mod e2e;
mod problems;
mod tables;
mod text;
