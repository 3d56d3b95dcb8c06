//! `skald replay what-if`: reads sagas, has core run them under another definition, shows which would have gone
//! otherwise.

use std::path::PathBuf;

use skald_core::{history::Lineage, what_if::rerun};

use super::{
    Origin,
    progress::Progress,
    source::{ByHash, Source, Which},
    view::{self, Counts},
};
use crate::{
    definition::from_file,
    exit::{Exit, Failure},
    output::{self, Format, Rows},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Every saga that follows a definition of the same name is folded twice, by its own definition and by the file's. What the
participants answered, customers did and operators did is taken as recorded; what the other definition refuses is
dropped, and a deadline that it alone has fires when it is due. Nothing is invented: where it would have asked something
that nobody asked then, the saga is shown waiting for the answer. Nothing is written.

Exit codes: 0 whatever would have differed, 2 the definition is wrong, 5 the source can't be reached.

Examples:
  skald replay what-if --from postgres://reader@db/skald_orchestrator --since 7d --definition order-2.toml
  skald replay what-if --from histories.skald --definition order-2.toml --output jsonl")]
pub(super) struct Args {
    #[command(flatten)]
    from: Origin,
    /// The other definition, a TOML file with the same steps
    #[arg(long, value_name = "FILE")]
    definition: PathBuf,
    /// Show at most so many in the table
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// How sagas are printed
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub(super) output: Format,
}

pub(super) async fn run(args: Args) -> Result<Exit, Failure> {
    let new = from_file(&args.definition)?;
    let which = Which { since: args.from.since, all_active: false, rows: true, written: None };
    let mut source = Source::open(&args.from.from, which).await?;
    let progress = Progress::new("what if");
    let (mut counts, mut shown, mut seen) = (Counts::default(), Vec::new(), (0, 0));
    let mut rows = Rows::new(args.output);
    loop {
        let page = source.page().await?;
        if page.is_empty() {
            break;
        }
        for saga in page {
            seen = (seen.0 + 1, seen.1 + saga.rows.len() as u64);
            let known = source.definitions().get(&saga.definition);
            let Some(Ok(old)) = known.map(|known| &known.definition) else {
                counts.broken += 1;
                continue;
            };
            if old.name != new.name {
                counts.other += 1;
                continue;
            }
            match rerun(Lineage::new(old, &ByHash(source.definitions())), &new, &saga) {
                Err(_) => counts.broken += 1,
                Ok(rerun) if rerun.parts.is_none() && rerun.was == rerun.would => counts.same += 1,
                Ok(rerun) => {
                    let tally = if rerun.was == rerun.would { &mut counts.course } else { &mut counts.end };
                    *tally += 1;
                    if args.output != Format::Table {
                        progress.aside(|| rows.add(&view::rerun_json(saga.id, &rerun)))?;
                    } else if shown.len() < args.limit {
                        shown.push((saga.id, rerun));
                    }
                }
            }
        }
        progress.at(source.share(), seen.0, seen.1);
    }
    progress.clear();
    match args.output {
        Format::Table => output::line(&view::what_if(&shown, &counts, output::colours()))?,
        Format::Json | Format::Jsonl => {
            rows.add(&view::counts_json(&counts))?;
            rows.end()?;
        }
    }
    Ok(Exit::Ok)
}
