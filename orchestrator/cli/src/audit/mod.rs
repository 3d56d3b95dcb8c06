//! `skald audit`: do stock and money add up? Plain SQL over all databases, read-only; shares nothing with the services but
//! the messages in which an order is stored. [`read`] fetches, [`judge`] decides without I/O.

pub mod judge;
mod read;

use serde_json::json;

use crate::{
    exit::{Exit, Failure},
    migrate::with_database,
    output::{
        self, Format, Rows,
        style::Tone,
        table::{Cell, Table},
    },
};
use judge::Violation;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "It may run at any time, beside running services: what an order's state promises is asked for after that state was
read. Without a simulated gateway's books, the provider's own records stay unread: compare them with Reconcile.

Exit codes: 0 all adds up, 1 something does not: each violation is named with its order or SKU; 3 there is no such order.

Examples:
  skald audit --postgres postgres://skald@db:5432
  skald audit 01a1fc55-06c2-7a24-8a90-7eefed93ca12 --postgres postgres://skald@db:5432"
)]
pub(crate) struct Args {
    /// This order alone: its id, the first 8 digits of it or more, or the last 6 or more
    order_id: Option<String>,
    /// A server with the databases skald_orchestrator, skald_inventory and skald_payment
    #[arg(long, value_name = "URL", env = "SKALD_AUDIT_POSTGRES", hide_env_values = true,
          required_unless_present_all = ["orchestrator", "inventory", "payment"])]
    postgres: Option<String>,
    /// The orchestrator's database, where it is elsewhere
    #[arg(long, value_name = "URL", env = "SKALD_AUDIT_ORCHESTRATOR", hide_env_values = true)]
    orchestrator: Option<String>,
    /// Inventory's
    #[arg(long, value_name = "URL", env = "SKALD_AUDIT_INVENTORY", hide_env_values = true)]
    inventory: Option<String>,
    /// Payment's
    #[arg(long, value_name = "URL", env = "SKALD_AUDIT_PAYMENT", hide_env_values = true)]
    payment: Option<String>,
    /// table, json, or jsonl: one object a line
    #[arg(long, short, value_enum, value_name = "FORMAT", hide_possible_values = true, default_value_t = Format::Table)]
    output: Format,
}

impl Args {
    pub(crate) fn format(&self) -> Format {
        self.output
    }

    fn url(&self, own: Option<&String>, database: &str) -> String {
        let server = self.postgres.as_deref().unwrap_or_default();
        own.cloned().unwrap_or_else(|| with_database(server, database))
    }
}

/// What was looked at, and what was found.
#[derive(Debug, Default)]
pub struct Report {
    /// Orders, those under way included.
    pub orders: u64,
    /// SKUs.
    pub skus: u64,
    /// Steps that a person vouched for: nothing is judged of them.
    pub vouched: u64,
    /// Whether a gateway's books could be read.
    pub gateway: bool,
    /// All that does not add up.
    pub violations: Vec<Violation>,
}

pub(crate) async fn run(args: Args) -> Result<Exit, Failure> {
    let urls = [
        args.url(args.orchestrator.as_ref(), "skald_orchestrator"),
        args.url(args.inventory.as_ref(), "skald_inventory"),
        args.url(args.payment.as_ref(), "skald_payment"),
    ];
    let report = read::report(&urls, args.order_id.as_deref()).await?;
    match args.output {
        Format::Table => output::line(&text(&report, output::colours()))?,
        Format::Json | Format::Jsonl => {
            let mut rows = Rows::new(args.output);
            for v in &report.violations {
                rows.add(&json!({ "rule": v.rule, "about": v.about, "what": v.what }))?;
            }
            rows.add(&json!({ "orders": report.orders, "skus": report.skus, "vouched": report.vouched,
                              "gateway": report.gateway, "violations": report.violations.len() }))?;
            rows.end()?;
        }
    }
    Ok(if report.violations.is_empty() { Exit::Ok } else { Exit::Failed })
}

/// For eyes.
pub fn text(report: &Report, colours: bool) -> String {
    let Report { orders, skus, vouched, gateway, violations } = report;
    let books = if *gateway { "the gateway's books" } else { "no gateway's books" };
    let mut out = format!("{orders} orders, {skus} SKUs, {books}");
    if *vouched > 0 {
        out += &format!("; {vouched} steps stand on a person's word and were not judged");
    }
    if violations.is_empty() {
        return format!("{out}\n{}", Tone::Good.paint("all adds up", colours));
    }
    let mut table = Table::new(&["RULE", "ORDER OR SKU", "WHAT"]);
    for v in violations {
        table.row([Cell::new(v.rule, Tone::Bad), Cell::from(&v.about), Cell::from(&v.what)]);
    }
    format!("{out}\n{}\n{} violations", table.render(colours), violations.len())
}
