//! A participant as one writes it first, with a switch for each sin. Without any it is a right one, in memory.

pub(crate) mod grpc;
pub(crate) mod kafka;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prost_types::Any;
use skald_conformance::{Hook, Hooks, Samples};
use skald_proto::participant::v1::{
    Command, Failed, Fenced, NothingToUndo, Outcome, Rejected, Sealed, Succeeded, Undone, Verb,
    outcome::Answer,
};
use tokio::sync::watch;
use uuid::Uuid;

pub(crate) const NAME: &str = "naive";
pub(crate) const ACTION: &str = "do";
pub(crate) const UNDO: &str = "undo";
const DAY_MS: i64 = 24 * 3600 * 1000;

/// What it does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sin {
    None,
    FailsRepeats,
    ForgetsNo,
    NoBarrier,
    NoTombstone,
    UndoesNothing,
    UndoesAgain,
    UndoesTheRejected,
    SealForgets,
    SealAlwaysSealed,
    FenceLeavesRun,
    FenceForgets,
    FenceAlways,
    MisnamesItself,
    Anonymous,
    ForgetsAttempt,
    IgnoresEpochs,
    OwnPartition,
    RejectsUnknown,
    IgnoresProtocol,
    RunsTheOld,
    RunsTheFuture,
    AnswersNonsense,
    DropsNonsense,
    LooksThenActs,
    ForgetsOnCrash,
    CommitsFirst,
}

/// What it remembers of one step.
#[derive(Clone, Default)]
struct Row {
    run: Option<Answer>,
    undo: Option<Answer>,
}

/// How far it is with dying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dying {
    No,
    Soon,
    /// Offsets are committed whose commands are not answered, and never will be.
    Committed,
}

type Rows = HashMap<(String, String, u32), Row>;

/// Clones share the memory, which a kill does not touch: it stands for a database.
#[derive(Clone)]
pub(crate) struct Naive {
    pub(crate) sin: Sin,
    rows: Arc<Mutex<Rows>>,
    effects: Arc<AtomicU64>,
    /// It will be killed, and who commits first is to be caught in the middle.
    pub(crate) dying: Arc<watch::Sender<Dying>>,
}

impl Naive {
    pub(crate) fn new(sin: Sin) -> Self {
        let dying = Arc::new(watch::Sender::new(Dying::No));
        Self { sin, rows: Arc::default(), effects: Arc::default(), dying }
    }

    /// Effects since the start, undone ones included.
    pub(crate) fn effects(&self) -> u64 {
        self.effects.load(Ordering::SeqCst)
    }

    fn crashed(&self) {
        if self.sin == Sin::ForgetsOnCrash {
            self.rows.lock().expect("no panic").clear();
        }
    }

    pub(crate) async fn outcome(&self, c: &Command) -> Outcome {
        let answer = self.answer(c).await;
        Outcome {
            protocol: 1,
            saga_id: c.saga_id.clone(),
            step: c.step.clone(),
            verb: c.verb,
            epoch: c.epoch,
            attempt: if self.sin == Sin::ForgetsAttempt { 1 } else { c.attempt },
            participant: if self.sin == Sin::Anonymous { String::new() } else { NAME.to_owned() },
            answer: Some(answer),
        }
    }

    async fn answer(&self, c: &Command) -> Answer {
        if let Some(refused) = self.refused(c) {
            return refused;
        }
        let epoch = if self.sin == Sin::IgnoresEpochs { 1 } else { c.epoch };
        let key = (c.saga_id.clone(), c.step.clone(), epoch);
        if self.sin == Sin::LooksThenActs {
            // looks, lets others look, acts on what it saw
            let mut row = self.rows.lock().expect("no panic").get(&key).cloned().unwrap_or_default();
            tokio::time::sleep(Duration::from_millis(20)).await;
            let answer = self.decide(c, &mut row);
            self.rows.lock().expect("no panic").insert(key, row);
            return answer;
        }
        let mut rows = self.rows.lock().expect("no panic");
        self.decide(c, rows.entry(key).or_default())
    }

    fn refused(&self, c: &Command) -> Option<Answer> {
        let age = now_ms() - born_ms(&c.saga_id);
        let known = if matches!(c.verb(), Verb::Run | Verb::SealRun) { ACTION } else { UNDO };
        let old = age > 45 * DAY_MS && self.sin != Sin::RunsTheOld;
        let future = age < -DAY_MS && self.sin != Sin::RunsTheFuture;
        let newer = c.protocol > 1 && self.sin != Sin::IgnoresProtocol;
        match c {
            _ if newer || (c.action != known && self.sin != Sin::RejectsUnknown) => {
                Some(failed("UNIMPLEMENTED", true))
            }
            _ if c.action != known => {
                Some(Answer::Rejected(Rejected { code: "NO".to_owned(), ..Default::default() }))
            }
            _ if old => Some(failed("TOO_OLD", false)),
            _ if future => Some(failed("FROM_THE_FUTURE", true)),
            _ => None,
        }
    }

    fn decide(&self, c: &Command, row: &mut Row) -> Answer {
        match c.verb() {
            Verb::SealRun => self.seal_run(row),
            Verb::Undo => self.undo(row),
            Verb::SealUndo => self.seal_undo(row),
            _ => self.run(c, row),
        }
    }

    fn run(&self, c: &Command, row: &mut Row) -> Answer {
        match &row.run {
            Some(_) if self.sin == Sin::FailsRepeats => return failed("DUPLICATE", false),
            Some(Answer::Succeeded(_)) if self.sin == Sin::NoBarrier => {}
            Some(answer) => return answer.clone(),
            None => {}
        }
        if c.input.as_ref().is_some_and(|input| input.type_url == "x/no") {
            let no = Answer::Rejected(Rejected { code: "NO".to_owned(), ..Default::default() });
            if self.sin != Sin::ForgetsNo {
                row.run = Some(no.clone());
            }
            return no;
        }
        let done = Answer::Succeeded(Succeeded { result: Some(self.effect()) });
        row.run = Some(done.clone());
        done
    }

    fn undo(&self, row: &mut Row) -> Answer {
        if let Some(answer) = row.undo.clone().filter(|_| self.sin != Sin::UndoesAgain) {
            return answer;
        }
        let nothing = Answer::NothingToUndo(NothingToUndo {});
        let answer = match &row.run {
            Some(Answer::Succeeded(_)) if self.sin == Sin::UndoesNothing => nothing,
            Some(Answer::Rejected(_)) if self.sin != Sin::UndoesTheRejected => nothing,
            Some(Answer::Sealed(_)) => nothing,
            Some(_) => Answer::Undone(Undone { result: Some(self.effect()) }),
            None if self.sin == Sin::NoTombstone => return nothing,
            None => {
                row.run = Some(Answer::Sealed(Sealed {}));
                nothing
            }
        };
        row.undo = Some(answer.clone());
        answer
    }

    fn seal_run(&self, row: &mut Row) -> Answer {
        let sealed = Answer::Sealed(Sealed {});
        match (&row.run, self.sin) {
            (_, Sin::SealAlwaysSealed) | (None, Sin::SealForgets) => sealed,
            (Some(answer), _) => answer.clone(),
            (None, _) => {
                row.run = Some(sealed.clone());
                sealed
            }
        }
    }

    fn seal_undo(&self, row: &mut Row) -> Answer {
        let fenced = Answer::Fenced(Fenced {});
        match &row.undo {
            Some(answer) if self.sin != Sin::FenceAlways => return answer.clone(),
            _ => {}
        }
        if self.sin != Sin::FenceForgets {
            row.undo = Some(fenced.clone());
        }
        if row.run.is_none() && self.sin != Sin::FenceLeavesRun {
            row.run = Some(Answer::Sealed(Sealed {}));
        }
        fenced
    }

    /// Each is another one, so that whoever runs twice can't hide it.
    fn effect(&self) -> Any {
        let number = self.effects.fetch_add(1, Ordering::SeqCst);
        Any { type_url: "x/effect".to_owned(), value: number.to_be_bytes().to_vec() }
    }
}

fn failed(code: &str, retryable: bool) -> Answer {
    Answer::Failed(Failed { code: code.to_owned(), retryable, ..Default::default() })
}

fn born_ms(saga: &str) -> i64 {
    let time = |id: Uuid| i64::try_from(id.as_u128() >> 80).unwrap_or_default();
    Uuid::try_parse(saga).map_or_else(|_| now_ms(), time)
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("fits")
}

/// Something that runs until it is killed, and can be started again.
pub(crate) trait Life: Send + 'static {
    fn start(&mut self);
    fn kill(&mut self);
}

/// Hooks that kill and start it.
pub(crate) fn hooks(life: Arc<Mutex<impl Life>>, naive: &Naive) -> Hooks {
    let (killed, naive, started) = (Arc::clone(&life), naive.clone(), life);
    let kill: Hook = Box::new(move || {
        let (life, naive) = (Arc::clone(&killed), naive.clone());
        Box::pin(async move {
            if naive.sin == Sin::CommitsFirst {
                // in the middle of what it should not do
                naive.dying.send_replace(Dying::Soon);
                let mut middle = naive.dying.subscribe();
                middle.wait_for(|dying| *dying == Dying::Committed).await.expect("it lives");
            }
            let gone = tokio::task::spawn_blocking(move || life.lock().expect("no panic").kill());
            gone.await.expect("no panic");
            naive.crashed();
            naive.dying.send_replace(Dying::No);
            Ok(())
        })
    });
    let restart: Hook = Box::new(move || {
        started.lock().expect("no panic").start();
        Box::pin(async { Ok(()) })
    });
    Hooks::new(kill, restart)
}

pub(crate) fn samples() -> Samples {
    Samples::parse(
        r#"
        participant = "naive"
        [[action]]
        name = "do"
        undo = "undo"
        succeeds.input = { type_url = "x/yes", base64 = "" }
        rejected.input = { type_url = "x/no", base64 = "" }
        "#,
    )
    .expect("samples")
}

/// A runtime of its own: when it is dropped, whatever it did ends in the middle.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime")
}
