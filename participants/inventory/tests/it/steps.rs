//! The three actions as the orchestrator sees them.

use skald_proto::{
    inventory::v1::{
        Committed, GetReservationRequest, OutOfStock, Released, ReservationState, Reserved, Shortage,
    },
    participant::v1::outcome::Answer,
};

use crate::support::{Installation, any, commit, order, release, reserve};

#[tokio::test]
async fn an_order_is_reserved_and_committed_once() {
    let inventory = Installation::new().await.start().await;
    inventory.restock("r1", "apple", 10).await.expect("restocked");
    inventory.restock("r2", "pear", 5).await.expect("restocked");
    let order = order();
    let reserved = any(&Reserved { step: "reserve".into(), epoch: 1, units: 5 });
    // the second time it is a repeat
    for _ in 0..2 {
        let Answer::Succeeded(answer) = inventory.one(reserve(order, &[("pear", 2), ("apple", 3)])).await
        else {
            panic!("not reserved")
        };
        assert_eq!(answer.result.as_ref(), Some(&reserved));
    }
    assert_eq!(inventory.stock("apple").await, (10, 7, 3, 0));
    assert_eq!(inventory.stock("pear").await, (5, 3, 2, 0));
    for _ in 0..2 {
        let Answer::Succeeded(answer) = inventory.one(commit(order)).await else { panic!("not committed") };
        assert_eq!(answer.result, Some(any(&Committed { units: 5 })));
    }
    assert_eq!(inventory.stock("apple").await, (10, 7, 0, 3));
    let request = GetReservationRequest { order_id: order.to_string() };
    let found = inventory.api().get_reservation(request).await.expect("found").into_inner().reservations;
    assert_eq!(found.len(), 1);
    let lines: Vec<_> = found[0].lines.iter().map(|line| (line.sku.as_str(), line.quantity)).collect();
    assert_eq!(lines, [("apple", 3), ("pear", 2)]);
    assert_eq!(found[0].state(), ReservationState::Committed);
    assert!(found[0].held_at.is_some() && found[0].ended_at.is_some());
    inventory.assert_audit_is_clean().await;
    inventory.stop().await;
}

#[tokio::test]
async fn what_is_missing_is_named_and_nothing_is_taken() {
    let inventory = Installation::new().await.start().await;
    inventory.restock("r1", "apple", 2).await.expect("restocked");
    let order = order();
    let Answer::Rejected(answer) = inventory.one(reserve(order, &[("apple", 3), ("moon", 1)])).await else {
        panic!("not rejected")
    };
    assert_eq!(answer.code, "OUT_OF_STOCK");
    let shortage = |sku: &str, requested, available| Shortage { sku: sku.into(), requested, available };
    let missing = OutOfStock { missing: vec![shortage("apple", 3, 2), shortage("moon", 1, 0)] };
    assert_eq!(answer.detail, Some(any(&missing)));
    assert_eq!(inventory.stock("apple").await, (2, 2, 0, 0));
    // the first verdict stands, also when there is enough by now
    inventory.restock("r2", "apple", 10).await.expect("restocked");
    inventory.restock("r3", "moon", 10).await.expect("restocked");
    let again = inventory.one(reserve(order, &[("apple", 3), ("moon", 1)])).await;
    assert!(matches!(again, Answer::Rejected(_)), "{again:?}");
    assert!(matches!(inventory.one(release(order)).await, Answer::NothingToUndo(_)));
}

#[tokio::test]
async fn a_release_gives_back_what_was_reserved_and_only_once() {
    let inventory = Installation::new().await.start().await;
    inventory.restock("r1", "apple", 10).await.expect("restocked");
    let order = order();
    inventory.one(reserve(order, &[("apple", 4)])).await;
    for _ in 0..2 {
        let Answer::Undone(answer) = inventory.one(release(order)).await else { panic!("not undone") };
        assert_eq!(answer.result, Some(any(&Released { units: 4 })));
        assert_eq!(inventory.stock("apple").await, (10, 10, 0, 0));
    }
    let Answer::Rejected(answer) = inventory.one(commit(order)).await else { panic!("not rejected") };
    assert_eq!(answer.code, "RESERVATION_GONE");
    inventory.assert_audit_is_clean().await;
}

#[tokio::test]
async fn a_release_that_comes_first_seals_the_reservation() {
    let inventory = Installation::new().await.start().await;
    inventory.restock("r1", "apple", 10).await.expect("restocked");
    let order = order();
    assert!(matches!(inventory.one(release(order)).await, Answer::NothingToUndo(_)));
    assert!(matches!(inventory.one(reserve(order, &[("apple", 4)])).await, Answer::Sealed(_)));
    assert_eq!(inventory.stock("apple").await, (10, 10, 0, 0));
}

#[tokio::test]
async fn committed_goods_are_not_released() {
    let inventory = Installation::new().await.start().await;
    inventory.restock("r1", "apple", 10).await.expect("restocked");
    let order = order();
    inventory.one(reserve(order, &[("apple", 4)])).await;
    inventory.one(commit(order)).await;
    let Answer::Failed(failed) = inventory.one(release(order)).await else { panic!("not failed") };
    assert_eq!((failed.code.as_str(), failed.retryable), ("RESERVATION_GONE", false));
    assert_eq!(inventory.stock("apple").await, (10, 6, 0, 4));
}

#[tokio::test]
async fn one_wave_takes_reservations_releases_and_commits_together() {
    let inventory = Installation::new().await.start().await;
    inventory.restock("r1", "apple", 10).await.expect("restocked");
    let (a, b, c, d) = (order(), order(), order(), order());
    inventory.execute(vec![reserve(a, &[("apple", 4)]), reserve(b, &[("apple", 5)])]).await;
    // one is left: c can't have two before a's four are back, d can afterwards
    let commands = vec![reserve(c, &[("apple", 2)]), release(a), commit(b), reserve(d, &[("apple", 5)])];
    let outcomes = inventory.execute(commands).await;
    let answers: Vec<_> = outcomes.into_iter().map(|outcome| outcome.answer.expect("an answer")).collect();
    assert!(matches!(answers[0], Answer::Rejected(_)), "{answers:?}");
    assert!(matches!(answers[1], Answer::Undone(_)), "{answers:?}");
    assert!(matches!(answers[2], Answer::Succeeded(_)), "{answers:?}");
    assert!(matches!(answers[3], Answer::Succeeded(_)), "{answers:?}");
    assert_eq!(inventory.stock("apple").await, (10, 0, 5, 5));
    inventory.assert_audit_is_clean().await;
}

#[tokio::test]
async fn what_is_no_order_fails_for_good() {
    let inventory = Installation::new().await.start().await;
    for lines in [&[][..], &[("apple", 0)], &[("an apple", 1)]] {
        let Answer::Failed(failed) = inventory.one(reserve(order(), lines)).await else {
            panic!("not failed")
        };
        assert_eq!((failed.code.as_str(), failed.retryable), ("BAD_INPUT", false));
    }
}
