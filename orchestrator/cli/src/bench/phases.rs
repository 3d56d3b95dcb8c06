//! The phases of a run: warm-up, one order in flight at a time, full load. Between them everything drains, so that
//! none sees the others' orders.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::Args;
use super::book::Book;
use super::figures::{Figures, Percentiles, round};
use super::load::{Load, Running};
use super::progress::{Progress, pace};
use super::servers::Servers;
use super::services::Services;
use super::usage::{Meter, Who};
use super::web::Metrics;

/// Under load before the measured phase begins: until as many orders end as are submitted.
const SETTLE: Duration = Duration::from_secs(3);
/// The first orders of the unloaded phase still meet what the warm-up left behind.
const CALM: Duration = Duration::from_millis(500);
/// Orders in flight must end within this once nothing more comes.
const DRAIN: Duration = Duration::from_secs(120);
/// How often the phases look around.
const TICK: Duration = Duration::from_millis(100);
/// Whose batches, and which histogram tells their size.
const BATCHES: [(&str, &str); 3] = [
    ("orchestrator", "skald_batch_size"),
    ("inventory", "skald_participant_wave_size"),
    ("payment", "skald_participant_wave_size"),
];

/// When a phase ends.
#[derive(Clone, Copy, Debug)]
enum Until {
    /// After so long.
    Time(Duration),
    /// After so many more orders have ended.
    Ended(u64),
}

/// What all costs had come to at one moment.
struct Mark {
    at: Instant,
    completed: u64,
    ended: u64,
    cpu_us: BTreeMap<String, u64>,
    wal: Option<i64>,
    kafka: Option<u64>,
    metrics: Vec<(&'static str, Metrics)>,
}

struct Stage<'a> {
    args: &'a Args,
    load: Load,
    book: &'a Book,
    servers: &'a mut Servers,
    services: &'a Services,
    progress: &'a Progress,
    meter: Meter,
}

/// All phases; the figures lack only the violations.
pub(super) async fn run(
    args: &Args,
    load: Load,
    book: &Book,
    servers: &mut Servers,
    services: &Services,
    progress: &Progress,
) -> Result<Figures> {
    let mut who = services.processes();
    who.extend(servers.processes());
    who.push(("load generator".to_owned(), Who::One(std::process::id())));
    let mut stage = Stage { args, load, book, servers, services, progress, meter: Meter::new(who) };
    stage.warm_up().await?;
    let mut figures = Figures::default();
    stage.unloaded(&mut figures).await?;
    stage.measured(&mut figures).await?;
    Ok(figures)
}

impl Stage<'_> {
    async fn warm_up(&mut self) -> Result<()> {
        if self.args.warm_up == 0 {
            return Ok(());
        }
        self.progress.phase("warm-up", &format!("{} s under load", self.args.warm_up));
        let running = self.load.closed(self.args.in_flight);
        self.watch(Until::Time(Duration::from_secs(self.args.warm_up))).await?;
        self.drain(running).await
    }

    async fn unloaded(&mut self, figures: &mut Figures) -> Result<()> {
        if self.args.unloaded == 0 {
            return Ok(());
        }
        self.progress.phase("unloaded", &format!("{} s with one order in flight", self.args.unloaded));
        let running = self.load.closed(1);
        let from = Instant::now() + CALM;
        self.watch(Until::Time(CALM + Duration::from_secs(self.args.unloaded))).await?;
        let until = Instant::now();
        self.drain(running).await?;
        let (_, order) = self.book.latencies(from, until);
        figures.unloaded_ms = Percentiles::of(&order);
        figures.unloaded_orders = order.len();
        Ok(())
    }

    async fn measured(&mut self, figures: &mut Figures) -> Result<()> {
        let until =
            self.args.orders.map_or(Until::Time(Duration::from_secs(self.args.seconds)), Until::Ended);
        let how = self.args.rate.map_or("as much as it can".to_owned(), |rate| format!("{rate} orders/s"));
        self.progress.phase("load", &how);
        let running = match self.args.rate {
            Some(rate) => self.load.open(rate),
            None => self.load.closed(self.args.in_flight),
        };
        self.watch(Until::Time(SETTLE)).await?;
        let memory = tokio::spawn(self.meter.clone().watch());
        let before = self.mark().await?;
        self.watch(until).await?;
        let after = self.mark().await?;
        memory.abort();
        self.progress.phase("drain", "until every order has ended");
        self.drain(running).await?;
        let (submit, order) = self.book.latencies(before.at, after.at);
        figures.submit_ms = Percentiles::of(&submit);
        figures.order_ms = Percentiles::of(&order);
        figures.rss_mib =
            self.meter.peak_mib().into_iter().map(|(name, mib)| (name, round(mib, 1))).collect();
        figures.repeated = self.book.repeats();
        figures.durability = self.servers.durability().await;
        compare(figures, &before, &after);
        Ok(())
    }

    async fn mark(&mut self) -> Result<Mark> {
        let metrics = self.services.metrics().await?;
        let (completed, ended) = self.book.counts();
        Ok(Mark {
            at: Instant::now(),
            completed,
            ended,
            cpu_us: self.meter.cpu_us(),
            wal: self.servers.wal_bytes().await,
            kafka: self.servers.kafka_bytes(),
            metrics,
        })
    }

    /// Lets it run, and fails when something has ended that should not.
    async fn watch(&mut self, until: Until) -> Result<()> {
        let start = Instant::now();
        let already = self.book.counts().1;
        let mut seen = (start, already);
        loop {
            tokio::time::sleep(TICK).await;
            self.check()?;
            let ended = self.book.counts().1;
            let (share, left) = match until {
                Until::Time(all) => (
                    start.elapsed().as_secs_f64() / all.as_secs_f64(),
                    Some(all.saturating_sub(start.elapsed())),
                ),
                Until::Ended(all) => ((ended - already) as f64 / all as f64, None),
            };
            if share >= 1.0 {
                return Ok(());
            }
            if seen.0.elapsed() >= Duration::from_secs(1) {
                let per_second = (ended - seen.1) as f64 / seen.0.elapsed().as_secs_f64();
                self.progress.at(share, pace(per_second, self.book.in_flight(), left));
                seen = (Instant::now(), ended);
            }
        }
    }

    /// Nothing more comes; waits until all in flight have ended. Those that do not are for the reckoning to tell.
    async fn drain(&mut self, running: Running) -> Result<()> {
        running.stop().await;
        let end = Instant::now() + DRAIN;
        while self.book.in_flight() > 0 && Instant::now() < end {
            self.check()?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    fn check(&mut self) -> Result<()> {
        self.services.check()?;
        if let Some(why) = self.load.broken() {
            bail!("the connection to the orchestrator ended: {why}");
        }
        Ok(())
    }
}

/// What happened between two marks.
fn compare(figures: &mut Figures, before: &Mark, after: &Mark) {
    figures.seconds = round(after.at.duration_since(before.at).as_secs_f64(), 3);
    let ended = (after.ended - before.ended).max(1) as f64;
    figures.completed_per_s = round((after.completed - before.completed) as f64 / figures.seconds, 1);
    figures.ended_per_s = round(ended / figures.seconds, 1);
    for (name, us) in &after.cpu_us {
        let used = us.saturating_sub(before.cpu_us.get(name).copied().unwrap_or(0));
        figures.cpu_us_per_order.insert(name.clone(), round(used as f64 / ended, 1));
    }
    let bytes = |after: f64, before: f64| round((after - before) / ended, 0);
    figures.wal_bytes_per_order = after.wal.zip(before.wal).map(|(a, b)| bytes(a as f64, b as f64));
    figures.kafka_bytes_per_order = after.kafka.zip(before.kafka).map(|(a, b)| bytes(a as f64, b as f64));
    for (service, histogram) in BATCHES {
        let of = |mark: &Mark| mark.metrics.iter().find(|(s, _)| *s == service).map(|(_, m)| m.clone());
        let mean = of(after).zip(of(before)).and_then(|(a, b)| a.mean_since(&b, histogram));
        if let Some(mean) = mean {
            figures.batch.insert(service.to_owned(), round(mean, 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(at: Instant, ended: u64, us: u64, batch: &str) -> Mark {
        Mark {
            at,
            completed: ended * 9 / 10,
            ended,
            cpu_us: [("kafka".to_owned(), us)].into(),
            wal: Some(us as i64),
            kafka: None,
            metrics: vec![("orchestrator", Metrics::parse(batch))],
        }
    }

    #[test]
    fn costs_are_those_between_the_marks() {
        let start = Instant::now();
        let before = mark(start, 1_000, 50_000, "skald_batch_size_sum 10\nskald_batch_size_count 10");
        let text = "skald_batch_size_sum 1010\nskald_batch_size_count 20";
        let after = mark(start + Duration::from_secs(10), 3_000, 250_000, text);
        let mut figures = Figures::default();
        compare(&mut figures, &before, &after);
        assert_eq!((figures.completed_per_s, figures.ended_per_s, figures.seconds), (180.0, 200.0, 10.0));
        assert_eq!(figures.cpu_us_per_order["kafka"], 100.0);
        assert_eq!((figures.wal_bytes_per_order, figures.kafka_bytes_per_order), (Some(100.0), None));
        assert_eq!(figures.batch, [("orchestrator".to_owned(), 100.0)].into());
    }

    #[test]
    fn a_phase_in_which_nothing_ended_divides_by_nothing() {
        let start = Instant::now();
        let (before, after) = (mark(start, 0, 0, ""), mark(start + Duration::from_secs(1), 0, 9, ""));
        let mut figures = Figures::default();
        compare(&mut figures, &before, &after);
        assert_eq!(figures.completed_per_s, 0.0);
        assert!(figures.cpu_us_per_order["kafka"].is_finite() && figures.batch.is_empty());
    }
}
