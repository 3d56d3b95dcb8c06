//! What the world is told: every event once, in CloudEvents' form, in the caller's trace.

use skald_proto::{
    order::v1::{self as order, OrderStatus},
    participant::v1::Verb,
};

use crate::support::{DEADLINE, Participant, Reader, World, draft, no, yes};

const COMPLETED: [&str; 5] =
    ["order.created", "order.reserved", "order.paid", "order.fulfilled", "order.completed"];
const DECLINED: [&str; 4] = ["order.created", "order.reserved", "order.status.changed", "order.cancelled"];

async fn outbox(world: &World) -> i64 {
    sqlx::query_scalar("select count(*) from skald.outbox").fetch_one(&mut world.sql().await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_after_traffic_every_event_was_told_once_and_the_outbox_is_empty() {
    let world = World::start().await;
    let kafka = &world.config.kafka;
    let _inventory = Participant::start(kafka, "inventory", |c| Some(yes(c))).await;
    let _payment = Participant::start(kafka, "payment", |c| {
        let input: order::OrderInput = c.input.as_ref().unwrap().to_msg().unwrap();
        Some(if input.note == "declined" { no("PAYMENT_DECLINED") } else { yes(c) })
    })
    .await;
    let events = Reader::of(kafka, "orders.events");
    let mut ids = Vec::new();
    for n in 0..100 {
        let note = if n % 5 == 0 { "declined" } else { "" };
        let order = order::OrderDraft { note: note.into(), ..draft() };
        let request = order::SubmitOrderRequest { idempotency_key: format!("k{n}"), order: Some(order) };
        ids.push((world.place(request).await, if n % 5 == 0 { &DECLINED[..] } else { &COMPLETED[..] }));
    }
    for (id, told) in &ids {
        skald_harness::eventually("every event of an order, in order", DEADLINE, async || {
            let kinds = events.kinds(id);
            if kinds == *told { Ok(()) } else { Err(kinds) }
        })
        .await;
    }
    skald_harness::eventually("an empty outbox", DEADLINE, async || {
        let rows = outbox(&world).await;
        if rows == 0 { Ok(()) } else { Err(rows) }
    })
    .await;
    // Long enough for the relay to look at its table and find what it told before, were it there.
    world.beats(7).await;
    let times = events.ids();
    assert_eq!(times.len(), 80 * COMPLETED.len() + 20 * DECLINED.len());
    assert!(times.values().all(|n| *n == 1), "each event once");
    assert_eq!(outbox(&world).await, 0);
    crate::replay::every_history(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_commands_are_in_the_trace_of_the_submission() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let world = World::start().await;
    let [inventory, _payment] = world.yes().await;
    let events = Reader::of(&world.config.kafka, "orders.events");
    let commands = Reader::of(&world.config.kafka, "skald.inventory.commands");
    let mut request = tonic::Request::new(order::SubmitOrderRequest {
        idempotency_key: "traced".into(),
        order: Some(draft()),
    });
    request.metadata_mut().insert("traceparent", TRACE.parse().unwrap());
    let traced = world.orders().submit_order(request).await.unwrap().into_inner().order_id;
    let own = world.submit("own").await;
    for id in [&traced, &own] {
        world.until(id, OrderStatus::Completed).await;
        inventory.command(id, "commit", Verb::Run).await;
        skald_harness::eventually("every event", DEADLINE, async || {
            (events.kinds(id).len() == COMPLETED.len()).then_some(())
        })
        .await;
    }
    // Without a trace of the caller's, all that belongs to an order is found under its id.
    let derived = own.parse::<uuid::Uuid>().unwrap().simple().to_string();
    for reader in [&events, &commands] {
        for message in reader.messages.lock().unwrap().iter() {
            let trace = message.header_str("traceparent").expect("a trace");
            if message.key.as_deref() == Some(traced.as_bytes()) {
                assert_eq!(trace, TRACE);
            } else {
                assert_eq!(&trace[3..35], derived);
            }
        }
    }

    let messages = events.messages.lock().unwrap().clone();
    let mut last = String::new();
    for message in messages.iter().filter(|m| m.key.as_deref() == Some(traced.as_bytes())) {
        let header = |name: &str| message.header_str(name).unwrap_or_else(|| panic!("{name}")).to_owned();
        assert_eq!(header("ce_specversion"), "1.0");
        assert_eq!(header("ce_source"), "/skald/orchestrator");
        assert_eq!(header("ce_subject"), traced);
        assert_eq!(header("content-type"), "application/protobuf");
        assert!(header("ce_time").ends_with('Z') && header("ce_time").len() >= 20, "{}", header("ce_time"));
        let sequence = header("ce_sequence");
        assert!(sequence.len() == 13 && sequence > last, "{sequence} after {last}: it sorts as a string");
        last = sequence;
    }
    let told = events.order_events(&traced);
    assert_eq!((told[0].lines.len(), told[0].total_minor, told[0].currency.as_str()), (1, 100, "EUR"));
    assert!(told[1..].iter().all(|event| event.lines.is_empty()), "lines in order.created only");
    assert!(told.iter().all(|event| event.customer_id == "customer" && event.occurred_at.is_some()));
    let statuses: Vec<_> = told.iter().map(|event| event.status()).collect();
    use OrderStatus::{Completed, Fulfilled, Paid, Pending, Reserved};
    assert_eq!(statuses, [Pending, Reserved, Paid, Fulfilled, Completed]);
    world.stop().await;
}
