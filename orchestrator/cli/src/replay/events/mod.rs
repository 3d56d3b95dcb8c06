//! `skald replay events`: domain events of a time range once more, for a consumer that lost its data. Made again from
//! the histories, as they were; reads the database, and changes nothing in it.

mod fold;
mod job;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use serde_json::{Value, json};
use skald_core::{archive::Recorded, history::Lineage};
use skald_kit::{
    ids,
    kafka::topics,
    outbox::{self, Publisher},
};
use skald_server::Config;
use uuid::Uuid;

use super::{
    database::Database,
    progress::Progress,
    source::{ByHash, Which},
    time,
    view::{counted, thousands},
};
use crate::{
    exit::{Exit, Failure},
    operator::confirm,
    output::{
        self, Format, Rows,
        style::Tone,
        table::{Cell, pairs},
    },
    serve::settings,
};
use job::Job;

/// Clocks of instances differ by less.
const MARGIN_MS: i64 = 3_600_000;
/// Events that are on their way at once at most.
const CHUNK: f64 = 500.0;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Publishes the events of `orders.events` that happened from --since to before --until again: same key, headers, id,
sequence and bytes, for they are made from the histories as they were then. A consumer that drops what is not newer
drops what it has. Per order they come in their order, orders one after the other. Histories are kept for 45 days. A
saga whose history this binary does not fold to its digests is left out and named; `skald replay verify` says why. The
other participants' events (payments.events, inventory.updated) are not made here.

Database, brokers and topics are the orchestrator's settings. The database is only read. It counts and shows first, then
asks; --yes does not. --topic names another topic, which must be there, with its full name.

With --cursor it can be stopped at any time: the same command goes on, without --since, --until and --topic, for they
stand in the file. Events of the last second may come twice then. At the end the file is removed.

Exit codes: 0 all were published, 1 some sagas were left out, or it failed, 2 wrong usage, 4 the answer was no, 5 a
server can't be reached.

Examples:
  skald replay events --config orchestrator.toml --since 2026-11-20 --until 2026-11-21 --dry-run
  skald replay events --config orchestrator.toml --since 3h --topic backfill.orders --cursor backfill.json --rate 500")]
pub(super) struct Args {
    /// The orchestrator's settings, a TOML file; variables win over it
    #[arg(long, value_name = "FILE", env = "SKALD_CONFIG")]
    config: Option<PathBuf>,
    /// Events from then on: 2026-11-21, 2026-11-21T04:00:00Z, or an age such as 7d
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<i64>,
    /// Events before then; now, when it is not given
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<i64>,
    /// Another topic, by its full name
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// Events per second
    #[arg(long, value_name = "N", value_parser = rate, default_value = "1000")]
    rate: f64,
    /// Keeps how far it is; when the file is there, its job goes on
    #[arg(long, value_name = "FILE")]
    cursor: Option<PathBuf>,
    /// Count, publish nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Publish without counting and asking first
    #[arg(long)]
    yes: bool,
    /// How it is told
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub(super) output: Format,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.1..=1_000_000.0).contains(rate));
    rate.ok_or_else(|| format!("{text:?} is no rate: 0.1 to 1000000"))
}

/// What was seen, and published if it was to be.
#[derive(Debug, Default)]
struct Tally {
    /// Sagas with events of the range.
    sagas: u64,
    kinds: BTreeMap<String, u64>,
    /// Sagas that were left out.
    wrong: u64,
}

pub(super) async fn run(args: Args) -> Result<Exit, Failure> {
    let config: Config = settings(args.config.as_deref())?;
    let mut job = job(&args, &config)?;
    if !args.dry_run && topics::partitions(&config.kafka, &job.topic).await?.is_none() {
        let missing = Failure::new(Exit::Failed, format!("there is no topic {}", job.topic));
        return Err(missing.advice("nothing was published; create it first, or name another one"));
    }
    let mut rows = Rows::new(args.output);
    if args.dry_run {
        let seen = pass(&args, &config, &mut job.clone(), None, &mut rows).await?;
        show(args.output, rows, &job, &seen, "it would publish")?;
        return Ok(exit(&seen));
    }
    if !args.yes {
        let unsaid = &mut Rows::new(Format::Table);
        let seen = pass(&args, &config, &mut job.clone(), None, unsaid).await?;
        eprintln!("{}", text(&job, &seen, "it would publish", output::style::colours(&std::io::stderr())));
        confirm(&format!("Publish {} to {}", counted(seen.events(), "event"), job.topic))?;
    }
    let publisher = Publisher::new(&config.kafka)
        .map_err(|error| Failure::new(Exit::Usage, format!("Kafka: {error}")))?;
    let seen = pass(&args, &config, &mut job, Some(&publisher), &mut rows).await?;
    if let Some(file) = &args.cursor {
        // It may never have been written.
        let _ = std::fs::remove_file(file);
    }
    show(args.output, rows, &job, &seen, "published")?;
    Ok(exit(&seen))
}

fn exit(seen: &Tally) -> Exit {
    if seen.wrong == 0 { Exit::Ok } else { Exit::Failed }
}

/// The one in the cursor's file, or the one that was asked for.
fn job(args: &Args, config: &Config) -> Result<Job, Failure> {
    let from = config.postgres.url.url_without_password();
    if let Some(file) = args.cursor.as_ref().filter(|file| file.exists()) {
        let job = Job::load(file)?;
        let asked = args.since.is_some() || args.until.is_some() || args.topic.is_some();
        let why = match () {
            () if asked => "has a job already: leave --since, --until and --topic out to go on with it",
            () if job.from != from => "is about another database",
            () => return Ok(job),
        };
        let refused = Failure::new(Exit::Usage, format!("{} {why}", file.display()));
        return Err(refused.advice("nothing was published; without the file it begins anew"));
    }
    let Some(since) = args.since else {
        return Err(Failure::new(Exit::Usage, "--since is missing").advice("nothing was published"));
    };
    let until = match args.until {
        Some(until) => until,
        None => time("0s").map_err(|why| Failure::new(Exit::Usage, why))?,
    };
    if until <= since {
        return Err(Failure::new(Exit::Usage, "--until is not after --since").advice("nothing was published"));
    }
    let orders = skald_server::bus::topics::order_events(&config.kafka);
    let topic = args.topic.clone().unwrap_or(orders);
    Ok(Job { from, since, until, topic, after: Uuid::nil(), published: 0 })
}

/// Goes through the sagas; publishes their events when there is a publisher.
async fn pass(
    args: &Args,
    config: &Config,
    job: &mut Job,
    to: Option<&Publisher>,
    said: &mut Rows,
) -> Result<Tally, Failure> {
    let written = (job.since - MARGIN_MS, ids::lower_bound(job.until + MARGIN_MS));
    let which = Which { since: Uuid::nil(), all_active: false, rows: true, written: Some(written) };
    let mut database = Database::open(config.postgres.url.expose(), which).await?;
    database.go_on(job.after);
    let progress = Progress::new(if to.is_some() { "publish" } else { "count" });
    let mut pass =
        Pass { args, job, to, said, tally: Tally::default(), waiting: Vec::new(), began: Instant::now() };
    let (mut sagas, mut rows) = (0, 0);
    loop {
        let page = database.page().await?;
        if page.is_empty() {
            break;
        }
        let labels = database.labels(&page).await?;
        for saga in &page {
            (sagas, rows) = (sagas + 1, rows + saga.rows.len() as u64);
            // Without a label it was forgotten a moment ago.
            let Some((customer, trace)) = labels.get(&saga.id) else { continue };
            let known = database.definitions.get(&saga.definition).map(|known| &known.definition);
            let found = match known {
                None => Err(format!("its definition, number {}, is not there", saga.definition)),
                Some(Err(why)) => Err(why.clone()),
                Some(Ok(definition)) => {
                    let label = (customer.as_str(), trace.as_deref());
                    let by_hash = ByHash(&database.definitions);
                    let lineage = Lineage::new(definition, &by_hash);
                    fold::events(&pass.job.topic, pass.job.range(), (definition, lineage), saga, label)
                }
            };
            match found {
                Ok(events) => pass.saga(saga, events).await?,
                Err(why) => progress.aside(|| pass.left_out(saga, &why))?,
            }
            progress.at(database.share(), sagas, rows);
        }
    }
    pass.flush().await?;
    progress.clear();
    Ok(pass.tally)
}

/// A walk through the sagas.
struct Pass<'a> {
    args: &'a Args,
    job: &'a mut Job,
    to: Option<&'a Publisher>,
    /// For programs.
    said: &'a mut Rows,
    tally: Tally,
    /// Events of whole sagas.
    waiting: Vec<outbox::Row>,
    began: Instant,
}

impl Pass<'_> {
    async fn saga(&mut self, saga: &Recorded, events: Vec<outbox::Row>) -> Result<(), Failure> {
        if !events.is_empty() {
            self.tally.sagas += 1;
        }
        for event in &events {
            *self.tally.kinds.entry(event.kind.clone()).or_default() += 1;
        }
        if self.to.is_none() {
            return Ok(());
        }
        self.waiting.extend(events);
        self.job.after = saga.id;
        // About what a second takes.
        if self.waiting.len() as f64 >= self.args.rate.min(CHUNK) {
            self.flush().await?;
        }
        Ok(())
    }

    /// Publishes what waits, keeps how far it is, and waits until the rate allows more.
    async fn flush(&mut self) -> Result<(), Failure> {
        let Some(to) = self.to.filter(|_| !self.waiting.is_empty()) else { return Ok(()) };
        to.publish(&self.waiting).await.map_err(|error| {
            let advice = match &self.args.cursor {
                Some(_) => "the same command with --cursor alone goes on from here",
                None => "begin again: what comes twice has the same id; with --cursor it would go on",
            };
            let sofar = counted(self.job.published, "event");
            Failure::new(Exit::Unavailable, format!("{sofar} were published, then {error}")).advice(advice)
        })?;
        self.job.published += self.waiting.len() as u64;
        self.waiting.clear();
        if let Some(file) = &self.args.cursor {
            self.job.save(file)?;
        }
        let due = Duration::from_secs_f64(self.tally.events() as f64 / self.args.rate);
        tokio::time::sleep(due.saturating_sub(self.began.elapsed())).await;
        Ok(())
    }

    fn left_out(&mut self, saga: &Recorded, why: &str) -> Result<(), Failure> {
        self.tally.wrong += 1;
        if self.args.output == Format::Table {
            let left_out = Tone::Bad.paint("left out", output::colours());
            return output::line(&format!("{left_out} {} {why}", saga.id));
        }
        self.said.add(&json!({ "saga": saga.id.to_string(), "left_out": why }))
    }
}

impl Tally {
    fn events(&self) -> u64 {
        self.kinds.values().sum()
    }
}

fn instant(ms: i64) -> String {
    let since = Duration::from_millis(ms.unsigned_abs());
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + since).to_string()
}

fn show(format: Format, mut rows: Rows, job: &Job, seen: &Tally, title: &str) -> Result<(), Failure> {
    if format == Format::Table {
        return output::line(&text(job, seen, title, output::colours()));
    }
    rows.add(&json_of(job, seen))?;
    rows.end()
}

fn text(job: &Job, seen: &Tally, title: &str, colours: bool) -> String {
    let (since, until) = (instant(job.since), instant(job.until));
    let wrong = match seen.wrong {
        0 => Cell::default(),
        n => Cell::new(format!("{}, for they do not verify", counted(n, "saga")), Tone::Bad),
    };
    let kinds: Vec<(&str, Cell)> =
        seen.kinds.iter().map(|(kind, n)| (kind.as_str(), thousands(*n).into())).collect();
    let mut lines: Vec<(&str, Cell)> = vec![
        (title, counted(seen.events(), "event").into()),
        ("of", counted(seen.sagas, "saga").into()),
        ("to", job.topic.as_str().into()),
        ("since", since.into()),
        ("until", until.into()),
    ];
    lines.extend(kinds);
    lines.push(("left out", wrong));
    pairs(&lines, colours)
}

fn json_of(job: &Job, seen: &Tally) -> Value {
    json!({ "summary": {
        "topic": job.topic,
        "since": instant(job.since),
        "until": instant(job.until),
        "events": seen.events(),
        "sagas": seen.sagas,
        "types": seen.kinds,
        "left_out": seen.wrong,
        "published_in_all": job.published,
    }})
}
