//! `skald-chaos`: breaks a real Skald in every way that it knows, for as long as it is told to, and says whether a promise broke.
#![allow(clippy::print_stdout)]

use std::{
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use skald_chaos::{Options, run};

/// Real processes under faults: kills, freezes, partitions, full disks. Prints what broke; exit code 1 when a promise did.
#[derive(Debug, Parser)]
#[command(name = "skald-chaos", version)]
struct Args {
    /// Minutes of faults; setting up, healing and judging come on top.
    #[arg(long, default_value_t = 3.0)]
    minutes: f64,
    /// Which faults when. Drawn when absent; the report names it.
    #[arg(long)]
    seed: Option<u64>,
    /// Orders placed per second.
    #[arg(long, default_value_t = 30.0)]
    orders_per_second: f64,
    /// Only these kinds of faults, separated by commas; `--list` names them.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Participants whose commands go over gRPC instead of Kafka, separated by commas.
    #[arg(long, value_delimiter = ',')]
    grpc: Vec<String>,
    /// An older `skald`, which the run begins with: the rolling upgrade to the present one is the first fault.
    #[arg(long, value_name = "BINARY")]
    older: Option<PathBuf>,
    /// The `skald` to break; the one beside this program unless given.
    #[arg(long, value_name = "BINARY")]
    skald: Option<PathBuf>,
    /// An empty folder for data and logs, kept; else one in the temp folder, removed unless a promise broke.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Writes the record to this file, as Markdown.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Names every kind of fault and does nothing.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    own_mounts();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let acted = runtime.context("starting the runtime").and_then(|runtime| runtime.block_on(act(args)));
    match acted {
        Ok(code) => code,
        Err(error) => {
            eprintln!("skald-chaos: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Goes on in a mount namespace of its own, where that is allowed: the disk that it mounts is gone with it, however it ends.
fn own_mounts() {
    const DONE: &str = "SKALD_CHAOS_OWN_MOUNTS";
    let allowed = || Command::new("unshare").args(["--mount", "true"]).stderr(Stdio::null()).status();
    if std::env::var_os(DONE).is_some() || !allowed().is_ok_and(|status| status.success()) {
        return;
    }
    let mut again = Command::new("unshare");
    again.args(["--mount", "--propagation", "private", "--"]).args(std::env::args_os()).env(DONE, "yes");
    // Only comes back when it can't be done; then the disk is unmounted by hand.
    let error = again.exec();
    eprintln!("skald-chaos: no mounts of its own: {error}");
}

async fn act(args: Args) -> Result<ExitCode> {
    if args.list {
        skald_chaos::fault_names().iter().for_each(|name| println!("{name}"));
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(args.minutes > 0.0 && args.minutes <= 10_000.0, "--minutes must be above 0, and 10000 at most");
    ensure!((0.1..=1000.0).contains(&args.orders_per_second), "--orders-per-second must be 0.1 to 1000");
    let options = options(&args)?;
    println!("seed {}; logs and data in {}", options.seed, options.folder.display());
    let report = tokio::select! {
        report = run(&options, |line| println!("{line}")) => report?,
        _ = tokio::signal::ctrl_c() => {
            println!("interrupted: nothing was judged; the logs are in {}", options.folder.display());
            return Ok(ExitCode::from(130));
        }
    };
    let text = report.markdown();
    println!("\n{text}");
    if let Some(file) = &args.report {
        std::fs::write(file, &text).with_context(|| format!("writing {}", file.display()))?;
    }
    let failures = report.failures();
    if failures.is_empty() {
        if args.dir.is_none() {
            let _ = std::fs::remove_dir_all(&options.folder);
        }
        println!("nothing was lost, charged twice or oversold");
        return Ok(ExitCode::SUCCESS);
    }
    failures.iter().for_each(|what| println!("BROKEN {what}"));
    println!("{} broken; the logs are in {}", failures.len(), options.folder.display());
    let given: Vec<String> = std::env::args().skip(1).collect();
    let seed = if args.seed.is_none() { format!(" --seed {}", options.seed) } else { String::new() };
    println!("the same faults again: skald-chaos {}{seed}", given.join(" "));
    Ok(ExitCode::FAILURE)
}

fn options(args: &Args) -> Result<Options> {
    let seed = match args.seed {
        Some(seed) => seed,
        None => u64::from(SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos()),
    };
    let beside = std::env::current_exe()?.with_file_name("skald");
    let skald = args.skald.clone().unwrap_or(beside);
    ensure!(skald.is_file(), "{} is not there: cargo build -p skald", skald.display());
    let folder = match &args.dir {
        Some(dir) => dir.clone(),
        None => std::env::temp_dir().join(format!("skald-chaos-{}", std::process::id())),
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let folder = folder.canonicalize()?;
    ensure!(std::fs::read_dir(&folder)?.next().is_none(), "{} is not empty", folder.display());
    Ok(Options {
        seed,
        time: Duration::from_secs_f64(args.minutes * 60.0),
        orders_per_second: args.orders_per_second,
        skald: skald.canonicalize()?,
        older: args.older.as_ref().map(|older| older.canonicalize()).transpose()?,
        folder,
        only: args.only.clone(),
        grpc: args.grpc.clone(),
        rest: Duration::from_secs(600),
    })
}
