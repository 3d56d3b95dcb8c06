//! The conformance kit: speaks to a participant as the orchestrator would on its worst day, and judges what it answers. Knows no
//! participant: what to send comes from a file of samples. [`rules`] decide without I/O, [`stand`](Stand) does.
//!
//! ```no_run
//! # async fn example() -> Result<(), String> {
//! use skald_conformance::{Hooks, Options, Samples, Stand, Transport};
//!
//! let samples = Samples::read("inventory.toml".as_ref())?;
//! let transport = Transport::grpc("http://127.0.0.1:7080")?;
//! let mut stand = Stand::new(transport, samples, Options::default(), Hooks::default());
//! let report = stand.judge_all(|finding| println!("{}", finding.line())).await?;
//! assert_eq!(report.failed(), 0);
//! # Ok(()) }
//! ```

mod case;
mod consistency;
mod hooks;
mod inbox;
mod report;
pub mod rules;
mod samples;
mod script;
mod stand;
mod transport;

pub use case::{Case, MARK, Ways, command_id};
pub use consistency::consistent;
pub use hooks::{Doing, Hook, Hooks};
pub use report::{Finding, Report, Result};
pub use rules::{Need, Rule, Scope};
pub use samples::{Action, Samples};
pub use script::{Act, Arrival, DeadLetter, Round, Seen, Sent, tell};
pub use stand::{Options, Stand};
pub use transport::{Brokers, Transport};
