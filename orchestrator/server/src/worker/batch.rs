//! One transaction: claim idempotency keys, lock and read the sagas, plan, write, commit. Executes; decides nothing.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use skald_core::{
    Input,
    plan::{self, Item, Loaded, Plan},
    state::{self, State},
};
use skald_kit::pg;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::{
    Failure, Worker,
    look::{self, Look},
    writes::{Known, MAX_PUBLISHED, Writes},
};
use crate::{
    definitions::Registry,
    job::{Ask, Job, Operation, Reply, Submission, Wake},
    shared::Shared,
    store::{self, action, definition::Freeze, saga::Row, submission},
};

/// Constraints of ours that an input alone can violate. None so far: intake validates, the machine decides.
const OURS: &[&str] = &[];

/// What a new connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// A batch as it was committed.
pub(super) struct Decided {
    /// ms
    pub now: i64,
    /// What follows; tokens are indices into the jobs.
    pub plan: Plan<usize>,
    /// What was written.
    pub writes: Writes,
    /// What needs no planning, by index.
    pub settled: HashMap<usize, Settled>,
}

/// A job that is settled without planning.
pub(super) enum Settled {
    /// A submission whose key was taken.
    Reply(Reply),
    /// A message that must be kept as a dead letter.
    DeadLetter(String),
}

impl Worker {
    /// Decides a batch once.
    pub(super) async fn attempt(&mut self, jobs: &[Job]) -> Result<Decided, Failure> {
        let shared = Arc::clone(&self.shared);
        let connection = self.connection().await?;
        let began = std::time::Instant::now();
        let mut tx = connection.begin().await.map_err(database)?;
        let now = shared.clock.now_ms();
        let mut settled = claim(&mut tx, jobs).await?;
        let (loaded, rows) = load(&mut tx, &shared.registry, jobs).await?;
        refuse_impostors(jobs, &loaded, &mut settled);
        answer_again(&mut tx, jobs, &mut settled).await?;
        let looks = look::looks(&shared.config.driver, shared.instance, now, jobs, &rows, &loaded);
        let items = items(jobs, &settled, &looks);
        let frozen = shared.frozen.names();
        let planned = catch_unwind(AssertUnwindSafe(|| {
            let plan = plan::plan(now, items, loaded, &frozen);
            let writes = Writes::of(&shared, now, jobs, &plan, &rows, &looks);
            (plan, writes)
        }));
        let (plan, mut writes) =
            planned.map_err(|panic| Failure::Poison(format!("planning panicked: {}", said(&panic))))?;
        writes.rows.published = shared.relay.take_acked(MAX_PUBLISHED);
        let stored = writes.execute(&mut tx, shared.instance, now).await.map_err(stored);
        let committed = match stored {
            Ok(()) => committed(pg::commit(tx).await),
            Err(failure) => Err(failure),
        };
        if let Err(failure) = committed {
            shared.relay.give_back(std::mem::take(&mut writes.rows.published));
            return Err(failure);
        }
        metrics::histogram!("skald_transaction_seconds").record(began.elapsed().as_secs_f64());
        Ok(Decided { now, plan, writes, settled })
    }

    pub(super) async fn connection(&mut self) -> Result<&mut PgConnection, Failure> {
        if self.connection.is_none() {
            let url = &self.shared.config.postgres.url;
            let late = |_| Failure::Transient(format!("no connection in {} s", CONNECT.as_secs()));
            let fresh = tokio::time::timeout(CONNECT, pg::worker_connection(url)).await.map_err(late)?;
            self.connection = Some(fresh.map_err(database)?);
        }
        Ok(self.connection.as_mut().expect("it was just made"))
    }
}

/// Claims the keys of the batch's submissions; gives the answers of those whose key was taken.
async fn claim(conn: &mut PgConnection, jobs: &[Job]) -> Result<HashMap<usize, Settled>, Failure> {
    let submissions: Vec<(usize, Uuid, &Submission)> = (jobs.iter().enumerate())
        .filter_map(|(i, job)| match &job.ask {
            Ask::Submit(submission) => Some((i, job.saga, submission.as_ref())),
            _ => None,
        })
        .collect();
    let mut answers = HashMap::new();
    if submissions.is_empty() {
        return Ok(answers);
    }
    // One row per key: the first of the batch asks, the others get its answer.
    let mut wanted = submission::Wanted::default();
    let mut first: BTreeMap<(&str, &str), (Uuid, &[u8])> = BTreeMap::new();
    for (_, saga, s) in &submissions {
        first.entry((&s.client, &s.key)).or_insert_with(|| {
            wanted.client.push(s.client.clone());
            wanted.key.push(s.key.clone());
            wanted.digest.push(s.digest.clone());
            wanted.saga_id.push(*saga);
            wanted.definition.push(s.definition.name.clone());
            (*saga, &s.digest)
        });
    }
    let claimed = submission::claim(conn, &wanted).await.map_err(database)?;
    let (mut taken, mut frozen) = (Vec::new(), BTreeMap::new());
    if claimed.len() < wanted.key.len() {
        taken = submission::taken(conn, &wanted.client, &wanted.key).await.map_err(database)?;
    }
    for t in &taken {
        first.insert((&t.client, &t.key), (t.saga_id, &t.digest));
    }
    if claimed.len() < wanted.key.len() && taken.len() < wanted.key.len() {
        frozen = refused(conn, &wanted, &taken).await?;
    }
    for (i, saga, s) in submissions {
        let key = (s.client.as_str(), s.key.as_str());
        if let Some(freeze) = frozen.get(&key) {
            answers.insert(i, Settled::Reply(Reply::Frozen(freeze.clone())));
            continue;
        }
        let (owner, digest) = first[&key];
        if owner != saga {
            let reply = if digest == s.digest { Reply::Known(owner) } else { Reply::KeyTaken };
            answers.insert(i, Settled::Reply(reply));
        }
    }
    Ok(answers)
}

/// The keys that are neither ours nor somebody's: their definitions are frozen.
async fn refused<'a>(
    conn: &mut PgConnection,
    wanted: &'a submission::Wanted,
    taken: &[submission::Taken],
) -> Result<BTreeMap<(&'a str, &'a str), Freeze>, Failure> {
    let freezes = store::definition::frozen(conn).await.map_err(database)?;
    let stands: BTreeSet<_> = taken.iter().map(|t| (t.client.as_str(), t.key.as_str())).collect();
    let keys = wanted.client.iter().zip(&wanted.key).map(|(client, key)| (client.as_str(), key.as_str()));
    let open = keys.zip(&wanted.definition).filter(|(key, _)| !stands.contains(key));
    open.map(|(key, name)| {
        let freeze = freezes.iter().find(|freeze| freeze.name == *name).cloned();
        let thawed = || Failure::Conflict(format!("{name} was thawed, or a key forgotten, meanwhile"));
        freeze.map(|freeze| (key, freeze)).ok_or_else(thawed)
    })
    .collect()
}

/// Locks and reads the sagas that the batch is about.
async fn load(
    conn: &mut PgConnection,
    registry: &Registry,
    jobs: &[Job],
) -> Result<(BTreeMap<Uuid, Loaded>, HashMap<Uuid, Known>), Failure> {
    let mut ids: Vec<Uuid> =
        jobs.iter().filter(|j| !matches!(j.ask, Ask::Submit(_))).map(|j| j.saga).collect();
    ids.sort_unstable();
    ids.dedup();
    let (mut loaded, mut known) = (BTreeMap::new(), HashMap::new());
    if ids.is_empty() {
        return Ok((loaded, known));
    }
    for row in store::saga::lock(conn, &ids).await.map_err(database)? {
        let saga = match row.quarantine {
            // What is wrong may be what would be read here, and nothing is done with it.
            Some(_) => Loaded { definition: Arc::default(), state: State::default(), quarantined: true },
            None => read(conn, registry, &row).await?,
        };
        loaded.insert(row.id, saga);
        known.insert(row.id, Known::from(row));
    }
    Ok((loaded, known))
}

async fn read(conn: &mut PgConnection, registry: &Registry, row: &Row) -> Result<Loaded, Failure> {
    let definition = match registry.get(row.definition_id) {
        Some(definition) => definition,
        None => {
            registry.refresh(conn).await.map_err(|e| Failure::Transient(e.to_string()))?;
            let missing =
                || Failure::Poison(format!("table saga, column definition_id, id {}: unknown", row.id));
            registry.get(row.definition_id).ok_or_else(missing)?
        }
    };
    let state = state::decode(row.format as u32, &row.state).map_err(|e| unreadable(row.id, e))?;
    Ok(Loaded { definition, state, quarantined: false })
}

fn unreadable(id: Uuid, why: state::Unreadable) -> Failure {
    let text = format!("table saga, column state, id {id}: {why}");
    match why {
        state::Unreadable::Newer { .. } => Failure::Fatal(anyhow::anyhow!(text)),
        state::Unreadable::Broken(_) | state::Unreadable::Beyond(_) => Failure::Poison(text),
    }
}

/// An outcome about a step must come from the participant of that step.
fn refuse_impostors(jobs: &[Job], loaded: &BTreeMap<Uuid, Loaded>, settled: &mut HashMap<usize, Settled>) {
    for (i, job) in jobs.iter().enumerate() {
        let (Ask::Input(Input::Outcome(outcome)), Some(saga)) = (&job.ask, loaded.get(&job.saga)) else {
            continue;
        };
        let step = saga.definition.steps.iter().find(|step| step.name == outcome.step && !step.is_signal());
        if let Some(step) = step.filter(|step| step.participant != job.actor) {
            let why = format!("IMPOSTOR: {} is {}'s, not {}'s", step.name, step.participant, job.actor);
            settled.insert(i, Settled::DeadLetter(why));
        }
    }
}

/// Actions that were answered before get their first answer. A request id that is taken between this look and the
/// commit is a conflict.
async fn answer_again(
    conn: &mut PgConnection,
    jobs: &[Job],
    settled: &mut HashMap<usize, Settled>,
) -> Result<(), Failure> {
    let operations: Vec<(usize, &Operation)> = (jobs.iter().enumerate())
        .filter_map(|(i, job)| match &job.ask {
            Ask::Operate(operation) => Some((i, operation.as_ref())),
            _ => None,
        })
        .collect();
    if operations.is_empty() {
        return Ok(());
    }
    let ids: Vec<String> = operations.iter().map(|(_, o)| o.operator.request_id.clone()).collect();
    let known = action::answered(conn, &ids).await.map_err(database)?;
    for (i, operation) in operations {
        let Some(first) = known.iter().find(|k| k.request_id == operation.operator.request_id) else {
            continue;
        };
        settled.insert(i, Settled::Reply(Reply::Answered(Box::new(first.clone()))));
    }
    Ok(())
}

/// What is planned: everything that is not settled yet.
fn items(jobs: &[Job], settled: &HashMap<usize, Settled>, looks: &HashMap<Uuid, Look>) -> Vec<Item<usize>> {
    let ask = |job: &Job| match &job.ask {
        Ask::Submit(s) => plan::Ask::Start(Arc::clone(&s.definition), s.started.clone()),
        Ask::Input(input) => plan::Ask::Fold(input.clone()),
        Ask::Operate(operation) => {
            let input = Input::Operator(operation.operator.clone());
            match &operation.to {
                None => plan::Ask::Fold(input),
                Some((_, to)) => plan::Ask::Move(Arc::clone(to), input),
            }
        }
        Ask::Wake(_) => plan::Ask::Wake { resend: looks.get(&job.saga).is_some_and(|look| look.resend) },
    };
    (jobs.iter().enumerate())
        .filter(|(i, _)| !settled.contains_key(i))
        .map(|(i, job)| Item { saga: job.saga, actor: job.actor.clone(), ask: ask(job), token: i })
        .collect()
}

/// The class of a failed statement.
pub(super) fn database(error: sqlx::Error) -> Failure {
    match pg::classify(&error, OURS) {
        pg::Class::Poison => Failure::Poison(error.to_string()),
        pg::Class::Conflict => Failure::Conflict(error.to_string()),
        pg::Class::Transient { expected } => {
            if !expected {
                tracing::error!(%error, "an error of the database that no outage explains: trying again all the same");
                metrics::counter!("skald_unexpected_errors_total").increment(1);
            }
            Failure::Transient(error.to_string())
        }
    }
}

fn committed(outcome: pg::Outcome) -> Result<(), Failure> {
    match outcome {
        pg::Outcome::Committed => Ok(()),
        pg::Outcome::NotCommitted(error) => Err(database(error)),
        pg::Outcome::Unknown(error) => Err(Failure::CommitUnknown(error.to_string())),
    }
}

fn stored(error: store::Error) -> Failure {
    match error {
        store::Error::Database(error) => database(error),
        store::Error::Moved(moved) => Failure::Conflict(moved.to_string()),
    }
}

fn said(panic: &Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

impl Shared {
    /// The participant may be asked again for this saga.
    pub(super) fn may_resend(&self, why: Wake, participant: &str, now: i64) -> bool {
        match why {
            // It never got there: no repetition, so no budget.
            Wake::Undelivered | Wake::Orphan(_) => true,
            Wake::Timer | Wake::Net if self.transports.is_failing(participant) => false,
            Wake::Timer | Wake::Net => {
                let enough = self.budget.take(participant, now);
                if !enough {
                    let participant = participant.to_owned();
                    metrics::counter!("skald_resend_budget_exhausted_total", "participant" => participant)
                        .increment(1);
                }
                enough
            }
        }
    }
}
