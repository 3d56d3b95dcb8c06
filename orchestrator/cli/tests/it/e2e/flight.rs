//! What is under way, read from the orchestrator's table: the evidence that a kill hit something.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use skald_core::{Definition, flight, state};
use sqlx::PgConnection;
use uuid::Uuid;

use super::world::{Kind, Service, World};

/// The sagas that have not ended, at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flight {
    /// Their ids.
    pub(crate) sagas: BTreeSet<Uuid>,
    /// Commands that were decided and not answered, by participant.
    pub(crate) commands: BTreeMap<String, usize>,
}

impl Flight {
    /// Looks now.
    pub(crate) async fn read(conn: &mut PgConnection) -> Flight {
        let definitions: Vec<(i32, Vec<u8>)> = sqlx::query_as("select id, body from public.definition")
            .fetch_all(&mut *conn)
            .await
            .expect("read");
        let definitions: BTreeMap<i32, Definition> = definitions
            .into_iter()
            .map(|(id, body)| (id, Definition::decode(body.as_slice()).expect("a definition")))
            .collect();
        let rows: Vec<(Uuid, i32, i16, Vec<u8>)> = sqlx::query_as(
            "select id, definition_id, format, state from public.saga where wake_at is not null",
        )
        .fetch_all(conn)
        .await
        .expect("read");
        let mut flight = Flight::default();
        for (id, definition, format, bytes) in rows {
            flight.sagas.insert(id);
            let definition = &definitions[&definition];
            let state = state::decode(format as u32, &bytes).expect("a state");
            for command in flight::commands(&state) {
                let step = definition.index(&command.step).expect("a step of its definition");
                *flight.commands.entry(definition.steps[step].participant.clone()).or_default() += 1;
            }
        }
        flight
    }

    /// Work that only this service can go on with: sagas for the orchestrator, commands for a participant.
    pub(crate) fn work_for(&self, kind: Kind) -> usize {
        match kind {
            Kind::Orchestrator => self.sagas.len(),
            _ => self.commands.get(kind.name()).copied().unwrap_or(0),
        }
    }
}

/// Freezes a process at a moment when `busy` finds it at work, and leaves it frozen: whatever it was in the middle of, it is in
/// the middle of now, and a kill that follows is certain to hit.
pub(crate) async fn freeze_when<T, E: std::fmt::Debug>(
    service: &Service,
    what: &str,
    mut busy: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    skald_harness::eventually(what, super::LIMIT, async || {
        service.freeze();
        let found = busy().await;
        if found.is_err() {
            service.thaw();
        }
        found
    })
    .await
}

/// The same, when so much work waits for it.
pub(crate) async fn freeze_at_work(world: &World, kind: Kind, n: usize, work: usize) -> Flight {
    let mut conn = world.sql(Kind::Orchestrator).await;
    let what = format!("{work} pieces of work in flight at the {}", kind.name());
    freeze_when(world.service(kind, n), &what, async || {
        let flight = Flight::read(&mut conn).await;
        if flight.work_for(kind) >= work { Ok(flight) } else { Err(flight) }
    })
    .await
}
