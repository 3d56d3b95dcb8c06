//! An explanation while something is away: it says what it knows, and what it could not learn.

use skald_proto::{
    admin::v1::{ExplainRequest, ExplainResponse},
    order::v1::OrderStatus,
};
use tonic::{Code, Status};
use uuid::Uuid;

use super::{
    LIMIT,
    desk::Desk,
    shop::{End, Order, SHELF, Shop, TEA, Then, draft},
    terminal::Terminal,
    troubles::until,
    world::{Kind, World},
};

async fn explain(desk: &Desk, id: Uuid) -> Result<ExplainResponse, Status> {
    let page = desk.client(0).explain(ExplainRequest { saga_id: id.to_string() }).await?.into_inner();
    // Whatever is away: where it stands is in our own table.
    assert_eq!(page.waits[0].text, "pay waits for its signal", "{page:?}");
    assert!(page.stands.starts_with("RUNNING") && !page.possible.is_empty(), "{page:?}");
    Ok(page)
}

/// Asks until these lines, and no others, say what could not be learned.
async fn until_unknown(desk: &Desk, id: Uuid, unknown: &[&str]) -> ExplainResponse {
    skald_harness::eventually(&format!("{unknown:?} not to be known"), LIMIT, async || {
        let page = explain(desk, id).await.map_err(|status| format!("{status:?}"))?;
        let named = page.unknown.iter().zip(unknown).all(|(line, what)| line.contains(what));
        if named && page.unknown.len() == unknown.len() { Ok(page) } else { Err(format!("{page:?}")) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_says_what_it_could_not_learn() {
    let mut world = World::plan().own_kafka().own_postgres().start().await;
    world.stock(&SHELF).await;
    let (shop, desk, terminal) = (Shop::new(&world), Desk::new(&world), Terminal::new(&world));
    let order = Order { draft: draft(&[(TEA, 1)], None), end: End::Completed, then: Then::Nothing };
    let id = shop.place(order).await.id;
    until(&shop, id, OrderStatus::Reserved).await;
    let participants =
        |page: &ExplainResponse| page.participants.iter().map(|p| p.participant.clone()).collect::<Vec<_>>();
    let page = until_unknown(&desk, id, &[]).await;
    assert_eq!(participants(&page), ["inventory", "payment"]);

    world.service(Kind::Inventory, 0).kill9().await;
    let page = until_unknown(&desk, id, &["inventory"]).await;
    assert_eq!(participants(&page), ["payment"]);
    world.service_mut(Kind::Inventory, 0).restart().await;
    until_unknown(&desk, id, &[]).await;

    // One that takes calls and never answers.
    world.service(Kind::Payment, 0).freeze();
    let page = until_unknown(&desk, id, &["payment"]).await;
    assert_eq!(participants(&page), ["inventory"]);
    world.service(Kind::Payment, 0).thaw();
    until_unknown(&desk, id, &[]).await;

    world.kafka.as_mut().expect("its own").kill().await.expect("killed");
    let page = until_unknown(&desk, id, &["inventory", "payment"]).await;
    assert!(page.unknown.iter().all(|line| line.contains("lag")), "{page:?}");
    assert_eq!(participants(&page), ["inventory", "payment"], "they still say what they have of it");
    world.kafka.as_mut().expect("its own").restart().await.expect("restarted");
    until_unknown(&desk, id, &[]).await;

    world.postgres.as_mut().expect("its own").kill().await.expect("killed");
    let status = explain(&desk, id).await.expect_err("nothing is known");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let (code, said) = terminal.run(&format!("skald saga explain {id}"));
    assert_eq!(code, 5, "{said}");
    world.postgres.as_mut().expect("its own").restart().await.expect("restarted");
    let page = until_unknown(&desk, id, &[]).await;
    assert_eq!(participants(&page), ["inventory", "payment"]);
}
