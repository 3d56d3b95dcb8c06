//! The core's tests: tables of whole changes, one file per kind of input; properties; golden histories.
//!
//! - `SKALD_BUDGET=ci|full`: how many random cases ([`random`])
//! - `SKALD_BLESS=1`: writes the golden files anew ([`golden`])

mod archive;
mod beyond;
mod cancel;
mod contradiction;
mod deadline;
mod definition;
mod definitions;
mod golden;
mod history;
mod invariants;
mod migrate;
mod operator;
mod outcome_failed;
mod outcome_run;
mod outcome_seal;
mod outcome_undo;
mod plan;
mod probe;
mod properties;
mod random;
mod signal;
mod started;
mod support;
mod transfer;
mod verify;
mod what_if;
mod world;
