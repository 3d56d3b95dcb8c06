//! `skald dev`: everything in one process, with sample orders that can be watched, and no server installed by hand.

pub mod board;
mod broker;
mod hints;
mod place;
mod play;
pub mod samples;
mod servers;
mod services;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use skald_kit::{lifecycle::Shutdown, telemetry};
use skald_proto::{
    inventory::v1::inventory_service_client::InventoryServiceClient,
    order::v1::order_service_client::OrderServiceClient,
};
use tokio::sync::mpsc;
use tracing_subscriber::EnvFilter;

use self::{
    board::Board,
    place::{PORT_BASE, Place, Ports},
    play::Play,
    servers::Servers,
};
use crate::{
    client,
    exit::{Exit, Failure},
    output::{screen::Screen, style::Tone},
};

/// After this, sample orders that have not ended are called wrong.
const SETTLE: Duration = Duration::from_secs(60);
/// How often the table is drawn.
const FRAME: Duration = Duration::from_millis(100);
/// From the wish to stop to a hard end.
const STOP: Duration = Duration::from_secs(30);
/// Without --verbose: what a person must know. A dependency is always "down" for the first moment.
/// A task that fails ends everything, and is told at the end.
const QUIET: &str = "warn,skald_kit::health=error,skald_kit::lifecycle::tasks=off,sqlx::postgres::notice=error,librdkafka=error";
const VERBOSE: &str = "info,sqlx::postgres::notice=warn";

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// End when the sample orders have ended: 0 when each ended as it should, else 1
    #[arg(long)]
    once: bool,
    /// Use this PostgreSQL instead of a private one: postgres://user:password@host:port; three databases are made in it
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    /// Use this Kafka instead of the broker in this process: host:port,…; missing topics are made
    #[arg(long, value_name = "BOOTSTRAP", conflicts_with = "native_kafka")]
    kafka: Option<String>,
    /// Start a real Apache Kafka instead of the broker in this process; needs Java, fetches Kafka once
    #[arg(long)]
    native_kafka: bool,
    /// Keep data here [default: .skald/up in the checkout]
    #[arg(long, value_name = "DIR", env = "SKALD_DATA")]
    data: Option<PathBuf>,
    /// The first port: orchestrator at N and N+1, inventory at N+10 and N+11, payment at N+20 and N+21
    #[arg(long, value_name = "N", default_value_t = PORT_BASE, value_parser = clap::value_parser!(u16).range(1..=65_514))]
    port_base: u16,
    /// Show the services' log lines instead of a table that moves
    #[arg(long, short)]
    verbose: bool,
}

const HELP: &str = "\
PostgreSQL runs privately in the data folder (fsync on, 127.0.0.1 only, stopped with this process) and keeps
what it has until the next run. The broker is librdkafka's mock broker: for trying out, in memory.

Examples:
  skald dev                                 stay up until Ctrl-C
  skald dev --once                          a smoke test
  skald dev --native-kafka --verbose
  skald dev --data /tmp/other --port-base 8070     a second one beside the first";

pub(crate) async fn run(args: Args) -> Result<Exit, Failure> {
    let began = Instant::now();
    let screen = Screen::new(!args.verbose);
    start_log(&screen, args.verbose)?;
    let shutdown =
        Shutdown::on_signals(STOP).map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    let place = Place::take(args.data.clone().unwrap_or_else(|| skald_local::home().join("up")))?;
    let ports = Ports { base: args.port_base };
    ports.check()?;
    let servers = tokio::select! {
        servers = Servers::start(&args, &place.folder, &screen) => servers?,
        // Dropped, and so killed, is what had started.
        () = shutdown.requested() => return Ok(Exit::Interrupted),
    };
    let services = services::start(&servers, ports, &shutdown);
    let show = Show { args: &args, screen: &screen, servers: &servers, ports, began };
    let ended = tokio::select! {
        ended = show.run(&shutdown) => ended,
        () = shutdown.requested() => interrupted(&shutdown, &args),
    };
    screen.keep();
    shutdown.request();
    let stopped = services.join(STOP).await;
    servers.stop().await?;
    let exit = ended?;
    stopped.map_err(|unclean| Failure::new(Exit::Failed, unclean.to_string()))?;
    if !args.once {
        screen.say(&format!("Stopped. The orders are kept in {}.", place.folder.display()));
    }
    Ok(exit)
}

/// Ctrl-C, or a service that failed. To be stopped is how it ends, unless it was to end by itself.
fn interrupted(shutdown: &Shutdown, args: &Args) -> Result<Exit, Failure> {
    match shutdown.reason() {
        Some(why) if why.contains("has been modified") => Err(Failure::new(Exit::Failed, why).advice(
            "the data folder was made by another build of this version: move it away, or name another with --data",
        )),
        Some(why) if !why.starts_with("SIG") => Err(Failure::new(Exit::Failed, why)),
        _ if args.once => Ok(Exit::Interrupted),
        _ => Ok(Exit::Ok),
    }
}

fn start_log(screen: &Screen, verbose: bool) -> Result<(), Failure> {
    telemetry::metrics_handle();
    let filter = EnvFilter::new(if verbose { VERBOSE } else { QUIET });
    let colours = crate::output::style::colours(&std::io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours);
    log.with_writer(screen.clone()).try_init().map_err(|error| Failure::new(Exit::Failed, error.to_string()))
}

/// What a person sees while the services run.
struct Show<'a> {
    args: &'a Args,
    screen: &'a Screen,
    servers: &'a Servers,
    ports: Ports,
    began: Instant,
}

impl Show<'_> {
    async fn run(&self, shutdown: &Shutdown) -> Result<Exit, Failure> {
        self.addresses();
        let run = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
        let channel = |(grpc, _): (std::net::SocketAddr, _)| {
            let endpoint = client::endpoint(&grpc.to_string())?;
            client::named(endpoint.connect_lazy(), "skald-dev")
        };
        let inventory = InventoryServiceClient::new(channel(self.ports.inventory())?);
        play::stock(inventory, &run).await?;
        let board = self.watch(OrderServiceClient::new(channel(self.ports.orchestrator())?), run).await;
        let wrong: Vec<String> =
            board.rows.iter().filter(|row| !row.is_right()).map(|row| row.wrong()).collect();
        if let Some(first) = board.first_completed() {
            self.screen
                .say(&format!("\nFirst COMPLETED order {:.2} s after the start.", first.as_secs_f64()));
        }
        let verdict = match wrong.len() {
            0 => Tone::Good.paint("Every sample order ended as it should.", self.screen.colours),
            n => Tone::Bad.paint(
                &format!("{n} of {} sample orders did not end as they should.", board.rows.len()),
                self.screen.colours,
            ),
        };
        self.screen.say(&verdict);
        if self.args.once {
            if wrong.is_empty() {
                return Ok(Exit::Ok);
            }
            let mut failure = Failure::new(Exit::Failed, "not every sample order ended as it should");
            failure.fields = wrong
                .iter()
                .filter_map(|line| line.split_once(": "))
                .map(|(a, b)| (a.into(), b.into()))
                .collect();
            return Err(failure);
        }
        for line in wrong {
            self.screen.say(&format!("  {line}"));
        }
        if let Some(row) = board.rows.iter().find(|row| !row.order_id.is_empty()) {
            self.screen.say(&format!("\n{}", hints::lines(self.ports, &row.order_id)));
        }
        self.screen.say("\nUp until Ctrl-C.");
        shutdown.requested().await;
        interrupted(shutdown, self.args)
    }

    fn addresses(&self) {
        let (orchestrator, inventory, payment) =
            (self.ports.orchestrator(), self.ports.inventory(), self.ports.payment());
        let (broker, warning) = self.servers.broker_shown();
        let name = |text: &str| Tone::Strong.paint(&format!("{text:<13}"), self.screen.colours);
        self.screen.say(&format!(
            "{} {}\n{} {broker}\n{} gRPC {}  HTTP {}\n{} gRPC {}  HTTP {}\n{} gRPC {}  HTTP {}\n",
            name("PostgreSQL"),
            self.servers.postgres_shown(),
            name("Kafka"),
            name("orchestrator"),
            orchestrator.0,
            orchestrator.1,
            name("inventory"),
            inventory.0,
            inventory.1,
            name("payment"),
            payment.0,
            payment.1,
        ));
        if !warning.is_empty() {
            self.screen.say(&format!("{}\n", Tone::Dim.paint(warning, self.screen.colours)));
        }
    }

    /// Plays all samples and shows them until each has ended, or time is up.
    async fn watch(&self, orders: OrderServiceClient<client::Connection>, run: String) -> Board {
        let samples = samples::all();
        let mut board = Board::new(samples.clone());
        let (notes, mut heard) = mpsc::unbounded_channel();
        let began = self.began;
        for (index, sample) in samples.into_iter().enumerate() {
            let (orders, notes, run) = (orders.clone(), notes.clone(), run.clone());
            tokio::spawn(Play { index, sample, run, orders, began, notes }.run());
        }
        let mut frames = tokio::time::interval(FRAME);
        let end = tokio::time::Instant::now() + SETTLE;
        while !board.is_over() {
            tokio::select! {
                Some(note) = heard.recv() => {
                    let line = board.take(&note);
                    if let Some(line) = line.filter(|_| !self.screen.live) {
                        self.screen.say(&line);
                    }
                }
                _ = frames.tick() => {}
                () = tokio::time::sleep_until(end) => break,
            }
            self.screen.draw(board.lines(began.elapsed(), self.screen.width(), self.screen.colours));
        }
        self.screen.keep();
        if !self.screen.live {
            self.screen.say("");
            board
                .lines(began.elapsed(), usize::MAX, self.screen.colours)
                .iter()
                .for_each(|line| self.screen.say(line));
        }
        board
    }
}
