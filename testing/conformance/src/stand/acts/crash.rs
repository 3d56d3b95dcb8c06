//! The act that kills: work is kept in flight until the participant is gone, so that the kill surely hits some.

use skald_proto::participant::v1::Command;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Open, Patience, collect, wait};
use crate::{
    script::{Round, answers, same},
    stand::Stand,
};

/// Commands that are sent together before the kill begins.
const WINDOW: usize = 8;
/// How often.
const BEFORE: usize = 2;
/// Here silence is asked again by so much later: what is caught should have been sent once.
const SLOWLY: u32 = 4;

pub(super) async fn crash(
    stand: &mut Stand,
    round: &mut Round,
    first: &[Command],
    then: &[Command],
    silent: bool,
) {
    round.sent.extend(stand.transport.send(vec![(0, first.to_vec())]).await);
    answered(stand, round, first, 1).await;
    if let Err(error) = kill_under_load(stand, round, then).await {
        round.hook_failed = Some(error);
        return;
    }
    collect(stand, round);
    let sent = || round.sent.iter().map(|s| &s.command);
    let unanswered = |c: &&Command| !round.arrivals.iter().any(|a| answers(&a.outcome, c));
    round.caught = Some(sent().filter(unanswered).count());
    let mut open: Vec<Open> = Vec::new();
    for command in sent() {
        if !open.iter().any(|o| same(&o.command, command)) {
            open.push(Open::new(0, command));
        }
    }
    round.committed = stand.transport.committed().await;
    if let Err(error) = stand.hooks.restart().await {
        round.hook_failed = Some(error);
        return;
    }
    let resend = (!silent).then_some(stand.options.resend);
    let until = Instant::now() + stand.options.after_crash;
    wait(stand, round, &mut open, Patience { until, resend, retry: !silent }).await;
}

/// Some together, then one by one, the next when the one before is answered: something is always under way, until the participant
/// is gone.
async fn kill_under_load(stand: &mut Stand, round: &mut Round, then: &[Command]) -> Result<(), String> {
    let (together, single) = then.split_at(then.len().min(WINDOW * BEFORE));
    for window in together.chunks(WINDOW) {
        round.sent.extend(stand.transport.send(vec![(0, window.to_vec())]).await);
        answered(stand, round, window, window.len()).await;
    }
    let pace = stand.hooks.pace();
    let mut kill = stand.hooks.kill()?;
    for one in single.chunks(1) {
        round.sent.extend(stand.transport.send(vec![(0, one.to_vec())]).await);
        let next = async {
            answered(stand, round, one, 1).await;
            if !pace.is_zero() {
                sleep(pace).await;
            }
        };
        tokio::select! {
            biased;
            // the next one first: something is under way when it is gone
            () = next => {}
            killed = &mut kill => return killed,
        }
    }
    kill.await
}

/// Returns when so many of these are answered, or the patience is over. Who answers only when asked again is asked again.
async fn answered(stand: &mut Stand, round: &mut Round, commands: &[Command], least: usize) {
    let until = Instant::now() + stand.options.patience;
    let gap = stand.options.resend * SLOWLY;
    let mut again_at = Instant::now() + gap;
    loop {
        collect(stand, round);
        let is = |c: &Command| round.arrivals.iter().any(|a| answers(&a.outcome, c));
        let (answered, silent): (Vec<_>, Vec<_>) = commands.iter().cloned().partition(is);
        if answered.len() >= least || Instant::now() >= until {
            return;
        }
        if timeout_at(again_at.min(until), stand.transport.inbox().more()).await.is_err() {
            round.sent.extend(stand.transport.send(vec![(0, silent)]).await);
            again_at = Instant::now() + gap;
        }
    }
}
