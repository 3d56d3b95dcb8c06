//! What is done when a batch was not decided, by class of error. Callers are told; what came by message is decided
//! again, for ever, unless it alone is to blame.

use std::time::Duration;

use skald_kit::{backoff, health::Status};

use super::{
    Failure, Worker,
    batch::{Decided, database},
};
use crate::{
    bus::Lost,
    job::{Ask, Job, Origin, Reply},
    store,
};

/// A culprit must fail alone so often before it is put aside.
const ALONE: u32 = 3;
/// Who meets conflicts so often in a row does not meet somebody else: something is wrong with what is stored.
const CONFLICTS: u32 = 20;
/// A database that does not answer for so long never will on this connection.
const HUNG: Duration = Duration::from_secs(30);

/// Jobs that are decided together.
struct Piece {
    jobs: Vec<Job>,
    /// How often its one job failed.
    alone: u32,
    conflicts: u32,
    /// It failed for lack of a database before.
    again: bool,
}

impl Piece {
    fn of(jobs: Vec<Job>) -> Piece {
        Piece { jobs, alone: 0, conflicts: 0, again: false }
    }

    /// Tells the callers in it, who are then no longer in it.
    fn tell(&mut self, reply: &Reply) {
        for job in self.jobs.extract_if(.., |job| matches!(job.origin, Origin::Caller(_))) {
            job.origin.reply(reply.clone());
        }
    }
}

impl Worker {
    /// Decides jobs, whatever it takes. Returns when the database can be used again.
    ///
    /// # Errors
    /// This binary must not go on.
    pub(super) async fn handle(&mut self, jobs: Vec<Job>) -> anyhow::Result<()> {
        let mut open = vec![Piece::of(jobs)];
        let mut gaps = backoff::gaps();
        while let Some(mut piece) = open.pop() {
            if piece.jobs.is_empty() {
                continue;
            }
            match self.in_time(&piece.jobs).await {
                Ok(decided) => {
                    self.finish(piece.jobs, decided);
                    gaps = backoff::gaps();
                }
                Err(Failure::Fatal(error)) => return Err(error),
                Err(Failure::Conflict(why)) if piece.conflicts < CONFLICTS => {
                    tracing::debug!(why, "somebody else was first: deciding again");
                    piece.conflicts += 1;
                    open.push(piece);
                }
                Err(Failure::Conflict(why) | Failure::Poison(why)) => {
                    self.blame(piece, &why, &mut open).await
                }
                Err(Failure::Transient(why)) => {
                    self.lost(&why);
                    // An idle connection may have broken long ago, and of two in a deadlock one goes on: once more,
                    // at once.
                    let first = !std::mem::replace(&mut piece.again, true);
                    if first && self.connection().await.is_ok() {
                        open.push(piece);
                        continue;
                    }
                    open.push(piece);
                    open.iter_mut().for_each(|piece| piece.tell(&Reply::Unavailable));
                    self.come_back(&mut gaps).await;
                }
                Err(Failure::CommitUnknown(why)) => {
                    metrics::counter!("skald_commit_unknown_total").increment(1);
                    self.lost(&why);
                    // If it was stored, nobody has sent what it asks for.
                    for job in &piece.jobs {
                        self.not_delivered(Lost { saga: job.saga, participant: None });
                    }
                    piece.tell(&Reply::MaybeStored);
                    open.push(piece);
                    self.come_back(&mut gaps).await;
                }
            }
            if self.shutdown.is_requested() && self.connection.is_none() {
                // The database is away while we stop: what came by message comes again.
                open.iter_mut().for_each(|piece| piece.tell(&Reply::Unavailable));
                return Ok(());
            }
        }
        if self.troubled && self.connection.is_some() {
            self.troubled = false;
            self.shared.health.set("postgres", Status::Up, "");
        }
        Ok(())
    }

    async fn in_time(&mut self, jobs: &[Job]) -> Result<Decided, Failure> {
        let late = || Failure::CommitUnknown(format!("no answer for {} s", HUNG.as_secs()));
        tokio::time::timeout(HUNG, self.attempt(jobs)).await.unwrap_or_else(|_| Err(late()))
    }

    fn lost(&mut self, why: &str) {
        tracing::warn!(why, "a batch was not stored: deciding again");
        self.connection = None;
        self.troubled = true;
        self.shared.health.set("postgres", Status::Degraded, why);
    }

    /// Waits for the database, or for the stop; callers are told meanwhile.
    async fn come_back(&mut self, gaps: &mut (impl Iterator<Item = Duration> + Send)) {
        while !self.shutdown.is_requested() {
            self.rest(gaps.next().unwrap_or_default()).await;
            if self.connection().await.is_ok() {
                return;
            }
        }
    }

    async fn rest(&mut self, gap: Duration) {
        let over = tokio::time::sleep(gap);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return,
                () = self.shutdown.requested() => return,
                Some(job) = self.calls.recv() => job.origin.reply(Reply::Unavailable),
            }
        }
    }

    /// One of these jobs is to blame: halves them, until the culprit has failed alone often enough.
    async fn blame(&mut self, mut piece: Piece, why: &str, open: &mut Vec<Piece>) {
        if piece.jobs.len() > 1 {
            tracing::warn!(why, jobs = piece.jobs.len(), "a batch has a poisonous input: halving it");
            let second = piece.jobs.split_off(piece.jobs.len() / 2);
            open.extend([Piece::of(second), Piece::of(piece.jobs)]);
        } else if piece.alone + 1 < ALONE {
            piece.alone += 1;
            open.push(piece);
        } else if let Some(job) = piece.jobs.pop() {
            self.put_aside(job, why).await;
        }
    }

    /// A job that failed alone again and again: the message is kept as a dead letter, the caller is told, and a saga
    /// that exists takes nothing more until an operator looked.
    async fn put_aside(&mut self, job: Job, why: &str) {
        tracing::error!(saga = %job.saga, why, "an input can't be handled: put aside");
        metrics::counter!("skald_poison_total").increment(1);
        if !matches!(job.ask, Ask::Submit(_)) {
            for gap in backoff::gaps() {
                match self.quarantine(job.saga, why).await {
                    Ok(()) => break,
                    Err(error) if self.shutdown.is_requested() => {
                        tracing::warn!(?error, "the saga was not quarantined: the input comes again");
                        return;
                    }
                    Err(_) => self.rest(gap).await,
                }
            }
        }
        match job.origin {
            origin @ (Origin::Message(_) | Origin::Stream { .. }) => {
                self.put_away(job.saga, &job.actor, origin, format!("POISON: {why}"), ALONE)
            }
            origin => origin.reply(Reply::Poison(why.to_owned())),
        }
    }

    async fn quarantine(&mut self, saga: uuid::Uuid, why: &str) -> Result<(), Failure> {
        let now = self.shared.clock.now_ms();
        let connection = self.connection().await?;
        // A panic's text may have anything in it; PostgreSQL stores no NUL.
        let why = why.replace('\0', "");
        let done = store::saga::quarantine(connection, saga, &why, now, now + store::IDLE_MS).await;
        if done.is_err() {
            self.connection = None;
        }
        done.map_err(database)
    }
}
