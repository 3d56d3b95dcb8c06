//! What can't be read shows as such, and ends no list.

use futures::TryStreamExt as _;
use skald_proto::{
    admin::v1 as admin,
    saga::v1::{self as saga, SagaStatus},
};

use crate::support::{World, later};

/// Three orders, the second with a broken state, the third of a definition that is not there.
async fn broken(world: &World) -> [String; 3] {
    let mut placed = Vec::new();
    for key in ["good", "state", "definition"] {
        placed.push(world.place(later(key)).await);
    }
    let mut sql = world.sql().await;
    for (change, id) in [
        ("update saga set state = '\\xff' where id = $1::uuid", &placed[1]),
        ("update saga set definition_id = 4711 where id = $1::uuid", &placed[2]),
    ] {
        sqlx::query(change).bind(id).execute(&mut sql).await.unwrap();
    }
    placed.try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_row_ends_no_list() {
    let world = World::start().await;
    let [good, state, definition] = broken(&world).await;
    let told = |sagas: &[saga::Saga]| -> Vec<(String, &'static str)> {
        let why = |s: &saga::Saga| match &*s.quarantine {
            "" => "",
            why if why.contains("column state") => "state",
            why if why.contains("definition 4711 is not stored") => "definition",
            why => panic!("{why}"),
        };
        sagas.iter().map(|s| (s.saga_id.clone(), why(s))).collect()
    };
    let expected = [(definition.clone(), "definition"), (state.clone(), "state"), (good.clone(), "")];

    let list = || admin::ListSagasRequest { page_size: 2, ..Default::default() };
    let first = world.admin().list_sagas(list()).await.unwrap().into_inner();
    let next = admin::ListSagasRequest { page_token: first.next_page_token.clone(), ..list() };
    let second = world.admin().list_sagas(next).await.unwrap().into_inner();
    assert_eq!(told(&[first.sagas, second.sagas].concat()), expected);
    let page = world.sagas().list(saga::ListRequest::default()).await.unwrap().into_inner();
    assert_eq!(told(&page.sagas), expected);
    assert_eq!(page.sagas[0].status(), SagaStatus::Running, "its columns are told");
    assert!(world.saga(&definition).await.input.is_some(), "one by one too");

    // What a filter has to read and can't is counted, not passed over in silence.
    let step = admin::ListSagasRequest { step: "pay".into(), ..list() };
    let page = world.admin().list_sagas(step.clone()).await.unwrap().into_inner();
    assert_eq!((told(&page.sagas), page.unreadable), (vec![(good.clone(), "")], 2));
    let counted = admin::ListSagasRequest { count_only: true, ..step };
    let page = world.admin().list_sagas(counted).await.unwrap().into_inner();
    assert_eq!((page.counts[0].count, page.unreadable), (1, 2));
    let stage = admin::ListSagasRequest { stage: "RESERVED".into(), ..list() };
    let page = world.admin().list_sagas(stage).await.unwrap().into_inner();
    assert_eq!((page.sagas.len(), page.unreadable), (0, 1), "its stage has no name");

    let stats = world.admin().get_stats(admin::GetStatsRequest::default()).await.unwrap().into_inner();
    assert_eq!((stats.active, stats.sampled, stats.unreadable), (3, 3, 1));
    assert!(stats.by_step.iter().any(|step| step.definition == "unknown definition 4711"));
    let found = world.admin().resolve_id(admin::ResolveIdRequest { id: definition.clone() }).await.unwrap();
    assert_eq!(told(&found.into_inner().sagas), expected[..1]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_goes_on_behind_an_input_that_cannot_be_read() {
    let world = World::start().await;
    let id = world.place(later("h")).await;
    let row = "insert into history (saga_id, seq, at, rules, kind, actor, input, digest)
               select saga_id, seq + 1, at, rules, 99, 'by hand', '\\xff', digest from history where saga_id = $1::uuid";
    sqlx::query(row).bind(&id).execute(&mut world.sql().await).await.unwrap();
    let again = "insert into history (saga_id, seq, at, rules, kind, actor, input, digest)
                 select saga_id, 3, at, rules, kind, 'again', input, digest from history where saga_id = $1::uuid and seq = 1";
    sqlx::query(again).bind(&id).execute(&mut world.sql().await).await.unwrap();
    let request = saga::HistoryRequest { saga_id: id.clone(), after_seq: 0 };
    let rows: Vec<_> =
        world.sagas().history(request).await.unwrap().into_inner().try_collect().await.unwrap();
    let told: Vec<_> = rows.into_iter().map(|row| row.entry.unwrap()).collect();
    let kinds: Vec<_> = told.iter().map(|entry| (entry.kind.as_str(), entry.actor.as_str())).collect();
    assert_eq!(kinds, [("STARTED", "client:anonymous"), ("UNKNOWN", "by hand"), ("STARTED", "again")]);
    assert!(told[1].summary.starts_with("not an input"), "{}", told[1].summary);
    world.stop().await;
}
