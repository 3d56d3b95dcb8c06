//! `skald-sim`: runs seeds, says what was exercised, and for a broken promise the shortest run that shows it and how to repeat it.
#![allow(clippy::print_stdout)]

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use skald_sim::{Options, Report, Tally, Violation, faults::Fault, required, run, shrink};

/// Deterministic simulation of Skald under every fault. The same seed is the same run, on any machine.
#[derive(Debug, Parser)]
#[command(name = "skald-sim", version)]
struct Args {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after the other.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Sagas per seed.
    #[arg(long, default_value_t = 40)]
    sagas: usize,
    /// Stops after so many minutes, however many seeds are left.
    #[arg(long)]
    minutes: Option<f64>,
    /// Threads; each runs seeds of its own. 0: one per core.
    #[arg(long, default_value_t = 0)]
    jobs: usize,
    /// Faults that must not happen, by name.
    #[arg(long, value_delimiter = ',', value_parser = fault)]
    without: Vec<Fault>,
    /// Writes every event of the run, or those that name `--of`.
    #[arg(long)]
    trace: bool,
    /// With `--trace`: only events that name this saga.
    #[arg(long)]
    of: Option<String>,
    /// Leaves out what was exercised.
    #[arg(long)]
    quiet: bool,
}

/// Half of a run's time went into the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn fault(name: &str) -> Result<Fault, String> {
    Fault::by_name(name).ok_or_else(|| {
        let names: Vec<&str> = skald_sim::faults::ALL.iter().map(|fault| fault.name()).collect();
        format!("there is no fault {name:?}; there are {}", names.join(", "))
    })
}

/// Runs of all threads, added up.
#[derive(Default)]
struct Sum {
    tally: Tally,
    seeds: u64,
    events: u64,
    simulated_ms: i64,
    failed: Vec<(u64, Report)>,
}

fn main() -> std::process::ExitCode {
    let args = Args::parse();
    if args.trace {
        return traced(&args);
    }
    let began = Instant::now();
    let sum = all(&args, began);
    let took = began.elapsed().as_secs_f64();
    let sagas = sum.seeds * args.sagas as u64;
    if !args.quiet {
        for (name, n) in sum.tally.by_name() {
            println!("{n:>12}  {name}");
        }
    }
    let days = sum.simulated_ms as f64 / 86_400_000.0;
    println!(
        "{} seeds, {sagas} sagas, {} events, {days:.0} simulated days in {took:.1} s: {:.0} sagas/s on {} threads",
        sum.seeds,
        sum.events,
        sagas as f64 / took,
        threads(&args)
    );
    let missing = required::missing(&sum.tally, sagas);
    for name in &missing {
        println!("NOT EXERCISED: {name}");
    }
    for (seed, report) in &sum.failed {
        let Violation { promise, what } = &report.violations[0];
        println!("BROKEN: seed {seed}, {promise}: {:.200}", what);
    }
    for (seed, report) in sum.failed.iter().take(3) {
        explain(&args, *seed, report);
    }
    println!("{} seeds broke a promise", sum.failed.len());
    std::process::ExitCode::from(u8::from(!sum.failed.is_empty() || !missing.is_empty()))
}

fn all(args: &Args, began: Instant) -> Sum {
    let sum = Mutex::new(Sum::default());
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let bar = ProgressBar::new(args.seeds);
    let style = "{bar:30} {pos}/{len} seeds, {elapsed}, {msg}";
    bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
    std::thread::scope(|scope| {
        for _ in 0..threads(args) {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= args.seeds || stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let seed = args.seed + n;
                    let report = run(&options(args, seed));
                    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                    sum.tally.merge(&report.tally);
                    sum.seeds += 1;
                    sum.events += report.events;
                    sum.simulated_ms += report.passed_ms;
                    if !report.violations.is_empty() {
                        sum.failed.push((seed, report));
                    }
                    bar.inc(1);
                    bar.set_message(format!("{} broke a promise", sum.failed.len()));
                    let late =
                        args.minutes.is_some_and(|m| began.elapsed() > Duration::from_secs_f64(m * 60.0));
                    if late || sum.failed.len() >= 20 {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    bar.finish_and_clear();
    sum.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn threads(args: &Args) -> usize {
    if args.jobs > 0 { args.jobs } else { std::thread::available_parallelism().map_or(1, usize::from) }
}

fn options(args: &Args, seed: u64) -> Options {
    Options { seed, sagas: args.sagas, without: args.without.clone(), trace: false }
}

/// What broke, and the shortest run that shows it.
fn explain(args: &Args, seed: u64, report: &Report) {
    let Some(first) = report.violations.first() else { return };
    println!("\nSEED {seed} broke the promise {:?}:\n  {}", first.promise, first.what);
    println!("  repeat it: skald-sim --seed {seed} --sagas {}{}", args.sagas, without(&args.without));
    let short = shrink::shrink(&options(args, seed), first.promise);
    println!("  the shortest that was found: {}", short.violation.what);
    let Options { seed, sagas, without: left_out, .. } = &short.options;
    println!(
        "  skald-sim --seed {seed} --sagas {sagas}{} --trace   ({} events)",
        without(left_out),
        short.events
    );
}

fn without(faults: &[Fault]) -> String {
    let names: Vec<&str> = faults.iter().map(|fault| fault.name()).collect();
    if names.is_empty() { String::new() } else { format!(" --without {}", names.join(",")) }
}

fn traced(args: &Args) -> std::process::ExitCode {
    let report = run(&Options { trace: true, ..options(args, args.seed) });
    let wanted = |line: &&String| args.of.as_ref().is_none_or(|of| line.contains(of.as_str()));
    report.trace.iter().filter(wanted).for_each(|line| println!("{line}"));
    for violation in &report.violations {
        println!("BROKEN {:?}: {}", violation.promise, violation.what);
    }
    println!("{} events, fingerprint {:016x}", report.events, report.fingerprint);
    std::process::ExitCode::from(u8::from(!report.violations.is_empty()))
}
