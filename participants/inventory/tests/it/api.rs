//! Each method of InventoryService, and each of its errors.

use skald_harness::{eventually, owned_postgres};
use skald_kit::config::Secret;
use skald_proto::{
    inventory::v1::{
        AuditRequest, GetReservationRequest, GetStockRequest, ListStockRequest, ReservationState,
        RestockRequest,
    },
    participant::v1::{DescribeRequest, participant_service_client::ParticipantServiceClient},
};
use sqlx::{Connection as _, PgConnection};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{Installation, SOON, order, reserve};

fn bad_fields(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let bad = status.get_details_bad_request().expect("google.rpc.BadRequest");
    bad.field_violations.into_iter().map(|violation| violation.field).collect()
}

#[tokio::test]
async fn it_says_who_it_is() {
    let inventory = Installation::new().await.start().await;
    let mut client = ParticipantServiceClient::new(inventory.channel.clone());
    let described = client.describe(DescribeRequest {}).await.expect("described").into_inner();
    let actions: Vec<_> = described.actions.iter().map(|a| (a.name.as_str(), a.undo.as_str())).collect();
    assert_eq!(
        (described.participant.as_str(), actions),
        ("inventory", vec![("reserve", "release"), ("commit", "")])
    );
}

#[tokio::test]
async fn stock_is_found_or_not() {
    let inventory = Installation::new().await.start().await;
    inventory.restock("r1", "apple", 10).await.expect("restocked");
    assert_eq!(inventory.stock("apple").await, (10, 10, 0, 0));
    let get = |sku: &str| {
        let (mut api, sku) = (inventory.api(), sku.to_owned());
        async move { api.get_stock(GetStockRequest { sku }).await.expect_err("refused") }
    };
    assert_eq!(get("moon").await.code(), Code::NotFound);
    for bad in ["", "a b", &"x".repeat(65)] {
        assert_eq!(bad_fields(&get(bad).await), ["sku"]);
    }
}

#[tokio::test]
async fn stock_is_listed_page_by_page() {
    let inventory = Installation::new().await.start().await;
    let mut expected: Vec<String> = (0..7).map(|n| format!("sku-{n}")).collect();
    for sku in expected.iter().rev() {
        inventory.restock(sku, sku, 1).await.expect("restocked");
    }
    let mut api = inventory.api();
    let mut list = async |page_size, page_token: &str| {
        api.list_stock(ListStockRequest { page_size, page_token: page_token.to_owned() })
            .await
            .map(tonic::Response::into_inner)
    };
    let (mut seen, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = list(3, &token).await.expect("a page");
        seen.extend(page.stock.into_iter().map(|stock| stock.sku));
        token = page.next_page_token;
        pages += 1;
        if token.is_empty() {
            break;
        }
    }
    expected.sort();
    assert_eq!((seen, pages), (expected, 3));
    let whole = list(7, "").await.expect("a page");
    assert_eq!(
        (whole.stock.len(), whole.next_page_token.as_str()),
        (7, ""),
        "a full last page has no next one"
    );
    assert_eq!(list(0, "").await.expect("a page").stock.len(), 7);
    assert_eq!(bad_fields(&list(-1, "").await.expect_err("refused")), ["page_size"]);
    assert_eq!(bad_fields(&list(1_001, "a b").await.expect_err("refused")), ["page_size", "page_token"]);
}

#[tokio::test]
async fn a_restock_happens_once_per_request_id() {
    let inventory = Installation::new().await.start().await;
    let first = inventory.restock("r1", "apple", 10).await.expect("restocked");
    let again = inventory.restock("r1", "apple", 10).await.expect("a repeat");
    assert_eq!((first.applied, again.applied), (true, false));
    assert_eq!(first.stock, again.stock);
    for (sku, delta) in [("apple", 11), ("pear", 10)] {
        let status = inventory.restock("r1", sku, delta).await.expect_err("refused");
        assert_eq!(status.code(), Code::AlreadyExists);
    }
    assert_eq!(inventory.stock("apple").await, (10, 10, 0, 0));
    // twenty at once are one
    let calls = (0..20).map(|_| {
        let mut api = inventory.api();
        tokio::spawn(async move {
            let request = RestockRequest {
                sku: "plum".into(),
                delta: 5,
                request_id: "r2".into(),
                actor: "tester".into(),
                reason: "a test".into(),
            };
            api.restock(request).await.expect("restocked").into_inner().applied
        })
    });
    let mut applied = 0;
    for call in calls.collect::<Vec<_>>() {
        applied += usize::from(call.await.expect("no panic"));
    }
    assert_eq!((applied, inventory.stock("plum").await), (1, (5, 5, 0, 0)));
}

#[tokio::test]
async fn no_more_is_taken_away_than_is_available() {
    let inventory = Installation::new().await.start().await;
    inventory.restock("r1", "apple", 10).await.expect("restocked");
    inventory.one(reserve(order(), &[("apple", 4)])).await;
    let status = inventory.restock("r2", "apple", -7).await.expect_err("refused");
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("6 available"), "{status}");
    // it was not carried out, so its id is free
    inventory.restock("r2", "apple", -6).await.expect("restocked");
    assert_eq!(inventory.stock("apple").await, (4, 0, 4, 0));
    let status = inventory.restock("r3", "moon", -1).await.expect_err("refused");
    assert_eq!(status.code(), Code::FailedPrecondition);
    let mut api = inventory.api();
    let unknown = api.get_stock(GetStockRequest { sku: "moon".into() }).await.expect_err("refused");
    assert_eq!(unknown.code(), Code::NotFound, "a refused restock made a SKU");
    inventory.assert_audit_is_clean().await;
}

#[tokio::test]
async fn each_bad_field_of_a_restock_is_named() {
    let inventory = Installation::new().await.start().await;
    let status = inventory.api().restock(RestockRequest::default()).await.expect_err("refused");
    assert_eq!(bad_fields(&status), ["sku", "delta", "request_id", "actor", "reason"]);
    let long = RestockRequest {
        sku: "x".repeat(65),
        delta: i64::MIN,
        request_id: "x".repeat(129),
        actor: "nul\0".into(),
        reason: "x".repeat(513),
    };
    let status = inventory.api().restock(long).await.expect_err("refused");
    assert_eq!(bad_fields(&status), ["sku", "delta", "request_id", "actor", "reason"]);
}

#[tokio::test]
async fn a_reservation_is_found_or_not() {
    let inventory = Installation::new().await.start().await;
    inventory.restock("r1", "apple", 10).await.expect("restocked");
    let id = order();
    inventory.one(reserve(id, &[("apple", 4)])).await;
    let mut api = inventory.api();
    let mut get = async |order_id: String| {
        api.get_reservation(GetReservationRequest { order_id }).await.map(tonic::Response::into_inner)
    };
    let found = get(id.to_string()).await.expect("found").reservations;
    assert_eq!((found.len(), found[0].state()), (1, ReservationState::Held));
    assert_eq!((found[0].order_id.as_str(), found[0].step.as_str()), (id.to_string().as_str(), "reserve"));
    assert_eq!(found[0].ended_at, None);
    assert_eq!(get(order().to_string()).await.expect_err("refused").code(), Code::NotFound);
    assert_eq!(bad_fields(&get("nonsense".into()).await.expect_err("refused")), ["order_id"]);
}

#[tokio::test]
async fn the_audit_finds_what_does_not_add_up() {
    let installation = Installation::new().await;
    let inventory = installation.start().await;
    for sku in ["apple", "pear", "plum"] {
        inventory.restock(sku, sku, 10).await.expect("restocked");
    }
    inventory.one(reserve(order(), &[("apple", 4), ("pear", 1)])).await;
    let mut api = inventory.api();
    let clean = api.audit(AuditRequest {}).await.expect("an audit").into_inner();
    assert_eq!((clean.skus, clean.discrepancies), (3, vec![]));
    // by hand, as only a person at the database could
    let mut connection = PgConnection::connect(&installation.database.url).await.expect("connects");
    sqlx::query("update stock set reserved = 3, available = 7 where sku = 'apple'")
        .execute(&mut connection)
        .await
        .expect("updated");
    let found = api.audit(AuditRequest {}).await.expect("an audit").into_inner();
    assert_eq!((found.skus, found.discrepancies.len()), (3, 1));
    let wrong = &found.discrepancies[0];
    let counters = wrong.counters.as_ref().expect("counters");
    assert_eq!((counters.sku.as_str(), counters.reserved), ("apple", 3));
    assert_eq!((wrong.reserved, wrong.committed), (4, 0));
}

#[tokio::test]
async fn without_a_database_it_is_unavailable_and_comes_back() {
    let mut postgres = owned_postgres().await;
    let mut installation = Installation::new().await;
    installation.config.postgres.url = Secret::new(postgres.url("postgres"));
    let inventory = installation.start().await;
    inventory.restock("r1", "apple", 10).await.expect("restocked");
    postgres.kill().await.expect("killed");
    let mut api = inventory.api();
    let get = GetStockRequest { sku: "apple".into() };
    assert_eq!(api.get_stock(get.clone()).await.expect_err("refused").code(), Code::Unavailable);
    let list = api.list_stock(ListStockRequest::default()).await.expect_err("refused");
    assert_eq!(list.code(), Code::Unavailable);
    let restock = inventory.restock("r2", "apple", 10).await.expect_err("refused");
    assert_eq!(restock.code(), Code::Unavailable);
    let audit = api.audit(AuditRequest {}).await.expect_err("refused");
    assert_eq!(audit.code(), Code::Unavailable);
    postgres.restart().await.expect("back");
    eventually("inventory to answer again", SOON, async || api.get_stock(get.clone()).await).await;
    inventory.restock("r2", "apple", 10).await.expect("restocked");
    inventory.one(reserve(order(), &[("apple", 20)])).await;
    assert_eq!(inventory.stock("apple").await, (20, 0, 20, 0));
}
