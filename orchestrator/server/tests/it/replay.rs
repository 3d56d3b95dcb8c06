//! Replay is exact: whatever a test did, every history folds to its digests and to the stored state.

use std::collections::HashMap;

use skald_core::{
    Definition,
    history::{self, Lineage},
    state,
};
use skald_server::store;
use uuid::Uuid;

use crate::support::World;

/// Id, definition, request, state, status.
type Stored = (Uuid, i32, Vec<u8>, Vec<u8>, i16);

/// Folds every history of a world; gives how many.
///
/// # Panics
/// When one does not fold, or leads to another state than the stored one.
pub(crate) async fn every_history(world: &World) -> usize {
    let mut sql = world.sql().await;
    // A snapshot, for sagas may still move.
    let begin = "begin transaction isolation level repeatable read, read only";
    sqlx::query(begin).execute(&mut sql).await.unwrap();
    let definitions: HashMap<i32, Definition> =
        store::definition::all(&mut sql).await.unwrap().into_iter().collect();
    let known: Vec<&Definition> = definitions.values().collect();
    let sagas: Vec<Stored> =
        sqlx::query_as("select id, definition_id, request, state, status from saga order by id")
            .fetch_all(&mut sql)
            .await
            .unwrap();
    assert!(!sagas.is_empty(), "a world without a saga proves nothing");
    for (id, definition, request, stored, status) in &sagas {
        let rows = store::read::history(&mut sql, *id, 0, 100_000).await.unwrap();
        let lineage = Lineage::new(&definitions[definition], &known);
        let folded =
            history::replay(lineage, *id, request, &rows).unwrap_or_else(|why| panic!("{id}: {why}"));
        assert_eq!(&state::encode(&folded), stored, "{id}: the stored state is the folded one");
        assert_eq!(folded.shown() as i16, *status, "{id}: column status");
    }
    sagas.len()
}
