//! `skald replay export`: histories to a file. The file appears under its name only when it is whole.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use skald_core::{
    archive::{self, End, Header, Item, MAGIC, Recorded, append},
    history::Lineage,
};

use super::{
    Origin,
    progress::Progress,
    scrub,
    source::{ByHash, Source, Which},
    view::counted,
};
use crate::{
    exit::{Exit, Failure},
    output,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The file: the line `skald-history`, then protobuf records, each behind its length (a varint): a header with the format's
version, definitions, sagas with their whole history, an end that counts them. orchestrator/core/src/archive.rs has the
messages.

--scrub takes customer data out: customer ids, notes, payment tokens, sellers and references, names of operators and
callers, what people wrote as a reason, messages of participants; payloads of other types than the order's own are
emptied. What stays: order ids, times, SKUs, quantities, prices, codes. Digests cover what was taken out, so they are
computed anew on the way, and the header says so: a scrubbed file proves that replay agrees with itself, no longer that
it agrees with what was recorded. Sagas that do not verify are left out of it and counted, for scrubbing would paint over
what is wrong with them.

Exit codes: 0 written, 1 not written, 2 wrong usage, 5 the source can't be reached.

Examples:
  skald replay export --from postgres://reader@db/skald_orchestrator --to histories.skald
  skald replay export --from postgres://reader@db/skald_orchestrator --since 1d --scrub --to corpus.skald")]
pub(super) struct Args {
    #[command(flatten)]
    from: Origin,
    /// The file; it must not be there
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Take customer data out
    #[arg(long)]
    scrub: bool,
}

pub(super) async fn run(args: Args) -> Result<Exit, Failure> {
    if args.to.exists() {
        return Err(Failure::new(Exit::Failed, format!("{} is there already", args.to.display()))
            .advice("nothing was written; name another file"));
    }
    let which = Which { since: args.from.since, all_active: false, rows: true, written: None };
    let mut source = Source::open(&args.from.from, which).await?;
    let progress = Progress::new("export");
    let mut part = args.to.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    let written = write(&mut source, &part, args.scrub, &progress).await;
    progress.clear();
    let (end, left_out) = written.inspect_err(|_| drop(fs::remove_file(&part)))?;
    fs::rename(&part, &args.to).map_err(|error| unwritable(&args.to, &error))?;
    let (sagas, rows) = (counted(end.sagas, "saga"), counted(end.rows, "row"));
    let scrubbed = if args.scrub { ", scrubbed" } else { "" };
    let mut text = format!("{}: {sagas}, {rows}{scrubbed}", args.to.display());
    if left_out > 0 {
        text.push_str(&format!("\nleft out, for they do not verify: {}", counted(left_out, "saga")));
    }
    output::line(&text)?;
    Ok(Exit::Ok)
}

/// Gives what was written, and how many sagas were left out.
async fn write(
    source: &mut Source,
    to: &Path,
    scrub: bool,
    progress: &Progress,
) -> Result<(End, u64), Failure> {
    let mut file = fs::File::create(to).map_err(|error| unwritable(to, &error))?;
    let mut piece = MAGIC.to_vec();
    append(Item::Header(header(scrub || source.is_scrubbed())), &mut piece);
    let (mut end, mut left_out, mut defined) = (End::default(), 0, BTreeSet::new());
    loop {
        let page = source.page().await?;
        for (id, known) in source.definitions() {
            if defined.insert(*id) {
                append(Item::Definition(known.stored.clone()), &mut piece);
            }
        }
        if page.is_empty() {
            break;
        }
        for saga in page {
            let Some(saga) = (if scrub { scrubbed(source, &saga) } else { Some(saga) }) else {
                left_out += 1;
                continue;
            };
            end.sagas += 1;
            end.rows += saga.rows.len() as u64;
            append(Item::Saga(saga.into()), &mut piece);
        }
        file.write_all(&piece).map_err(|error| unwritable(to, &error))?;
        piece.clear();
        progress.at(source.share(), end.sagas, end.rows);
    }
    append(Item::End(end), &mut piece);
    let written = file.write_all(&piece).and_then(|()| file.sync_all());
    written.map_err(|error| unwritable(to, &error))?;
    Ok((end, left_out))
}

/// None: it does not verify.
fn scrubbed(source: &Source, saga: &Recorded) -> Option<Recorded> {
    let all = source.definitions();
    let known = all.get(&saga.definition)?;
    scrub::scrub(Lineage::new(known.definition.as_ref().ok()?, &ByHash(all)), saga)
}

fn header(scrubbed: bool) -> Header {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Header {
        version: archive::VERSION,
        exported_at: now.as_millis() as i64,
        by: env!("CARGO_PKG_VERSION").into(),
        scrubbed,
    }
}

fn unwritable(file: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("{} can't be written: {error}", file.display()))
        .advice("no file was left behind")
}
