//! What `skald bench` can be told, with the reasons for its defaults.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args as ClapArgs, ValueEnum};

use super::services::NAMES;

/// Measures this machine: real PostgreSQL (fsync on), real Kafka, orchestrator, inventory and payment as separate
/// processes, a load generator over gRPC. 5 % of the orders are declined, 2 % out of stock. Verifies stock and money at
/// the end; exit code 1 when anything does not add up.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Seconds of the measured phase
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Measure until so many orders have ended, instead of for some seconds
    #[arg(long, value_name = "N", conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1..))]
    pub orders: Option<u64>,
    /// Hold this many orders per second, measured from the moment at which each was due; without it, as many as go
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub rate: Option<u64>,
    /// Orders between their submission and their end at most, without --rate
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub in_flight: u64,
    /// SubmitOrders streams, each on a connection of its own
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub streams: u64,
    /// Submit with one SubmitOrder call per order instead of streams
    #[arg(long)]
    pub unary: bool,
    /// Seconds under load before anything is measured: a cold Java machine costs twice as much
    #[arg(long, value_name = "S", default_value_t = 15, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    pub warm_up: u64,
    /// Seconds with one order in flight at a time; 0 leaves this phase out
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    pub unloaded: u64,
    /// Different articles
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub skus: u64,
    /// Articles among them that half of all lines ask for
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=100_000))]
    pub hot_skus: u64,
    /// Lines of each order
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10))]
    pub lines: u64,
    /// Partitions of each topic. Few partitions make large batches
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub partitions: u64,
    /// A PostgreSQL to use instead of a private one: postgres://user@host:port; databases of our own are made in it and
    /// dropped at the end
    #[arg(long, value_name = "URL")]
    pub postgres: Option<String>,
    /// A Kafka to use instead of a private one: host:port,…; topics get a prefix of their own and are deleted at the end
    #[arg(long, value_name = "BOOTSTRAP")]
    pub kafka: Option<String>,
    /// A setting of one service, repeatable: orchestrator.driver.workers=2
    #[arg(long = "set", value_name = "SERVICE.SECTION.FIELD=VALUE", value_parser = Setting::parse)]
    pub set: Vec<Setting>,
    /// Keep data and logs in this folder; else they go away, unless something went wrong
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// json: one JSON object as the last line of standard output
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// How the figures are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For eyes.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// `orchestrator.driver.workers=2`: a setting of one service, as a variable of its environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Whose.
    pub(super) service: String,
    /// The variable's name.
    pub(super) variable: String,
    /// Its value.
    pub(super) value: String,
}

impl Setting {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let parts = || {
            let (path, value) = text.split_once('=')?;
            let (service, path) = path.split_once('.')?;
            let known = NAMES.contains(&service) && path.contains('.');
            known.then(|| Self {
                service: service.to_owned(),
                variable: format!("SKALD_{}", path.replace('.', "__").to_uppercase()),
                value: value.to_owned(),
            })
        };
        parts().with_context(|| {
            format!("--set {text}: expected SERVICE.SECTION.FIELD=VALUE, SERVICE one of {}", NAMES.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_becomes_a_variable() {
        let setting = Setting::parse("orchestrator.driver.workers=2").unwrap();
        assert_eq!(setting.variable, "SKALD_DRIVER__WORKERS");
        assert_eq!((setting.service.as_str(), setting.value.as_str()), ("orchestrator", "2"));
        assert_eq!(
            Setting::parse("payment.kafka.properties={\"a\"=\"b=c\"}").unwrap().value,
            "{\"a\"=\"b=c\"}"
        );
        for wrong in
            ["", "orchestrator", "orchestrator.driver=2", "nobody.driver.workers=2", "payment.calls.x"]
        {
            assert!(Setting::parse(wrong).is_err(), "{wrong}");
        }
    }
}
