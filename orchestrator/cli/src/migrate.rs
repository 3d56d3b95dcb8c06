//! `skald migrate`: brings databases up to date before a service starts, for those who do not let services do it.

use std::path::PathBuf;

use skald_kit::config::Secret;

use crate::{
    exit::{Exit, Failure},
    output::{self, Format, Rows},
    serve::settings,
};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Services do the same when they start. Several at once are safe. A database that a newer program has migrated is refused.

Examples:
  skald migrate orchestrator --config orchestrator.toml
  SKALD_POSTGRES__URL=postgres://skald@db/skald_payment skald migrate payment
  skald migrate all --postgres postgres://skald@db:5432"
)]
pub(crate) struct Args {
    /// Whose database
    #[arg(value_enum)]
    which: Which,
    /// The service's settings, a TOML file; variables win over it
    #[arg(long, value_name = "FILE", env = "SKALD_CONFIG", conflicts_with = "postgres")]
    config: Option<PathBuf>,
    /// A server instead: the databases skald_orchestrator, skald_inventory and skald_payment on it
    #[arg(long, value_name = "URL", required_if_eq("which", "all"))]
    postgres: Option<String>,
    /// table, json, or jsonl: one object a line
    #[arg(long, short, value_enum, value_name = "FORMAT", hide_possible_values = true, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    Orchestrator,
    Inventory,
    Payment,
    /// All three, on one server
    All,
}

pub(crate) async fn run(args: Args) -> Result<Exit, Failure> {
    let which = match args.which {
        Which::All => vec![Which::Orchestrator, Which::Inventory, Which::Payment],
        one => vec![one],
    };
    let mut rows = Rows::new(args.output);
    for one in which {
        let (name, url) = url(one, &args)?;
        migrate(one, &url).await.map_err(|error| problem(error, &url))?;
        let url = url.url_without_password();
        match args.output {
            Format::Table => output::line(&format!("{name:<12}  up to date  {url}"))?,
            Format::Json | Format::Jsonl => {
                rows.add(
                    &serde_json::json!({ "service": name, "database": url.to_string(), "up_to_date": true }),
                )?;
            }
        }
    }
    rows.end()?;
    Ok(Exit::Ok)
}

fn url(which: Which, args: &Args) -> Result<(&'static str, Secret), Failure> {
    let file = args.config.as_deref();
    let named = |database: &str| args.postgres.as_ref().map(|url| Secret::new(with_database(url, database)));
    Ok(match which {
        Which::Orchestrator | Which::All => {
            let own = || settings::<skald_server::Config>(file).map(|config| config.postgres.url);
            ("orchestrator", named("skald_orchestrator").map_or_else(own, Ok)?)
        }
        Which::Inventory => {
            let own = || settings::<skald_inventory::Config>(file).map(|config| config.postgres.url);
            ("inventory", named("skald_inventory").map_or_else(own, Ok)?)
        }
        Which::Payment => {
            let own = || settings::<skald_payment::Config>(file).map(|config| config.postgres.url);
            ("payment", named("skald_payment").map_or_else(own, Ok)?)
        }
    })
}

async fn migrate(which: Which, url: &Secret) -> anyhow::Result<()> {
    match which {
        Which::Orchestrator | Which::All => Ok(skald_server::migrate(url).await?),
        Which::Inventory => skald_inventory::migrate(url).await,
        Which::Payment => skald_payment::migrate(url).await,
    }
}

fn problem(error: anyhow::Error, url: &Secret) -> Failure {
    let shown = url.url_without_password();
    let database = error.chain().find_map(|cause| cause.downcast_ref::<sqlx::Error>());
    let (exit, advice) = match database {
        Some(sqlx::Error::Io(_)) => (Exit::Unavailable, "is the server running, and is that its address?"),
        Some(sqlx::Error::Database(refused)) if refused.code().as_deref() == Some("3D000") => {
            (Exit::Failed, "create the database first: CREATE DATABASE …")
        }
        _ => (Exit::Failed, ""),
    };
    let failure = Failure::from(error);
    Failure { exit, message: format!("{shown}: {}", failure.message), ..failure }.advice(advice)
}

/// The same server, another database.
pub fn with_database(url: &str, database: &str) -> String {
    let (rest, query) = url.split_once('?').map_or((url, None), |(rest, query)| (rest, Some(query)));
    let start = rest.find("://").map_or(0, |at| at + 3);
    let authority = rest[start..].split('/').next().unwrap_or_default();
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}{authority}/{database}{query}", &rest[..start])
}
