//! Chaos with real processes: two of each service, three brokers and a PostgreSQL under load, while a nemesis that a seed drives kills,
//! freezes and parts them. At the end everything is healed, comes to rest, and is judged.

mod clients;
mod flight;
mod judge;
mod nemesis;
mod report;
mod rng;
mod watch;
mod world;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use clients::{Clients, LAST, Load, SHELF};
use flight::Flight;
use nemesis::{Choice, Fault};
pub use report::Report;
use rng::Rng;
use watch::Watch;
use world::{Plan, World, service::Who};

/// Goods that everybody wants: so many a minute.
const LAST_A_MINUTE: f64 = 40.0;

/// What a run is to be like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which faults when.
    pub seed: u64,
    /// How long faults are done; the healing and the judging come on top.
    pub time: Duration,
    /// Orders placed per second.
    pub orders_per_second: f64,
    /// The `skald` binary.
    pub skald: PathBuf,
    /// The one that the run begins with; then the rolling upgrade to the other one is the first fault.
    pub older: Option<PathBuf>,
    /// For data and logs; must be empty.
    pub folder: PathBuf,
    /// Only these kinds of faults, by name; none = all.
    pub only: Vec<String>,
    /// Participants whose commands go over gRPC.
    pub grpc: Vec<String>,
    /// How long it may take at the end until all is at rest.
    pub rest: Duration,
}

/// Runs it. `tell` hears what happens, a line at a time.
///
/// # Errors
/// The world can't be set up or does not do what it is told. Broken promises are no error: they stand in the report.
pub async fn run(options: &Options, tell: impl Fn(&str)) -> Result<Report> {
    let only = faults(&options.only)?;
    // An older binary has bugs that are mended: what follows is about the present one.
    let first = options.older.is_some().then_some(Fault::RollingUpgrade);
    let choice = Choice { only, first };
    let plan = plan(options)?;
    let world = Arc::new(set_up(plan, &tell).await?);
    let minutes = options.time.as_secs_f64() / 60.0;
    let mut goods = SHELF.to_vec();
    goods.push((LAST, (LAST_A_MINUTE * minutes).ceil() as i64));
    world.stock(&goods).await.context("stocking the shelf")?;
    let clients = Clients::new(&world, &format!("chaos-{}", options.seed))?;
    let flight = Flight::new(world.url(Who::Orchestrator));
    let watch = Watch::start(&world);
    let load = Load::start(&clients, options.orders_per_second);
    tell("everything is up; orders come in");

    let (begin, rng) = (Instant::now(), Rng::new(options.seed));
    let rage = nemesis::rage(&world, &clients, &flight, rng, (begin, options.time, &choice), |entry| {
        tell(&report::line(entry));
    });
    let entries = rage.await?;
    let time = begin.elapsed();
    let answered = load.stop(options.rest).await;
    tell(&format!("no more faults; {} orders were accepted; waiting for rest", clients.accepted()));
    world.all_ready().await?;
    let rest = judge::rest(&world, options.rest).await?;
    let seen = watch.end();
    tell("judging");
    let mut findings = judge::judge(&world, &clients, &seen, &options.skald).await?;
    if !answered {
        let what = format!("clients were not answered for {} s", options.rest.as_secs());
        findings.violations.push(("served", what));
    }
    let done: BTreeSet<Fault> = entries.iter().map(|entry| entry.fault).collect();
    let missing =
        nemesis::possible(&world, &choice.only).into_iter().filter(|fault| !done.contains(fault)).collect();
    let mut report = Report {
        seed: options.seed,
        time,
        orders: clients.accepted(),
        entries,
        missing,
        rest,
        refused: 0,
        unknown: 0,
        found: 0,
        ended: seen.ended,
        findings,
    };
    report.count(&clients.counts);
    Ok(report)
}

/// Every kind of fault, by name.
#[must_use]
pub fn fault_names() -> Vec<String> {
    nemesis::names()
}

fn faults(names: &[String]) -> Result<Vec<Fault>> {
    let by_name = |name: &String| {
        Fault::by_name(name)
            .with_context(|| format!("there is no fault {name:?}; there are {}", nemesis::names().join(", ")))
    };
    names.iter().map(by_name).collect()
}

fn plan(options: &Options) -> Result<Plan> {
    let mut grpc = BTreeSet::new();
    for name in &options.grpc {
        match Who::ALL.into_iter().find(|who| who.name() == name) {
            Some(who) if who != Who::Orchestrator => grpc.insert(who),
            _ => bail!("there is no participant {name:?}; there are inventory, payment"),
        };
    }
    Ok(Plan {
        folder: options.folder.clone(),
        skald: options.skald.clone(),
        older: options.older.clone().unwrap_or_else(|| options.skald.clone()),
        grpc,
    })
}

/// With a small disk where the machine allows one.
async fn set_up(plan: Plan, tell: &impl Fn(&str)) -> Result<World> {
    tell("starting PostgreSQL, three brokers, and two processes of each service");
    match World::disk(&plan).await {
        Ok(disk) => World::start(&plan, Some(disk)).await,
        Err(why) => {
            tell(&format!(
                "PostgreSQL gets no disk of its own, so fill-disk and slow-disk are left out: {why:#}"
            ));
            World::start(&plan, None).await
        }
    }
}
