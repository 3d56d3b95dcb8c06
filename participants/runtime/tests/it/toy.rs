//! A toy service: one shelf with seats to reserve, and a gateway in memory that counts what moves. Its `write` and `call` can be
//! held up, for tests own their service; the runtime has no hooks.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use skald_kit::outbox;
use skald_participant::{
    Action, CallResult, Command, Deadline, Domain, Failed, Intent, Key, Rejection, RunAnswer, Service,
    Settlement, UndoAnswer, Verb,
};
use sqlx::{PgConnection, Row as _};
use tokio::sync::Notify;

pub(crate) const SCHEMA: &str = "
    create table public.shelf (id integer primary key, free bigint not null, held bigint not null,
                               constraint shelf_not_empty check (free >= 0));
    insert into public.shelf values (1, 100, 0);
    -- H held, L let go, I intent, C captured, D declined, B given back, U unresolved, V void
    create table public.thing (saga_id uuid, step text, epoch integer, state text not null,
                               changes integer not null default 1, primary key (saga_id, step, epoch));";

/// Everything that a test can see or steer.
#[derive(Clone, Default)]
pub(crate) struct Toy {
    pub(crate) gateway: Arc<Gateway>,
    /// Writing waits until it is told, when it is set.
    pub(crate) hold_write: Option<Arc<Notify>>,
    /// The whole thread freezes in a call, before its last look at the deadline.
    pub(crate) freeze_calls: Option<Arc<Ice>>,
    pub(crate) key_lifetime: Option<Duration>,
    /// How often the domain panicked.
    pub(crate) panics: Arc<AtomicU32>,
}

/// Freezes threads until it melts.
#[derive(Default)]
pub(crate) struct Ice {
    state: Mutex<(u32, bool)>,
    changed: Condvar,
}

impl Ice {
    pub(crate) fn freeze(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        while !state.1 {
            state = self.changed.wait(state).unwrap();
        }
    }

    pub(crate) fn frozen(&self) -> u32 {
        self.state.lock().unwrap().0
    }

    pub(crate) fn melt(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }
}

/// The other company.
#[derive(Default)]
pub(crate) struct Gateway {
    books: Mutex<Books>,
}

#[derive(Default)]
pub(crate) struct Books {
    /// What happens to the next calls: `lost before`, `lost after`, `hang`, `decline`, `refuse`; else they work.
    pub(crate) mood: &'static str,
    /// Keys are remembered so long.
    pub(crate) lifetime: Option<Duration>,
    pub(crate) remembered: HashMap<String, (Instant, &'static str)>,
    /// (kind, our reference, key) of each movement of money.
    pub(crate) moved: Vec<(&'static str, String, String)>,
    /// (kind, key) of each call that arrived.
    pub(crate) called: Vec<(&'static str, String)>,
}

impl Gateway {
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Books) -> T) -> T {
        look(&mut self.books.lock().unwrap())
    }

    pub(crate) fn moved(&self, kind: &str) -> usize {
        self.with(|books| books.moved.iter().filter(|(k, ..)| *k == kind).count())
    }

    /// `None`: the answer is lost.
    fn call(&self, kind: &'static str, reference: &str, key: &str) -> Option<&'static str> {
        self.with(|books| {
            if books.mood == "lost before" {
                return None;
            }
            books.called.push((kind, key.to_owned()));
            let fresh = |at: &Instant| books.lifetime.is_none_or(|lifetime| at.elapsed() < lifetime);
            if let Some((_, answer)) = books.remembered.get(key).filter(|(at, _)| fresh(at)) {
                return Some(*answer);
            }
            let answer = match books.mood {
                "decline" => "declined",
                "refuse" => "refused",
                _ => {
                    books.moved.push((kind, reference.to_owned(), key.to_owned()));
                    "done"
                }
            };
            books.remembered.insert(key.to_owned(), (Instant::now(), answer));
            (books.mood != "lost after").then_some(answer)
        })
    }

    fn find(&self, kind: &'static str, reference: &str) -> Option<bool> {
        self.with(|books| {
            books.called.push(("find", reference.to_owned()));
            let found = books.moved.iter().any(|(k, r, _)| *k == kind && r == reference);
            (books.mood != "lost before").then_some(found)
        })
    }
}

#[derive(Default)]
pub(crate) struct Things {
    things: BTreeMap<Key, Thing>,
    shelf: Option<(i64, i64)>,
    poison: bool,
    panics: Arc<AtomicU32>,
}

struct Thing {
    state: &'static str,
    changed: bool,
}

impl Things {
    fn put(&mut self, key: Key, state: &'static str) {
        self.things.insert(key, Thing { state, changed: true });
    }

    fn shift(&mut self, n: i64) -> bool {
        let (free, held) = self.shelf.as_mut().expect("locked");
        if *free < n {
            return false;
        }
        (*free, *held) = (*free - n, *held + n);
        true
    }
}

impl Domain for Things {
    type Call = &'static str;

    fn run(&mut self, c: &Command) -> RunAnswer {
        match (c.action.as_str(), c.step.as_str()) {
            (_, "panic") => {
                self.panics.fetch_add(1, Ordering::Relaxed);
                panic!("the toy panics")
            }
            (_, "poison") => {
                self.poison = true;
                RunAnswer::Succeeded(None)
            }
            (_, "large") => {
                let value = vec![0; 64 * 1024 + 1];
                RunAnswer::Succeeded(Some(prost_types::Any { type_url: "large".to_owned(), value }))
            }
            (_, "busy") => RunAnswer::Failed(Failed::retryable("BUSY", "not now")),
            ("charge", _) => {
                self.put(c.key(), "I");
                RunAnswer::Intent
            }
            _ if self.things.contains_key(&c.key()) => {
                RunAnswer::Failed(Failed::last("HELD", "it is held already"))
            }
            _ if self.shift(1) => {
                self.put(c.key(), "H");
                RunAnswer::Succeeded(None)
            }
            _ => {
                let no = |text: &str| text.to_owned();
                RunAnswer::Rejected(Rejection {
                    code: no("OUT_OF_STOCK"),
                    message: no("none left"),
                    detail: None,
                })
            }
        }
    }

    fn undo(&mut self, c: &Command) -> UndoAnswer {
        if c.action == "refund" {
            return UndoAnswer::Intent;
        }
        if self.things[&c.key()].state != "H" {
            return UndoAnswer::Failed(Failed::last("NOT_HELD", "it is not held"));
        }
        self.shift(-1);
        self.put(c.key(), "L");
        UndoAnswer::Undone(None)
    }

    fn seal(&mut self, c: &Command) {
        self.put(c.key(), "V");
    }

    fn call(&self, intent: &Intent) -> Option<&'static str> {
        self.things.get(&intent.key).map(|_| if intent.verb == Verb::Run { "charge" } else { "refund" })
    }

    fn settle(&mut self, intent: &Intent, settlement: &Settlement) {
        let state = match settlement {
            Settlement::Succeeded(_) => "C",
            Settlement::Rejected(_) => "D",
            Settlement::Undone(_) => "B",
            Settlement::Unresolved => "U",
            Settlement::Again => "C",
        };
        self.put(intent.key.clone(), state);
    }
}

impl Service for Toy {
    const NAME: &'static str = "toy";
    type Domain = Things;

    fn actions(&self) -> &'static [Action] {
        &[Action { name: "reserve", undo: Some("release") }, Action { name: "charge", undo: Some("refund") }]
    }

    async fn load(&self, conn: &mut PgConnection, wave: &[&Command]) -> Result<Things, sqlx::Error> {
        // the shelf first: who waited for it sees the things that were written meanwhile
        let row = sqlx::query("select free, held from public.shelf for update").fetch_one(&mut *conn).await?;
        let mut things = lock(conn, wave.iter().map(|c| c.key()).collect()).await?;
        things.shelf = Some((row.get(0), row.get(1)));
        things.panics = Arc::clone(&self.panics);
        Ok(things)
    }

    async fn write(
        &self,
        conn: &mut PgConnection,
        domain: &mut Things,
    ) -> Result<Vec<outbox::Row>, sqlx::Error> {
        if domain.poison {
            sqlx::query("select 'no number'::text::integer").execute(&mut *conn).await?;
        }
        if let Some((free, held)) = domain.shelf {
            let update = sqlx::query("update public.shelf set free = $1, held = $2");
            update.bind(free).bind(held).execute(&mut *conn).await?;
        }
        for (key, thing) in domain.things.iter().filter(|(_, thing)| thing.changed) {
            let upsert = "insert into public.thing values ($1, $2, $3, $4)
                          on conflict (saga_id, step, epoch) do update set state = $4, changes = thing.changes + 1";
            let upsert = sqlx::query(upsert).bind(key.saga).bind(&key.step).bind(key.epoch);
            upsert.bind(thing.state).execute(&mut *conn).await?;
        }
        if let Some(gate) = &self.hold_write {
            gate.notified().await;
        }
        Ok(Vec::new())
    }

    async fn load_intents(&self, conn: &mut PgConnection, intents: &[Intent]) -> Result<Things, sqlx::Error> {
        lock(conn, intents.iter().map(|intent| intent.key.clone()).collect()).await
    }

    async fn call(&self, intent: &Intent, call: &&'static str, deadline: Deadline) -> CallResult {
        if let Some(ice) = &self.freeze_calls {
            ice.freeze();
        }
        if self.gateway.with(|books| books.mood == "hang") {
            self.gateway.with(|books| books.called.push(("hang", intent.gateway_key.clone())));
            std::future::pending::<()>().await;
        }
        let reference = intent.our_ref();
        let done = || if *call == "charge" { CallResult::Succeeded(None) } else { CallResult::Undone(None) };
        if intent.calls > 1 {
            match self.gateway.find(call, &reference) {
                Some(true) => return done(),
                None => return CallResult::Unknown { retry_after: None },
                Some(false) if deadline.passed() => return CallResult::Unresolved,
                Some(false) => {}
            }
        }
        if deadline.passed() {
            return CallResult::NotSent { retry_after: None };
        }
        let no = |text: &str| text.to_owned();
        match self.gateway.call(call, &reference, &intent.gateway_key) {
            Some("done") => done(),
            Some("declined") => {
                CallResult::Rejected(Rejection { code: no("DECLINED"), message: no("no"), detail: None })
            }
            Some(_) => CallResult::Refused(Failed::retryable("BUSY", "not now")),
            None => CallResult::Unknown { retry_after: None },
        }
    }

    fn key_lifetime(&self) -> Duration {
        self.key_lifetime.unwrap_or(Duration::from_secs(3600))
    }
}

async fn lock(conn: &mut PgConnection, mut keys: Vec<Key>) -> Result<Things, sqlx::Error> {
    keys.sort();
    let mut things = Things::default();
    for key in keys {
        let select = "select state from public.thing where (saga_id, step, epoch) = ($1, $2, $3) for update";
        let select = sqlx::query_scalar::<_, String>(select).bind(key.saga).bind(&key.step).bind(key.epoch);
        if let Some(state) = select.fetch_optional(&mut *conn).await? {
            things.things.insert(key, Thing { state: String::leak(state), changed: false });
        }
    }
    Ok(things)
}
