//! The one desk that all services go through: mints ids, picks the worker, waits for its answer, reads what stands.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use prost::Message;
use sha2::{Digest, Sha256};
use skald_core::{
    Definition, Input, history,
    input::{Payload, Request, Signal},
    machine::Refused,
};
use skald_kit::{ids, kafka::partition_for_id, trace::Traceparent};
use sqlx::PgPool;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc::error::TrySendError, oneshot};
use tonic::{Code, Status, metadata::MetadataMap};
use uuid::Uuid;

use super::{errors, view};
use crate::{
    job::{Ask, Job, Origin, Reply, Submission, Wake},
    shared::Shared,
    spans,
    store::read,
    worker::Inbox,
};

/// KiB of requests that wait for workers at most: their queues bound how many, not how large.
const ROOM_KIB: usize = 64 * 1024;
/// Watchers that read at once at most; always fewer than there are connections for reading, unless there is but one.
const WATCHERS: usize = 4;
/// The metadata that names the client until callers are authenticated.
const CLIENT: &str = "skald-client";

/// The desk. Clones share it.
#[derive(Clone, Debug)]
pub struct Desk {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: PgPool,
    inboxes: Arc<Vec<Inbox>>,
    /// KiB of requests that may still come to wait.
    room: Arc<Semaphore>,
    /// Watchers that may read at once: ten thousand of one saga are woken together, and others read, too.
    pub(super) looks: Arc<Semaphore>,
    pub(super) shutdown: skald_kit::lifecycle::Shutdown,
}

/// Who asks, and in which trace.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The principal.
    pub client: String,
    /// W3C trace context, when it came along.
    pub traceparent: Option<Traceparent>,
    /// It waits for a place, as a stream does whose own window bounds it, instead of being told to come back.
    pub patient: bool,
}

/// A saga that a caller wants to begin.
#[derive(Debug)]
pub struct Wish {
    /// The definition's name.
    pub definition: String,
    /// The idempotency key.
    pub key: String,
    /// The input of every command.
    pub input: Payload,
    /// Signals that come along.
    pub signals: Vec<Signal>,
    /// Whose it is.
    pub customer_id: String,
}

impl Caller {
    /// From a call's metadata.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: the client's name is not 1 to 128 printable ASCII characters.
    pub fn of(metadata: &MetadataMap) -> Result<Caller, Status> {
        let client = match metadata.get(CLIENT) {
            None => "anonymous".to_owned(),
            Some(value) => value.to_str().unwrap_or_default().to_owned(),
        };
        if !(1..=128).contains(&client.len()) {
            return Err(Status::invalid_argument(
                "metadata skald-client must be 1 to 128 printable ASCII characters",
            ));
        }
        let traceparent =
            metadata.get("traceparent").and_then(|v| v.to_str().ok()).and_then(Traceparent::parse);
        Ok(Caller { client, traceparent, patient: false })
    }
}

impl Desk {
    /// A desk in front of these workers.
    pub fn new(
        shared: Arc<Shared>,
        pool: PgPool,
        inboxes: Vec<Inbox>,
        shutdown: skald_kit::lifecycle::Shutdown,
    ) -> Desk {
        let readers = shared.config.postgres.max_read_connections as usize;
        let watchers = WATCHERS.min(readers.saturating_sub(1)).max(1);
        let (room, looks) = (Arc::new(Semaphore::new(ROOM_KIB)), Arc::new(Semaphore::new(watchers)));
        Desk { shared, pool, inboxes: Arc::new(inboxes), room, looks, shutdown }
    }

    /// Begins a saga; when it returns, it is durable. Gives its id and whether this call began it.
    ///
    /// # Errors
    /// As [`errors::refused`]; NOT_FOUND for an unknown definition; RESOURCE_EXHAUSTED when too much is under way.
    pub async fn begin(&self, caller: &Caller, wish: Wish) -> Result<(Uuid, bool), Status> {
        let (definition_id, definition) = self
            .shared
            .registry
            .newest(&wish.definition)
            .ok_or_else(|| errors::not_found("definition", &wish.definition))?;
        if self.shared.active.load(Ordering::Relaxed) >= self.shared.config.driver.max_active_sagas {
            return Err(errors::overloaded("as many sagas are under way as driver.max_active_sagas allows"));
        }
        let saga = ids::mint(self.shared.clock.now_ms());
        // Kept until it is durable. Whoever samples it, here or at the caller, samples the saga's whole life.
        let span = spans::begun(saga, &wish.definition, caller.traceparent.as_ref());
        let traceparent = Traceparent::of(&span).or(caller.traceparent);
        let traceparent = traceparent.unwrap_or_else(|| Traceparent::for_id(saga));
        let request = Request { input: Some(wish.input), signals: wish.signals }.encode_to_vec();
        let digest = Sha256::new()
            .chain_update(&wish.definition)
            .chain_update([0])
            .chain_update(&wish.customer_id)
            .chain_update([0])
            .chain_update(&request)
            .finalize();
        let _room = self.room(caller, request.len()).await?;
        let started = history::started(&request).map_err(|e| Status::internal(e.to_string()))?;
        let submission = Submission {
            client: caller.client.clone(),
            key: wish.key,
            digest: digest.to_vec(),
            definition_id,
            definition,
            request,
            started: Input::Started(started),
            customer_id: wish.customer_id,
            traceparent: traceparent.to_string(),
        };
        let actor = client(caller);
        match self.put(saga, actor, caller.patient, Ask::Submit(Box::new(submission))).await? {
            Reply::Accepted => Ok((saga, true)),
            Reply::Known(first) => Ok((first, false)),
            other => Err(errors::refused(other, "saga", &saga.to_string())),
        }
    }

    /// Room for a request, until it is answered.
    async fn room(&self, caller: &Caller, bytes: usize) -> Result<SemaphorePermit<'_>, Status> {
        let kib = (bytes / 1024 + 1).min(ROOM_KIB) as u32;
        let full = || errors::overloaded("as many bytes wait as memory allows");
        if caller.patient {
            self.room.acquire_many(kib).await.map_err(|_| full())
        } else {
            self.room.try_acquire_many(kib).map_err(|_| full())
        }
    }

    /// Folds an input into a saga that exists. A repeat of what was accepted is a success.
    ///
    /// # Errors
    /// As [`errors::refused`].
    pub async fn fold(&self, caller: &Caller, what: &str, saga: Uuid, input: Input) -> Result<(), Status> {
        match self.put(saga, client(caller), caller.patient, Ask::Input(input)).await? {
            Reply::Accepted | Reply::Refused(Refused::Repeat) => Ok(()),
            Reply::Refused(Refused::NotAllowed(why)) => {
                let stands = self.stands(what, saga).await;
                Err(errors::not_allowed(what, &saga.to_string(), &why, stands.as_deref()))
            }
            other => Err(errors::refused(other, what, &saga.to_string())),
        }
    }

    /// The state's name, when it can be read.
    async fn stands(&self, what: &str, saga: Uuid) -> Option<String> {
        let row = self.read(what, saga).await.ok()?;
        let definition = self.definition(row.definition_id).await.ok()?;
        Some(view::stands(what, &row, &definition))
    }

    /// Asks the saga's worker and waits for its answer.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED: too many wait; UNAVAILABLE: this instance is stopping.
    pub async fn ask(&self, saga: Uuid, actor: String, ask: Ask) -> Result<Reply, Status> {
        self.put(saga, actor, false, ask).await
    }

    /// Has a saga looked at, when its worker has a place; else the net finds it.
    pub fn look(&self, saga: Uuid) {
        let ask = Ask::Wake(Wake::Undelivered);
        let job = Job { saga, actor: "timer".into(), ask, origin: Origin::Nobody };
        let _ = self.inbox(saga).messages.try_send(job);
    }

    fn inbox(&self, saga: Uuid) -> &Inbox {
        let worker =
            partition_for_id(saga, self.shared.config.kafka.partitions) as usize % self.inboxes.len();
        &self.inboxes[worker]
    }

    async fn put(&self, saga: Uuid, actor: String, patient: bool, ask: Ask) -> Result<Reply, Status> {
        let (told, reply) = oneshot::channel();
        let job = Job { saga, actor, ask, origin: Origin::Caller(told) };
        let calls = &self.inbox(saga).calls;
        let stopping = || Status::unavailable("this instance is stopping; try again");
        if patient {
            calls.send(job).await.map_err(|_| stopping())?;
        } else {
            calls.try_send(job).map_err(|full| match full {
                TrySendError::Full(_) => errors::overloaded("too many calls wait for this worker"),
                TrySendError::Closed(_) => stopping(),
            })?;
        }
        // A worker that ended without an answer was stopped before it decided, or in the middle of a commit.
        Ok(reply.await.unwrap_or(Reply::MaybeStored))
    }

    /// A saga as it stands.
    ///
    /// # Errors
    /// NOT_FOUND, UNAVAILABLE.
    pub async fn read(&self, what: &str, id: Uuid) -> Result<read::Shown, Status> {
        let mut conn = self.pool.acquire().await.map_err(|e| errors::unreadable(&e))?;
        let shown = read::get(&mut conn, id).await.map_err(|e| errors::unreadable(&e))?;
        shown.ok_or_else(|| errors::not_found(what, &id.to_string()))
    }

    /// What a stored row follows.
    ///
    /// # Errors
    /// INTERNAL: it is not stored, or can't be read. UNAVAILABLE: another instance registered it after this one started
    /// and the database is away.
    pub async fn definition(&self, id: i32) -> Result<Arc<Definition>, Status> {
        if let Some(definition) = self.shared.registry.get(id) {
            return Ok(definition);
        }
        let mut conn = self.pool.acquire().await.map_err(|e| errors::unreadable(&e))?;
        self.shared.registry.refresh(&mut conn).await.map_err(|e| match e.downcast::<sqlx::Error>() {
            Ok(error) => errors::unreadable(&error),
            Err(broken) => Status::internal(broken.to_string()),
        })?;
        self.shared.registry.get(id).ok_or_else(|| Status::internal(format!("definition {id} is not stored")))
    }

    /// The version of a definition with this hash, with its id; None: none is stored.
    ///
    /// # Errors
    /// UNAVAILABLE.
    pub(crate) async fn definition_with(
        &self,
        hash: &[u8],
    ) -> Result<Option<(i32, Arc<Definition>)>, Status> {
        if let Some(known) = self.shared.registry.with_hash(hash) {
            return Ok(Some(known));
        }
        let mut conn = self.pool.acquire().await.map_err(|e| errors::unreadable(&e))?;
        self.shared.registry.refresh(&mut conn).await.map_err(|e| Status::unavailable(e.to_string()))?;
        Ok(self.shared.registry.with_hash(hash))
    }

    /// What the rows of a list follow.
    pub(crate) fn definitions(&self) -> Definitions<'_> {
        Definitions { desk: self, missing: BTreeSet::new() }
    }
}

/// What the rows of a list follow: a row whose definition is not there is no reason to end the list.
#[derive(Debug)]
pub(crate) struct Definitions<'a> {
    desk: &'a Desk,
    /// Each is looked for once.
    missing: BTreeSet<i32>,
}

impl Definitions<'_> {
    /// None: it is not stored, or can't be read.
    ///
    /// # Errors
    /// UNAVAILABLE.
    pub(crate) async fn get(&mut self, id: i32) -> Result<Option<Arc<Definition>>, Status> {
        if self.missing.contains(&id) {
            return Ok(None);
        }
        match self.desk.definition(id).await {
            Ok(definition) => Ok(Some(definition)),
            Err(status) if status.code() == Code::Internal => {
                tracing::warn!(definition = id, why = status.message(), "sagas follow an unknown definition");
                self.missing.insert(id);
                Ok(None)
            }
            Err(status) => Err(status),
        }
    }
}

/// As it stands in histories.
fn client(caller: &Caller) -> String {
    format!("client:{}", caller.client)
}
