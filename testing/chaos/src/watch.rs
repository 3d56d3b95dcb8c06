//! Beside the run: starts processes again that ended by themselves, as a supervisor would, and reads the orchestrators' counters, for
//! they die with them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use crate::world::{
    EACH, World,
    service::{Who, get},
};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// What one life of an orchestrator has counted, as far as it was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Life {
    /// How long it was seen.
    pub(crate) seconds: f64,
    /// Outcomes that it took.
    pub(crate) answers: f64,
    /// Commands that it sent again into silence.
    pub(crate) again: f64,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Processes that ended by themselves, with the end of their logs.
    pub(crate) ended: Vec<String>,
    /// By number of the orchestrator.
    lives: BTreeMap<usize, Vec<(Instant, Life)>>,
}

impl Seen {
    /// All lives of all orchestrators.
    pub(crate) fn lives(&self) -> impl Iterator<Item = &Life> {
        self.lives.values().flatten().map(|(_, life)| life)
    }

    /// Counters of an orchestrator, read now. They never fall within a life.
    fn counted(&mut self, n: usize, now: Instant, text: &str) {
        let sum = |name: &str, label: &str| -> f64 {
            let of = |line: &&str| line.split(['{', ' ']).next() == Some(name) && line.contains(label);
            text.lines().filter(of).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
        };
        let answers = sum("skald_outcomes_total", "");
        let again = sum("skald_resends_total", "why=\"silence\"");
        let lives = self.lives.entry(n).or_default();
        match lives.last_mut() {
            Some((since, life)) if answers >= life.answers && again >= life.again => {
                *life = Life { seconds: (now - *since).as_secs_f64(), answers, again };
            }
            _ => lives.push((now, Life { seconds: 0.0, answers, again })),
        }
    }
}

/// A watch that goes on until it is ended.
#[derive(Debug)]
pub(crate) struct Watch {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Watch {
    pub(crate) fn start(world: &Arc<World>) -> Watch {
        let (world, seen) = (Arc::clone(world), Arc::new(Mutex::new(Seen::default())));
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                revive(&world, &shared).await;
                for n in 0..EACH {
                    let http = world.service(Who::Orchestrator, n).try_lock().map(|service| service.http());
                    if let Ok(http) = http
                        && let Ok((200, text)) = get(http, "/metrics").await
                    {
                        lock(&shared).counted(n, Instant::now(), &text);
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        Watch { seen, task }
    }

    /// What it has seen; it looks no more.
    pub(crate) fn end(self) -> Seen {
        self.task.abort();
        lock(&self.seen).clone()
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn revive(world: &World, seen: &Mutex<Seen>) {
    for service in Who::ALL.into_iter().flat_map(|who| world.all(who)) {
        // One that is being killed or stopped is none of ours.
        let Ok(mut service) = service.try_lock() else { continue };
        if let Some(how) = service.ended() {
            lock(seen).ended.push(how);
            if let Err(error) = service.launch() {
                lock(seen).ended.push(format!("{} cannot be started: {error:#}", service.name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_that_fall_begin_another_life() {
        let (mut seen, begin) = (Seen::default(), Instant::now());
        let text = |answers, again| {
            format!(
                "# TYPE skald_outcomes_total counter\nskald_outcomes_total{{fate=\"taken\"}} {answers}\n\
                 skald_outcomes_total{{fate=\"late\"}} 1\nskald_resends_total{{participant=\"payment\",why=\"silence\"}} {again}\n\
                 skald_resends_total{{participant=\"payment\",why=\"undelivered\"}} 70\n"
            )
        };
        for (second, (answers, again)) in [(10, 0), (20, 3), (2, 1), (5, 1)].into_iter().enumerate() {
            seen.counted(0, begin + Duration::from_secs(second as u64), &text(answers, again));
        }
        let life = |seconds, answers, again| Life { seconds, answers, again };
        assert_eq!(seen.lives().cloned().collect::<Vec<_>>(), [life(1.0, 21.0, 3.0), life(1.0, 6.0, 1.0)]);
    }
}
