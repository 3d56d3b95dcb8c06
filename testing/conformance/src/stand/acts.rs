//! Doing one act: send, wait, ask again into silence, try again after a failure, kill and restart.

mod crash;

use std::time::Duration;

use skald_proto::participant::v1::{Command, outcome::Answer};
use tokio::time::{Instant, timeout_at};

use super::Stand;
use crate::{
    script::{Act, Arrival, Round, answers},
    transport::Lanes,
};

/// Attempts of one command; a failure that can be tried again gets them all.
const ATTEMPTS: u32 = 6;
/// Before a further attempt, unless the participant asks for more.
const BACK_OFF: Duration = Duration::from_millis(100);

/// A command that waits for its answer.
struct Open {
    lane: usize,
    command: Command,
    answered: bool,
    /// Tried again from then on.
    again_at: Option<Instant>,
}

impl Open {
    fn new(lane: usize, command: &Command) -> Self {
        Self { lane, command: command.clone(), answered: false, again_at: None }
    }
}

/// How an act waits.
struct Patience {
    until: Instant,
    /// `None`: silence is not asked again.
    resend: Option<Duration>,
    /// Failures that can be tried again are.
    retry: bool,
}

pub(super) async fn act(stand: &mut Stand, act: &Act) -> Round {
    let mut round = Round::default();
    let until = Instant::now() + stand.options.patience;
    let resend = Some(stand.options.resend);
    match act {
        Act::Ask(commands) => {
            let patience = Patience { until, resend, retry: true };
            ask(stand, &mut round, vec![commands.clone()], patience).await;
        }
        Act::Once(commands) => {
            let patience = Patience { until, resend, retry: false };
            ask(stand, &mut round, vec![commands.clone()], patience).await;
        }
        Act::Race(lanes) => {
            ask(stand, &mut round, lanes.clone(), Patience { until, resend, retry: true }).await
        }
        Act::Garbage(key, bytes) => garbage(stand, &mut round, key, bytes, until).await,
        Act::Describe => {
            round.described = stand.transport.describe().await;
            collect(stand, &mut round);
        }
        Act::Crash { first, then, silent } => crash::crash(stand, &mut round, first, then, *silent).await,
    }
    round
}

/// Sends every lane's commands at the same time, and waits.
async fn ask(stand: &mut Stand, round: &mut Round, lanes: Vec<Vec<Command>>, patience: Patience) {
    let lanes: Lanes = lanes.into_iter().enumerate().collect();
    let each = lanes.iter().flat_map(|(lane, commands)| commands.iter().map(|c| Open::new(*lane, c)));
    let mut open: Vec<Open> = each.collect();
    round.sent.extend(stand.transport.send(lanes).await);
    wait(stand, round, &mut open, patience).await;
}

/// Until each is answered or the patience is over.
async fn wait(stand: &mut Stand, round: &mut Round, open: &mut [Open], patience: Patience) {
    let mut gap = patience.resend;
    let mut resend_at = gap.map(|gap| Instant::now() + gap);
    let mut told = round.arrivals.len();
    // what was collected already counts, too
    round.arrivals.iter().for_each(|arrival| settle(open, arrival, &patience));
    loop {
        collect(stand, round);
        round.arrivals[told..].iter().for_each(|arrival| settle(open, arrival, &patience));
        told = round.arrivals.len();
        let waits = |o: &Open| !o.answered;
        let now = Instant::now();
        if !open.iter().any(waits) || now >= patience.until {
            break;
        }
        let due = |o: &Open| o.again_at.is_some_and(|at| at <= now);
        try_again(stand, round, open, due).await;
        if resend_at.is_some_and(|at| at <= now) {
            try_again(stand, round, open, |o| !o.answered && o.again_at.is_none()).await;
            gap = gap.map(|gap| (gap * 2).min(patience.resend.unwrap_or(gap) * 16));
            resend_at = gap.map(|gap| Instant::now() + gap);
        }
        let wake = open.iter().filter_map(|o| o.again_at).chain(resend_at).min().unwrap_or(patience.until);
        let _ = timeout_at(wake.min(patience.until), stand.transport.inbox().more()).await;
    }
}

/// Sends these again, each on its lane, exact duplicates once.
async fn try_again(stand: &mut Stand, round: &mut Round, open: &mut [Open], which: impl Fn(&Open) -> bool) {
    let mut lanes: Lanes = Vec::new();
    for o in open.iter_mut().filter(|o| which(o)) {
        o.again_at = None;
        match lanes.iter_mut().find(|(lane, _)| *lane == o.lane) {
            Some((_, commands)) if commands.contains(&o.command) => {}
            Some((_, commands)) => commands.push(o.command.clone()),
            None => lanes.push((o.lane, vec![o.command.clone()])),
        }
    }
    if !lanes.is_empty() {
        round.sent.extend(stand.transport.send(lanes).await);
    }
}

/// Gives an arrival to whoever waits for it.
fn settle(open: &mut [Open], arrival: &Arrival, patience: &Patience) {
    let Some(answer) = &arrival.outcome.answer else { return };
    let mine = |o: &&mut Open| {
        !o.answered && answers(&arrival.outcome, &o.command) && arrival.outcome.attempt == o.command.attempt
    };
    for o in open.iter_mut().filter(mine) {
        match answer {
            Answer::Failed(failed) if failed.retryable && patience.retry && o.command.attempt < ATTEMPTS => {
                let after = Duration::from_millis(failed.retry_after_ms).max(BACK_OFF);
                o.command.attempt += 1;
                o.again_at = Some(Instant::now() + after);
            }
            _ => o.answered = true,
        }
    }
}

/// Moves what arrived into the round.
fn collect(stand: &Stand, round: &mut Round) {
    let (arrivals, letters, trouble) = stand.transport.inbox().take();
    round.arrivals.extend(arrivals);
    round.letters.extend(letters);
    round.trouble = trouble.or(round.trouble.take());
}

async fn garbage(stand: &mut Stand, round: &mut Round, key: &str, bytes: &[u8], until: Instant) {
    let patience = until.saturating_duration_since(Instant::now());
    stand.transport.garbage(key, bytes.to_vec(), patience).await;
    let kafka = stand.transport.is(crate::rules::Need::Kafka);
    loop {
        collect(stand, round);
        let buried = round.letters.iter().any(|letter| letter.payload == bytes);
        if !kafka || buried || timeout_at(until, stand.transport.inbox().more()).await.is_err() {
            return;
        }
    }
}
