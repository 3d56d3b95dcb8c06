//! A gateway that moves no money: documented tokens, books of its own, and a mood. As if it were another company: it shares
//! no table and no connection with payment.
//!
//! | token | what happens |
//! |---|---|
//! | `tok_ok` | captured |
//! | `tok_declined` | declined, `card_declined` |
//! | `tok_insufficient_funds` | declined, `insufficient_funds` |
//! | `tok_slow` | captured after 2 s |
//! | `tok_flaky` | a key's first call is "not now" and does nothing, the next one captures |
//! | `tok_lost_answer` | captured, and that answer is lost; a repeat or a search gets it |
//! | `tok_outage` | "not now", for ever |
//! | anything else | declined, `invalid_token` |

mod books;
mod clerk;
mod mood;
mod records;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use skald_kit::config::Secret;
use skald_participant::Deadline;
use tokio::sync::{mpsc, oneshot};

use super::{Answer, Charge, Fault, Gateway, Kind, Record, Refund};
use books::{Ask, Op};
use clerk::Job;
pub use mood::Mood;
use records::Archive;

/// Calls that wait for the books: far more than a participant has under way, so it is reached only when the books hang.
const QUEUE: usize = 4_096;
/// What `tok_slow` waits.
const SLOW: Duration = Duration::from_secs(2);

/// The simulated gateway; clones are the same one.
#[derive(Clone, Debug)]
pub struct Simulated {
    jobs: mpsc::Sender<Job>,
    mood: Arc<Mutex<mood::Current>>,
    key_lifetime: Duration,
    archive: Archive,
}

impl Simulated {
    /// Opens the books in schema `gateway` of this database, in a task that ends with the last clone. The database need
    /// not answer yet: until it does, the gateway is not available.
    #[must_use]
    pub fn start(url: Secret, key_lifetime: Duration, mood: Mood) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let archive = Archive::new(&url);
        tokio::spawn(clerk::work(url, key_lifetime, queue));
        let mood = Arc::new(Mutex::new(mood::Current::new(mood)));
        Self { jobs, mood, key_lifetime, archive }
    }

    /// Misbehaves like this from now on; calls under way keep the old mood.
    pub fn set_mood(&self, mood: Mood) {
        *self.mood.lock().unwrap_or_else(PoisonError::into_inner) = mood::Current::new(mood);
    }

    async fn call(
        &self,
        op: Op,
        our_ref: &str,
        key: &str,
        deadline: Option<Deadline>,
    ) -> Result<Option<Answer>, Fault> {
        let fate = self.mood.lock().unwrap_or_else(PoisonError::into_inner).next();
        let slow = if matches!(&op, Op::Charge { token, .. } if token == "tok_slow") {
            SLOW
        } else {
            Duration::ZERO
        };
        let wait = fate.latency + slow;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let ask = Ask {
            op,
            key: key.to_owned(),
            our_ref: our_ref.to_owned(),
            outage: fate.outage,
            lose_answer: fate.lose_answer,
        };
        let (reply, answer) = oneshot::channel();
        // The way to the company ends here: the clerk asks the deadline once more when it takes the job up.
        if deadline.is_some_and(|deadline| deadline.passed()) {
            return Err(Fault::TooLate);
        }
        self.jobs.send(Job { ask, deadline, reply }).await.map_err(|_| Fault::Unavailable)?;
        answer.await.unwrap_or(Err(Fault::Lost))
    }
}

/// A charge or refund always has an answer; the books promise it.
fn definite(answer: Option<Answer>) -> Result<Answer, Fault> {
    answer.ok_or(Fault::Lost)
}

impl Gateway for Simulated {
    async fn charge(&self, charge: &Charge) -> Result<Answer, Fault> {
        let op = Op::Charge {
            token: charge.token.clone(),
            amount_minor: charge.amount_minor,
            currency: charge.currency.clone(),
        };
        definite(self.call(op, &charge.our_ref, &charge.key, Some(charge.deadline)).await?)
    }

    async fn refund(&self, refund: &Refund) -> Result<Answer, Fault> {
        let op = Op::Refund {
            charge_ref: refund.charge_ref.clone(),
            amount_minor: refund.amount_minor,
            currency: refund.currency.clone(),
        };
        definite(self.call(op, &refund.our_ref, &refund.key, Some(refund.deadline)).await?)
    }

    async fn find(&self, kind: Kind, our_ref: &str, key: &str) -> Result<Option<Answer>, Fault> {
        self.call(Op::Find(kind), our_ref, key, None).await
    }

    async fn records(&self, after: (i64, &str), until: i64, limit: i64) -> Result<Vec<Record>, Fault> {
        let fate = self.mood.lock().unwrap_or_else(PoisonError::into_inner).next();
        if !fate.latency.is_zero() {
            tokio::time::sleep(fate.latency).await;
        }
        if fate.outage {
            return Err(Fault::Unavailable);
        }
        let records = self.archive.records(after, until, limit).await?;
        if fate.lose_answer { Err(Fault::Lost) } else { Ok(records) }
    }

    fn key_lifetime(&self) -> Duration {
        self.key_lifetime
    }
}
