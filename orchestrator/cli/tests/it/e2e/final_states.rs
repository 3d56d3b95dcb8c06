//! Every way in which an order can end, through the real processes.

use std::{collections::BTreeMap, path::PathBuf};

use futures::future::join_all;
use skald_proto::order::v1::{
    FulfilOrderRequest, MissingItem, Order as View, OrderStatus, SubmitOrderRequest, WatchOrderRequest,
};
use tonic::Code;
use uuid::Uuid;

use super::{
    LIMIT, audit,
    shop::{End, LAST, Order, POT, Promise, RARE, SHELF, Shop, TEA, Then, draft},
    world::{Kind, World},
};

/// An order without anything that its customer does later.
fn order(lines: &[(&str, i64)], token: Option<&str>, end: End) -> Order {
    Order { draft: draft(lines, token), end, then: Then::Nothing }
}

/// The same, with a seller to be waited for.
fn for_seller(lines: &[(&str, i64)], token: &str, end: End) -> Order {
    let mut order = order(lines, Some(token), end);
    order.draft.needs_fulfilment = true;
    order
}

async fn until(shop: &Shop, id: Uuid, status: OrderStatus) -> View {
    skald_harness::eventually(&format!("order {id} to be {status:?}"), LIMIT, async || {
        let order = shop.look(id).await;
        if order.status() == status { Ok(order) } else { Err(order) }
    })
    .await
}

/// Places an order and waits for its end.
async fn to_the_end(shop: &Shop, order: Order) -> View {
    let status = if order.end == End::Completed { OrderStatus::Completed } else { OrderStatus::Cancelled };
    let promise = shop.place(order).await;
    until(shop, promise.id, status).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_order_ends_as_it_must() {
    let mut world = World::plan().start().await;
    world.stock(&SHELF).await;
    let shop = Shop::new(&world);
    tokio::join!(
        paid_at_once(&shop),
        paid_later(&shop),
        fulfilled_by_a_seller(&shop),
        for_nothing(&shop),
        out_of_stock(&shop),
        declined(&shop),
        cancelled_before_it_was_paid(&shop),
        cancelled_after_it_was_paid(&shop),
        cancelled_while_it_was_charged(&world, &shop),
        a_gateway_that_misbehaves(&world, &shop),
    );
    let ends = audit::at_rest(&world, &shop).await;
    let expected = [("COMPLETED", 7), ("CUSTOMER", 3), ("OUT_OF_STOCK", 1), ("PAYMENT_DECLINED", 3)];
    assert_eq!(ends, BTreeMap::from(expected.map(|(end, orders)| (end.to_owned(), orders))));
    audit_finds_what_somebody_spoilt(&world).await;
}

/// Money that was not given back, goods that nobody sold, goods of nobody.
async fn audit_finds_what_somebody_spoilt(world: &World) {
    let unpaid =
        "update public.charge set state = 'C', refund_ref = null where state = 'R' returning saga_id";
    let kept: Vec<Uuid> =
        sqlx::query_scalar(unpaid).fetch_all(&mut world.sql(Kind::Payment).await).await.unwrap();
    let sold = "update public.stock set committed = committed + 1, stocked = stocked + 1 where sku = $1";
    let mut inventory = world.sql(Kind::Inventory).await;
    sqlx::query(sold).bind(TEA).execute(&mut inventory).await.unwrap();
    let nobody = "insert into public.reservation (saga_id, step, epoch, state, skus, quantities)
                  values ($1, 'reserve', 1, 'H', '{ghost}', '{1}')";
    sqlx::query(nobody).bind(Uuid::max()).execute(&mut inventory).await.unwrap();
    let (code, out, _) = audit::by_command(world);
    assert_eq!(code, 1, "{out}");
    let [one, two, ..] = kept[..] else { panic!("{kept:?}: two at least were refunded") };
    let (one, begin) = (one.to_string(), one.to_string()[..9].to_owned());
    for typed in [&one[24..], &one] {
        let (code, out, _) = audit::of(world, &[typed]);
        assert!(code == 1 && out.starts_with("1 orders") && out.contains(&one), "{typed}: {out}");
        assert!(!out.contains(&two.to_string()) && !out.contains(TEA), "{typed}: {out}");
    }
    let wrong = [("00000000", "there is no order"), ("tea", "is no id"), (&begin, "can mean several")];
    for (typed, why) in wrong {
        let (code, out, err) = audit::of(world, &[typed]);
        assert!(code > 1 && err.contains(why), "{typed}: {code} {out}{err}");
    }
    for id in kept.into_iter().map(|id| id.to_string()).chain([TEA.into(), Uuid::max().to_string()]) {
        assert!(out.contains(&id), "{id} in\n{out}");
    }
}

async fn paid_at_once(shop: &Shop) {
    let promise = shop.place(order(&[(TEA, 2), (POT, 1)], Some("tok_ok"), End::Completed)).await;
    let request = WatchOrderRequest { order_id: promise.id.to_string() };
    let mut seen = shop.client(0).watch_order(request).await.expect("watched").into_inner();
    let mut views = Vec::new();
    while let Some(next) = seen.message().await.expect("told") {
        views.push(next.order.expect("an order"));
    }
    let last = views.last().expect("the present state comes first");
    assert_eq!(last.status(), OrderStatus::Completed, "the stream ends with the final state");
    assert_eq!((last.total_minor, last.reason.as_str()), (750, ""));
    assert!(views.windows(2).all(|two| two[0].version < two[1].version), "{views:?}");
    // What was placed is answered again, and nothing is placed twice.
    let request =
        SubmitOrderRequest { idempotency_key: promise.key.clone(), order: Some(promise.draft.clone()) };
    let again = shop.client(0).submit_order(request).await.expect("answered").into_inner();
    assert_eq!((again.order_id, again.created), (promise.id.to_string(), false));
    let other = SubmitOrderRequest { idempotency_key: promise.key, order: Some(draft(&[(TEA, 9)], None)) };
    let refused = shop.client(0).submit_order(other).await.expect_err("another payload");
    assert_eq!(refused.code(), Code::AlreadyExists);
    let request =
        skald_proto::order::v1::CancelOrderRequest { order_id: promise.id.to_string(), note: String::new() };
    let refused = shop.client(0).cancel_order(request).await.expect_err("it is complete");
    assert_eq!(refused.code(), Code::FailedPrecondition);
}

async fn paid_later(shop: &Shop) {
    let promise = shop.place(order(&[(TEA, 1)], None, End::Completed)).await;
    until(shop, promise.id, OrderStatus::Reserved).await;
    shop.pay(promise.id).await;
    until(shop, promise.id, OrderStatus::Completed).await;
}

async fn fulfilled_by_a_seller(shop: &Shop) {
    let promise = shop.place(for_seller(&[(POT, 3)], "tok_ok", End::Completed)).await;
    until(shop, promise.id, OrderStatus::Paid).await;
    let request = FulfilOrderRequest {
        order_id: promise.id.to_string(),
        seller_id: "seller".into(),
        reference: "parcel-1".into(),
        request_id: String::new(),
    };
    shop.client(0).fulfil_order(request).await.expect("fulfilled");
    until(shop, promise.id, OrderStatus::Completed).await;
}

async fn for_nothing(shop: &Shop) {
    let mut gift = order(&[(TEA, 1)], Some("tok_ok"), End::Completed);
    gift.draft.lines[0].unit_price_minor = 0;
    to_the_end(shop, gift).await;
}

async fn out_of_stock(shop: &Shop) {
    let lines = [(TEA, 1), (RARE, 2), (LAST, 9)];
    let view = to_the_end(shop, order(&lines, Some("tok_ok"), End::Cancelled("OUT_OF_STOCK"))).await;
    let mut missing = view.missing;
    missing.sort_by(|a, b| a.sku.cmp(&b.sku));
    let item = |sku: &str, requested, available| MissingItem { sku: sku.into(), requested, available };
    assert_eq!(missing, [item(LAST, 9, 3), item(RARE, 2, 1)]);
}

async fn declined(shop: &Shop) {
    let tokens = ["tok_declined", "tok_insufficient_funds", "tok_of_another_shop"];
    join_all(tokens.map(async |token| {
        let view =
            to_the_end(shop, order(&[(TEA, 1)], Some(token), End::Cancelled("PAYMENT_DECLINED"))).await;
        assert_eq!(view.reason, "PAYMENT_DECLINED");
    }))
    .await;
}

async fn cancelled_before_it_was_paid(shop: &Shop) {
    let promise = shop.place(order(&[(TEA, 1)], None, End::Cancelled("CUSTOMER"))).await;
    until(shop, promise.id, OrderStatus::Reserved).await;
    shop.cancel(promise.id).await;
    until(shop, promise.id, OrderStatus::Cancelled).await;
}

async fn cancelled_after_it_was_paid(shop: &Shop) {
    let promise = shop.place(for_seller(&[(TEA, 1)], "tok_ok", End::Cancelled("CUSTOMER"))).await;
    until(shop, promise.id, OrderStatus::Paid).await;
    shop.cancel(promise.id).await;
    until(shop, promise.id, OrderStatus::Cancelled).await;
}

/// The refund overtakes the charge's answer.
async fn cancelled_while_it_was_charged(world: &World, shop: &Shop) {
    let promise = shop.place(order(&[(TEA, 1)], Some("tok_slow"), End::Cancelled("CUSTOMER"))).await;
    let mut conn = world.sql(Kind::Payment).await;
    skald_harness::eventually("the charge to be under way", LIMIT, async || {
        let open: i64 = sqlx::query_scalar("select count(*) from skald.intent where saga_id = $1")
            .bind(promise.id)
            .fetch_one(&mut conn)
            .await
            .map_err(|error| error.to_string())?;
        if open == 1 { Ok(()) } else { Err(open.to_string()) }
    })
    .await;
    shop.cancel(promise.id).await;
    until(shop, promise.id, OrderStatus::Cancelled).await;
}

/// Slow, not now, and an answer that is lost after the money moved: still one charge each.
async fn a_gateway_that_misbehaves(world: &World, shop: &Shop) {
    let tokens = ["tok_slow", "tok_flaky", "tok_lost_answer"];
    let placed: Vec<Promise> = join_all(tokens.map(async |token| {
        let promise = shop.place(order(&[(POT, 1)], Some(token), End::Completed)).await;
        until(shop, promise.id, OrderStatus::Completed).await;
        promise
    }))
    .await;
    let mut conn = world.sql(Kind::Payment).await;
    for (promise, token) in placed.iter().zip(tokens) {
        let calls: Vec<String> = sqlx::query_scalar(
            "select kind || ': ' || answer from gateway.call where our_ref like $1 || '/%' order by id",
        )
        .bind(promise.id.to_string())
        .fetch_all(&mut conn)
        .await
        .expect("the gateway's books");
        let told: Vec<&str> = calls.iter().map(|call| call.split(" ch_").next().unwrap_or(call)).collect();
        let expected: &[&str] = match token {
            "tok_slow" => &["charge: moved:"],
            "tok_flaky" => &["charge: unavailable", "charge: moved:"],
            _ => &["charge: moved:", "find: found:"],
        };
        assert_eq!(told, expected, "{token}");
    }
}

/// A customer who never pays and a seller who never ships: the deadlines of the definition, configured down.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_goes_on_with_expires() {
    let mut world = World::plan().definitions(&impatient()).start().await;
    world.stock(&SHELF).await;
    let shop = Shop::new(&world);
    let expired = End::Cancelled("EXPIRED");
    let (unpaid, unshipped, good) = tokio::join!(
        to_the_end(&shop, order(&[(TEA, 5)], None, expired)),
        to_the_end(&shop, for_seller(&[(POT, 2)], "tok_ok", expired)),
        to_the_end(&shop, order(&[(TEA, 1)], Some("tok_ok"), End::Completed)),
    );
    assert_eq!(
        (unpaid.reason.as_str(), unshipped.reason.as_str(), good.reason.as_str()),
        ("EXPIRED", "EXPIRED", "")
    );
    audit::at_rest(&world, &shop).await;
    let mut conn = world.sql(Kind::Payment).await;
    let moved: Vec<String> =
        sqlx::query_scalar("select kind from gateway.movement where our_ref like $1 || '/%' order by at")
            .bind(&unshipped.order_id)
            .fetch_all(&mut conn)
            .await
            .expect("the gateway's books");
    assert_eq!(moved, ["charge", "refund"], "it was paid, and the money went back");
}

/// A folder with the order saga that ships, but for its deadlines.
fn impatient() -> PathBuf {
    let shipped =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../core/definitions/order.toml"))
            .expect("the definition that ships");
    let text = shipped.replace(r#"deadline = "30m""#, r#"deadline = "2s""#);
    let text = text.replace(r#"deadline = "14d""#, r#"deadline = "2s""#);
    assert_eq!(text.matches(r#"deadline = "2s""#).count(), 2, "{text}");
    let folder = skald_harness::scratch("definitions");
    std::fs::write(folder.join("order.toml"), text).expect("written");
    folder
}
