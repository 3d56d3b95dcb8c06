//! `skald replay verify`: reads sagas, has core judge them, shows what is wrong. Carries on past bad ones.

use std::collections::BTreeSet;

use skald_core::{
    archive::Recorded,
    history::Lineage,
    probe::probe,
    state,
    verify::{Finding, verify},
};

use super::{
    Origin,
    progress::Progress,
    source::{ByHash, Definitions, Known, Source, Which},
    view::{self, Tally},
};
use crate::{
    exit::{Exit, Failure},
    output::{self, Format, Rows},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The gate before a deployment, run with the candidate's binary. Every accepted input is folded again, and row by row the
digest of state and effects is compared with the recorded one; then the stored state with the one that the history leads
to. A saga that moved to another version of its definition is folded by each for the rows that it decided. On every active saga each possible next input is tried: none may panic, break an invariant or lead to a state that
can't be stored. Only digests are recorded of rows in the middle, so the first differing field is known of the last
state alone. Columns `actor` and `at` of a row: `at` is part of the state, `actor` is in no digest.

The database is read in small read-only snapshots, so it may be the one that is in use.

Exit codes: 0 clean, 1 something differs, 2 wrong usage, 5 the source can't be reached.

Examples:
  skald replay verify --from postgres://reader@db/skald_orchestrator
  skald replay verify --from postgres://reader@db/skald_orchestrator --since 7d --all-active
  skald replay verify --from histories.skald --output jsonl | jq -r .saga")]
pub(super) struct Args {
    #[command(flatten)]
    from: Origin,
    /// With --since: and every active saga, however old
    #[arg(long)]
    all_active: bool,
    /// How findings are printed
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub(super) output: Format,
}

pub(super) async fn run(args: Args) -> Result<Exit, Failure> {
    let which = Which { since: args.from.since, all_active: args.all_active, rows: true, written: None };
    let mut source = Source::open(&args.from.from, which).await?;
    let tally = Tally { scrubbed: source.is_scrubbed(), ..Tally::default() };
    let (output, rows) = (args.output, Rows::new(args.output));
    let mut run = Run { output, rows, progress: Progress::new("replay"), tally, told: BTreeSet::new() };
    // A panic is a finding like any other; its own report would tear the bar.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let read = run.read(&mut source).await;
    std::panic::set_hook(hook);
    run.progress.clear();
    read?;
    let tally = Tally { seconds: run.progress.seconds(), ..run.tally };
    match args.output {
        Format::Table => output::line(&view::tally(&tally, output::colours()))?,
        Format::Json | Format::Jsonl => {
            run.rows.add(&view::tally_json(&tally))?;
            run.rows.end()?;
        }
    }
    Ok(if tally.is_clean() { Exit::Ok } else { Exit::Failed })
}

/// A run and what it has seen.
struct Run {
    output: Format,
    rows: Rows,
    progress: Progress,
    tally: Tally,
    /// Definitions that were shown as wrong.
    told: BTreeSet<i32>,
}

impl Run {
    async fn read(&mut self, source: &mut Source) -> Result<(), Failure> {
        loop {
            let page = source.page().await?;
            self.definitions(source.definitions())?;
            if page.is_empty() {
                return Ok(());
            }
            for saga in &page {
                self.saga(source.definitions(), saga)?;
            }
            self.progress.at(source.share(), self.tally.sagas, self.tally.rows);
        }
    }

    /// Shows what is wrong with definitions, each once.
    fn definitions(&mut self, definitions: &Definitions) -> Result<(), Failure> {
        for (id, known) in definitions.iter().filter(|(_, known)| !known.wrong.is_empty()) {
            if self.told.insert(*id) {
                self.tally.definitions += 1;
                let json = || view::definition_json(known);
                let text = |colours| view::definition(known, colours);
                show(&self.progress, self.output, &mut self.rows, json, text)?;
            }
        }
        Ok(())
    }

    /// Judges a saga and shows what is wrong with it.
    fn saga(&mut self, definitions: &Definitions, saga: &Recorded) -> Result<(), Failure> {
        let known = definitions.get(&saga.definition);
        let found = judge(known, definitions, saga);
        self.tally.count(saga, !found.is_empty());
        if found.is_empty() {
            return Ok(());
        }
        let name = known.map(Known::name).unwrap_or_default();
        let json = || view::saga_json(saga, &name, &found);
        let text = |colours| view::saga(saga, &name, &found, colours);
        show(&self.progress, self.output, &mut self.rows, json, text)
    }
}

/// Shows one thing beside the bar.
fn show(
    progress: &Progress,
    format: Format,
    rows: &mut Rows,
    json: impl FnOnce() -> serde_json::Value,
    text: impl FnOnce(bool) -> String,
) -> Result<(), Failure> {
    progress.aside(|| match format {
        Format::Table => output::line(&text(output::colours())),
        Format::Json | Format::Jsonl => rows.add(&json()),
    })
}

/// Everything that is wrong with one saga.
fn judge(known: Option<&Known>, all: &Definitions, saga: &Recorded) -> Vec<Finding> {
    let definition = match known.map(|known| &known.definition) {
        None => {
            let what = format!("its definition, number {}, is not there", saga.definition);
            return vec![Finding::of_saga("DEFINITION", what)];
        }
        Some(Err(why)) => return vec![Finding::of_saga("DEFINITION", why)],
        Some(Ok(definition)) => definition,
    };
    let mut found = verify(Lineage::new(definition, &ByHash(all)), saga);
    // What this binary would go on from is the stored state.
    if saga.active
        && let Ok(state) = state::decode(saga.format, &saga.state)
    {
        let probed = probe(definition, saga.id, &state).into_iter();
        found.extend(probed.map(|(name, what)| Finding::of_saga("PROBE", format!("{name}: {what}"))));
    }
    found
}
