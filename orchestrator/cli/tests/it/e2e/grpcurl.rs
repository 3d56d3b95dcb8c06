//! Everything that is served, called once by grpcurl as a person would, from reflection alone: `testing/grpcurl.sh`, on a world with
//! every trouble that the script can use.

use skald_proto::order::v1::OrderStatus;

use super::{
    audit,
    shop::{End, Order, SHELF, Shop, TEA, Then, draft},
    terminal::{Terminal, checkout},
    troubles::{self, until},
    world::{Kind, World},
};

#[tokio::test(flavor = "multi_thread")]
async fn every_call_once_as_a_person_would() {
    let mut world = World::plan().set(Kind::Payment, "CALLS__TIMEOUT_MS", "1000").patient().start().await;
    world.stock(&SHELF).await;
    let shop = Shop::new(&world);
    let order = |end| Order { draft: draft(&[(TEA, 1)], Some("tok_ok")), end, then: Then::Nothing };
    let done = shop.place(order(End::Completed)).await.id;
    until(&shop, done, OrderStatus::Completed).await;
    troubles::babble(&world, done).await;
    world.slow_gateway(0, 60_000).await;
    let unresolved = shop.place(order(End::Cancelled("PAYMENT_DECLINED"))).await.id;
    let poisoned = shop.place(order(End::Completed)).await.id;
    troubles::poison(&world, poisoned).await;
    troubles::mend(&world, poisoned).await;
    troubles::forget(&world, &[unresolved]).await;

    let said = Terminal::new(&world).works("testing/grpcurl.sh");
    for used in [
        "a dead letter was sent again",
        "a dead letter was discarded",
        "a quarantined order goes on",
        "a charge of which nobody knew was settled",
    ] {
        assert!(said.contains(&format!("used: {used}")), "{used}: {said}");
    }
    for service in ["AdminService", "OrderService", "SagaService", "ParticipantService"] {
        assert!(said.contains(&format!(".{service}/")), "{service}: {said}");
    }
    until(&shop, poisoned, OrderStatus::Completed).await;
    assert_eq!(shop.look(unresolved).await.reason, "PAYMENT_DECLINED");
    let (code, out, err) = audit::by_command(&world);
    assert_eq!(code, 0, "{out}{err}");
}

/// Without the calls in its middle, the script's last part misses each of them by name.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_nobody_made_is_named() {
    let world = World::plan().start().await;
    let script = std::fs::read_to_string(checkout().join("testing/grpcurl.sh")).expect("the script");
    let (tools, calls) = script.split_once("# ---- what is served").expect("its first part");
    let (calls, rest) = calls.split_once("# ---- nothing was left out").expect("its last part");
    let (code, said) = Terminal::new(&world).run(&format!("{tools}\n#{rest}"));
    assert_eq!(code, 1, "{said}");
    let missed: std::collections::BTreeSet<&str> =
        said.lines().filter_map(|line| line.strip_prefix("not called: ")?.split(" at ").next()).collect();
    assert!(missed.len() > 50, "{said}");
    let (code, said) =
        Terminal::new(&world).run(&format!("{tools}\ncall \"$PAYMENT\" $PARTICIPANT/Describe\n#{rest}"));
    assert_eq!(code, 1, "{said}");
    for method in missed {
        let (_, name) = method.rsplit_once('.').expect("a method");
        assert!(calls.contains(&format!("/{name}")), "{method} stands in the script");
        let is_missed = said.contains(&format!("not called: {method} "));
        assert_eq!(is_missed, !method.ends_with("ParticipantService.Describe"), "{method}: {said}");
    }
}
