//! `skald definition`: compares definitions and says which running sagas could follow a new one; freezes and thaws them, and
//! moves running sagas, through the operator's desk ([`crate::operator::definitions`]).

pub mod view;

use std::path::{Path, PathBuf};

use skald_core::{
    Definition,
    definition::parse,
    state,
    transfer::{changes, obstacles},
};
use uuid::Uuid;

use crate::{
    exit::{Exit, Failure},
    operator::definitions,
    output::{self, Format, Rows},
    replay::source::{Definitions, Source, Which},
};
use view::Running;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show what there is, who follows it, and what is frozen
    List(definitions::List),
    /// Take no new sagas of it
    Freeze(definitions::One),
    /// Take new sagas of it again
    Thaw(definitions::One),
    /// Say what a new version changes, and which running sagas could move to it
    Check(Check),
    /// Move running sagas to another version
    Migrate(definitions::Migrate),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
OLD and NEW are TOML files, or stored definitions: order (the newest of that name) or order@2.

What a saga has entered is a fact: such a step must keep its participant, action and undo, and its place among what was
entered. What it has not entered may change. Looked at are active sagas that follow exactly OLD.

Exit codes: 0 every one of them could move, 1 some could not, 2 a file is wrong, 3 there is no such stored definition,
5 the database can't be reached.

Examples:
  skald definition check order.toml order-2.toml
  skald definition check order order-2.toml --from postgres://reader@db/skald_orchestrator")]
struct Check {
    /// What sagas follow now
    old: String,
    /// What they would follow
    new: String,
    /// An orchestrator's database, which is only read
    #[arg(long, value_name = "DSN")]
    from: Option<String>,
    /// Show at most so many sagas that could not move in the table
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// How it is printed
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
}

impl Args {
    pub(crate) fn format(&self) -> Format {
        match &self.command {
            Command::List(args) => args.format(),
            Command::Freeze(args) | Command::Thaw(args) => args.format(),
            Command::Check(args) => args.output,
            Command::Migrate(args) => args.format(),
        }
    }
}

pub(crate) async fn run(args: Args) -> Result<Exit, Failure> {
    match args.command {
        Command::List(args) => args.run().await,
        Command::Freeze(args) => args.freeze().await,
        Command::Thaw(args) => args.thaw().await,
        Command::Check(args) => check(args).await,
        Command::Migrate(args) => args.run().await,
    }
}

async fn check(args: Check) -> Result<Exit, Failure> {
    let which = Which { since: Uuid::max(), all_active: true, rows: false, written: None };
    let mut source = match &args.from {
        Some(from) => Some(Source::open(from, which).await?),
        None => None,
    };
    let stored = source.as_ref().map(Source::definitions);
    let (old, new) = (named(&args.old, stored)?, named(&args.new, stored)?);
    let changes = changes(&old, &new);
    let mut rows = Rows::new(args.output);
    let running = match &mut source {
        Some(source) => Some(look(&args, source, &mut rows, &old, &new).await?),
        None => None,
    };
    match args.output {
        Format::Table => {
            output::line(&view::text(&old, &new, &changes, running.as_ref(), output::colours()))?;
        }
        Format::Json | Format::Jsonl => {
            rows.add(&view::json(&old, &new, &changes, running.as_ref()))?;
            rows.end()?;
        }
    }
    Ok(if running.is_some_and(|running| running.stay > 0) { Exit::Failed } else { Exit::Ok })
}

/// Looks at every running saga that follows the old one.
async fn look(
    args: &Check,
    source: &mut Source,
    rows: &mut Rows,
    old: &Definition,
    new: &Definition,
) -> Result<Running, Failure> {
    let mut running = Running::default();
    loop {
        let page = source.page().await?;
        if page.is_empty() {
            return Ok(running);
        }
        for saga in page {
            let known = source.definitions().get(&saga.definition);
            let follows = known.and_then(|known| known.definition.as_ref().ok());
            match follows {
                Some(follows) if follows == old => {}
                Some(follows) if follows.name == old.name => {
                    running.other += 1;
                    continue;
                }
                _ => continue,
            }
            let (at, why) = match state::decode(saga.format, &saga.state) {
                Ok(state) => (format!("{:?}", state.shown()).to_uppercase(), obstacles(&state, old, new)),
                Err(unreadable) => (String::new(), vec![unreadable.to_string()]),
            };
            if why.is_empty() {
                running.move_on += 1;
                continue;
            }
            running.stay += 1;
            if args.output != Format::Table {
                rows.add(&view::saga_json(saga.id, &at, &why))?;
            } else if running.shown.len() < args.limit {
                running.shown.push((saga.id, at, why));
            }
        }
    }
}

/// A file, or a stored definition: `order`, `order@2`.
fn named(name: &str, stored: Option<&Definitions>) -> Result<Definition, Failure> {
    let path = PathBuf::from(name);
    if path.exists() || name.ends_with(".toml") || name.contains('/') {
        return from_file(&path);
    }
    let Some(stored) = stored else {
        return Err(Failure::new(Exit::Usage, format!("{name} is no file"))
            .advice("name a TOML file, or give --from DSN for a stored definition"));
    };
    let (wanted, version) =
        name.split_once('@').map_or((name, None), |(name, version)| (name, Some(version)));
    let fits = |d: &&Definition| d.name == wanted && version.is_none_or(|v| d.version.to_string() == v);
    let found = stored.values().rev().filter_map(|known| known.definition.as_ref().ok()).find(fits);
    let names = || stored.values().map(|known| known.name().replace(' ', "@")).collect::<Vec<_>>().join(", ");
    found.cloned().ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("no definition {name} is stored"))
            .advice(format!("there are: {}", names()))
    })
}

/// Reads a definition's TOML file.
///
/// # Errors
/// [`Exit::Usage`]: it can't be read, or breaks a rule; each is named.
pub(crate) fn from_file(path: &Path) -> Result<Definition, Failure> {
    let wrong = |why: String| Failure::new(Exit::Usage, format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    parse(&text).map_err(|error| wrong(error.to_string()))
}
