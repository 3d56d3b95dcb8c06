//! Two instances and one SKU that everybody wants.

use skald_harness::budget;
use skald_proto::participant::v1::{Command, Outcome, outcome::Answer};

use crate::support::{Installation, Instance, commit, order, release, reserve};

const STREAMS: usize = 4;

/// Sends the commands over several streams to both instances, each to both, in waves.
async fn everywhere(instances: &[Instance; 2], commands: &[Command]) -> Vec<Outcome> {
    let mut calls = Vec::new();
    for stream in 0..STREAMS {
        for (which, instance) in instances.iter().enumerate() {
            // not in step: the two work on different parts at any moment
            let mut part: Vec<Command> = commands.iter().skip(stream).step_by(STREAMS).cloned().collect();
            if which == 1 {
                part.reverse();
            }
            calls.push(async move {
                let mut outcomes = Vec::new();
                for wave in part.chunks(16) {
                    outcomes.extend(instance.execute(wave.to_vec()).await);
                }
                outcomes
            });
        }
    }
    let mut all = Vec::new();
    for outcomes in join_all(calls).await {
        all.extend(outcomes);
    }
    all
}

async fn join_all<F>(futures: Vec<F>) -> Vec<F::Output>
where
    F: Future,
{
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut results: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, result) in futures.iter_mut().zip(&mut results) {
            if result.is_none()
                && let std::task::Poll::Ready(output) = future.as_mut().poll(context)
            {
                *result = Some(output);
            }
        }
        if results.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    results.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_sku_is_never_oversold_and_every_repeat_gets_the_first_answer() {
    let installation = Installation::new().await;
    let instances = [installation.start().await, installation.start().await];
    let orders = budget().pick(400, 4_000);
    let stocked = orders as i64 * 3 / 2;
    instances[0].restock("r1", "hot", stocked).await.expect("restocked");
    instances[0].restock("r2", "cold", stocked * 10).await.expect("restocked");
    let ids: Vec<_> = (0..orders).map(|_| order()).collect();
    // 1 to 3 units: twice as many as there are; the two SKUs in both orders
    let wanted = |number: usize| (number % 3 + 1) as i64;
    let commands: Vec<Command> = ids
        .iter()
        .enumerate()
        .map(|(number, id)| {
            let (hot, cold) = (("hot", wanted(number)), ("cold", 1));
            reserve(*id, &if number % 2 == 0 { [hot, cold] } else { [cold, hot] })
        })
        .collect();
    let outcomes = everywhere(&instances, &commands).await;
    assert_eq!(outcomes.len(), orders * 2);

    let mut reserved = 0;
    let mut held = Vec::new();
    for (number, id) in ids.iter().enumerate() {
        let of_order: Vec<&Outcome> = outcomes.iter().filter(|o| o.saga_id == id.to_string()).collect();
        assert_eq!(of_order.len(), 2);
        assert_eq!(of_order[0].answer, of_order[1].answer, "two instances, two answers");
        match of_order[0].answer.as_ref().expect("an answer") {
            Answer::Succeeded(_) => {
                reserved += wanted(number);
                held.push(*id);
            }
            Answer::Rejected(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(reserved <= stocked, "{reserved} of {stocked}");
    assert!(reserved > stocked - 3, "{reserved} of {stocked}: some were turned away in vain");
    assert_eq!(instances[0].stock("hot").await, (stocked, stocked - reserved, reserved, 0));
    instances[1].assert_audit_is_clean().await;

    // half of them are committed, the others released, all at once and twice
    let ends: Vec<Command> = held
        .iter()
        .enumerate()
        .map(|(number, id)| if number % 2 == 0 { commit(*id) } else { release(*id) })
        .collect();
    for outcome in everywhere(&instances, &ends).await {
        assert!(matches!(outcome.answer, Some(Answer::Succeeded(_) | Answer::Undone(_))), "{outcome:?}");
    }
    let (all, available, reserved, committed) = instances[0].stock("hot").await;
    assert_eq!((all, reserved), (stocked, 0));
    assert_eq!(available + committed, stocked);
    instances[0].assert_audit_is_clean().await;
    for instance in instances {
        instance.stop().await;
    }
}
