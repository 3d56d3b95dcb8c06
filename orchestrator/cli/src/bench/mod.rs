//! `skald bench`: starts everything, loads it, measures it, verifies that nothing was lost.
//!
//! The way of a run: [`servers`] and [`services`] start, stock is filled up ([`run`]), [`load`] submits the orders of
//! [`mix`], [`ends`] sees them end, [`book`] remembers when; [`phases`] warms up, measures with one order in flight at a time
//! and then under full load; [`verify`] reckons, [`figures`] shows.

mod args;
mod book;
mod ends;
mod figures;
mod load;
mod mix;
mod phases;
mod progress;
mod servers;
mod services;
mod usage;
mod verify;
mod web;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use skald_proto::inventory::v1::{RestockRequest, inventory_service_client::InventoryServiceClient};
use tonic::transport::Channel;

pub use args::{Args, Output, Setting};
use book::Book;
use ends::Ends;
use figures::Figures;
use load::Load;
use mix::{Mix, SOLD_OUT};
use progress::Progress;
use servers::Servers;
use services::Services;
use verify::Evidence;

/// Units of each article: enough for any run.
const UNITS: i64 = 1_000_000_000_000;
/// Restock calls at once.
const RESTOCKS: usize = 32;

/// Measures and verifies; the exit code is 1 when something does not add up, 130 after Ctrl-C.
///
/// # Errors
/// Something could not be started, or ended while it was measured; the error has the end of its log.
pub async fn run(args: Args) -> Result<ExitCode> {
    let (folder, temporary) = folder(&args)?;
    let figures = tokio::select! {
        figures = in_folder(&args, &folder) => figures,
        // What has started dies with us.
        _ = tokio::signal::ctrl_c() => return Ok(ExitCode::from(130)),
    };
    let well = figures.as_ref().is_ok_and(|figures| figures.violations.is_empty());
    tidy_up(&folder, temporary, well);
    let figures = figures?;
    let text = match args.output {
        Output::Table => figures.table(),
        Output::Json => figures.json() + "\n",
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn in_folder(args: &Args, folder: &Path) -> Result<Figures> {
    let progress = Progress::new();
    progress.phase("start", "PostgreSQL and Kafka");
    let random = uuid::Uuid::new_v4();
    let name = format!("skald_bench_{}", &random.simple().to_string()[..8]);
    let mut servers = Servers::start(args, folder, name).await?;
    progress.phase("start", "orchestrator, inventory and payment");
    let services = Services::start(&servers, folder, &args.set).await?;
    let mix = Mix { seed: random.as_u64_pair().0, skus: args.skus, hot: args.hot_skus, lines: args.lines };
    let measured = loaded(args, mix, &mut servers, &services, &progress).await;
    progress.clear();
    let figures = measured.with_context(|| format!("the run failed\n{}", services.logs()))?;
    services.stop().await?;
    servers.stop().await?;
    Ok(figures)
}

/// From empty shelves to the reckoning.
async fn loaded(
    args: &Args,
    mix: Mix,
    servers: &mut Servers,
    services: &Services,
    progress: &Progress,
) -> Result<Figures> {
    let address = format!("http://127.0.0.1:{}", services.port("inventory")?);
    let inventory = InventoryServiceClient::connect(address).await.context("connecting to inventory")?;
    progress.phase("start", &format!("stock of {} articles", mix.skus));
    fill_shelves(&inventory, mix.skus).await.context("filling up the stock")?;
    let book = Arc::new(Book::new());
    let ends = Ends::read(&servers.client, Arc::clone(&book))?;
    let port = services.port("orchestrator")?;
    let load = Load::connect(port, args.streams, args.unary, Arc::clone(&book), mix).await?;
    let mut figures = phases::run(args, load, &book, servers, services, progress).await?;
    progress.phase("verify", "orders, stock and money");
    let evidence = Evidence {
        book: &book,
        mix,
        inventory,
        orchestrator: servers.database_url("orchestrator"),
        payment: servers.database_url("payment"),
    };
    figures.violations = verify::violations(evidence).await?;
    drop(ends);
    Ok(figures)
}

/// Plenty of each article, and one unit of the one that is sold out.
async fn fill_shelves(inventory: &InventoryServiceClient<Channel>, skus: u64) -> Result<()> {
    let articles = (0..skus).map(|i| (Mix::sku(i), UNITS)).chain([(SOLD_OUT.to_owned(), 1)]);
    futures::stream::iter(articles)
        .map(|(sku, delta)| {
            let mut inventory = inventory.clone();
            let request = RestockRequest {
                request_id: format!("bench-{sku}"),
                sku,
                delta,
                actor: "skald bench".to_owned(),
                reason: "goods to order".to_owned(),
            };
            async move { inventory.restock(request).await }
        })
        .buffer_unordered(RESTOCKS)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    Ok(())
}

/// Where data and logs lie, and whether they go away. What earlier runs left because they were killed is removed.
fn folder(args: &Args) -> Result<(PathBuf, bool)> {
    if let Some(dir) = &args.dir {
        std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        return Ok((dir.clone(), false));
    }
    let temp = std::env::temp_dir();
    for entry in std::fs::read_dir(&temp).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix("skald-bench-")?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    let folder = temp.join(format!("skald-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    Ok((folder, true))
}

/// Removes the data; the logs stay when something went wrong, until the next run.
fn tidy_up(folder: &Path, temporary: bool, well: bool) {
    if !temporary {
        return;
    }
    for data in ["postgres", "kafka"] {
        let _ = std::fs::remove_dir_all(folder.join(data));
    }
    if well {
        let _ = std::fs::remove_dir_all(folder);
    } else {
        eprintln!("logs: {}", folder.display());
    }
}
