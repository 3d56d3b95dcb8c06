//! What whoever is on call does with the stock: corrects it after a count, and sees who holds what.

use skald_proto::{
    inventory::v1::{AdjustRequest, AdjustResponse, ListReservationsRequest, ReservationState, Stock},
    participant::v1::outcome::Answer,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::support::{Installation, Instance, commit, order, release, reserve};

fn bad_fields(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let bad = status.get_details_bad_request().expect("google.rpc.BadRequest");
    bad.field_violations.into_iter().map(|violation| violation.field).collect()
}

fn counted(request_id: &str, sku: &str, delta: i64) -> AdjustRequest {
    AdjustRequest {
        sku: sku.to_owned(),
        delta,
        request_id: request_id.to_owned(),
        actor: "tester".to_owned(),
        reason: "counted".to_owned(),
    }
}

async fn adjust(inventory: &Instance, request: AdjustRequest) -> Result<AdjustResponse, Status> {
    inventory.api().adjust(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn a_count_corrects_what_is_available_and_nothing_else() {
    let inventory = Installation::new().await.start().await;
    inventory.restock("r1", "apple", 10).await.expect("restocked");
    inventory.one(reserve(order(), &[("apple", 4)])).await;
    let less = adjust(&inventory, counted("a1", "apple", -5)).await.expect("adjusted");
    let expected =
        Stock { sku: "apple".into(), stocked: 5, available: 1, reserved: 4, committed: 0, version: 3 };
    assert_eq!((less.applied, less.stock), (true, Some(expected)));
    adjust(&inventory, counted("a2", "apple", 2)).await.expect("adjusted");
    assert_eq!(inventory.stock("apple").await, (7, 3, 4, 0));

    let status = adjust(&inventory, counted("a3", "apple", -4)).await.expect_err("refused");
    assert_eq!(status.code(), Code::FailedPrecondition);
    let state = status.get_details_precondition_failure().expect("google.rpc.PreconditionFailure");
    let told: Vec<_> =
        state.violations.iter().map(|v| (v.subject.as_str(), v.description.as_str())).collect();
    assert_eq!(told, [("apple", "3 available of 7 stocked")]);
    // refused, it was not kept: the same id may come again when it is possible
    inventory.restock("r2", "apple", 1).await.expect("restocked");
    assert!(adjust(&inventory, counted("a3", "apple", -4)).await.expect("adjusted").applied);
    assert_eq!(inventory.stock("apple").await, (4, 0, 4, 0));
    let status = adjust(&inventory, counted("a4", "moon", 1)).await.expect_err("refused");
    assert_eq!(status.code(), Code::NotFound);
    inventory.assert_audit_is_clean().await;
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_and_another_payload_is_refused() {
    let inventory = Installation::new().await.start().await;
    inventory.restock("r1", "apple", 10).await.expect("restocked");
    let first = adjust(&inventory, counted("a1", "apple", 3)).await.expect("adjusted");
    inventory.restock("r2", "apple", 10).await.expect("restocked");
    let again = adjust(&inventory, counted("a1", "apple", 3)).await.expect("a repeat");
    assert_eq!((first.applied, again.applied), (true, false));
    assert_eq!(again.stock, first.stock, "the first answer, whatever happened since");
    assert_eq!(inventory.stock("apple").await, (23, 23, 0, 0));
    let same = counted("a1", "apple", 3);
    for other in [
        AdjustRequest { delta: 4, ..same.clone() },
        AdjustRequest { sku: "pear".into(), ..same.clone() },
        AdjustRequest { actor: "another".into(), ..same.clone() },
        AdjustRequest { reason: "another".into(), ..same.clone() },
    ] {
        let status = adjust(&inventory, other).await.expect_err("refused");
        assert_eq!(status.code(), Code::AlreadyExists);
    }
    // ids are shared: a restock is no adjustment
    let status = adjust(&inventory, counted("r2", "apple", 10)).await.expect_err("refused");
    assert_eq!(status.code(), Code::AlreadyExists);
    assert_eq!(inventory.stock("apple").await, (23, 23, 0, 0));
}

#[tokio::test]
async fn each_bad_field_of_an_adjustment_is_named() {
    let inventory = Installation::new().await.start().await;
    let all = ["sku", "delta", "request_id", "actor", "reason"];
    let status = adjust(&inventory, AdjustRequest::default()).await.expect_err("refused");
    assert_eq!(bad_fields(&status), all);
    let long = AdjustRequest {
        sku: "a b".into(),
        delta: i64::MAX,
        request_id: "x".repeat(129),
        actor: "nul\0".into(),
        reason: "x".repeat(513),
    };
    assert_eq!(bad_fields(&adjust(&inventory, long).await.expect_err("refused")), all);
}

/// Everybody reserves while the count takes goods away and finds some: what is held is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn corrections_and_orders_at_once_never_oversell() {
    let installation = Installation::new().await;
    let instances = [installation.start().await, installation.start().await];
    instances[0].restock("r1", "hot", 100).await.expect("restocked");
    let orders = tokio::spawn({
        let ids: Vec<Uuid> = (0..120).map(|_| order()).collect();
        let commands: Vec<_> = ids.iter().map(|id| reserve(*id, &[("hot", 1)])).collect();
        let channel = instances[1].channel.clone();
        async move {
            let mut held = 0;
            for wave in commands.chunks(8) {
                let outcomes = crate::support::execute(channel.clone(), wave.to_vec()).await;
                held +=
                    outcomes.iter().filter(|o| matches!(o.answer, Some(Answer::Succeeded(_)))).count() as i64;
            }
            held
        }
    });
    let changes = (0..60).map(|number: i64| {
        let mut api = instances[number as usize % 2].api();
        // two of three take goods away: 80 more than there come
        let delta = if number % 3 == 0 { 2 } else { -3 };
        tokio::spawn(async move {
            let request = counted(&format!("a{number}"), "hot", delta);
            match api.adjust(request).await {
                Ok(_) => delta,
                Err(status) => {
                    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
                    0
                }
            }
        })
    });
    let mut changed = 0;
    for change in changes.collect::<Vec<_>>() {
        changed += change.await.expect("no panic");
    }
    let held = orders.await.expect("no panic");
    let stocked = 100 + changed;
    assert!(held <= stocked, "{held} of {stocked}");
    assert_eq!(instances[0].stock("hot").await, (stocked, stocked - held, held, 0));
    instances[1].assert_audit_is_clean().await;
}

#[tokio::test]
async fn reservations_are_listed_newest_first_by_sku_order_and_state() {
    let inventory = Installation::new().await.start().await;
    for sku in ["apple", "pear"] {
        inventory.restock(sku, sku, 100).await.expect("restocked");
    }
    let mut ids: Vec<Uuid> = (0..7).map(|_| order()).collect();
    ids.sort();
    for (number, id) in ids.iter().enumerate() {
        let both: &[_] = if number % 2 == 0 { &[("apple", 1), ("pear", 1)] } else { &[("pear", 2)] };
        inventory.one(reserve(*id, both)).await;
    }
    inventory.one(commit(ids[0])).await;
    inventory.one(release(ids[1])).await;
    let mut api = inventory.api();
    let mut list = async |sku: &str, order_id: &str, state: ReservationState, page_size, token: &str| {
        let request = ListReservationsRequest {
            sku: sku.to_owned(),
            order_id: order_id.to_owned(),
            state: state.into(),
            page_size,
            page_token: token.to_owned(),
        };
        let page = api.list_reservations(request).await?.into_inner();
        let ids: Vec<Uuid> = page.reservations.iter().map(|r| r.order_id.parse().expect("an id")).collect();
        Ok::<_, Status>((ids, page.next_page_token))
    };
    let newest = |picked: &[usize]| picked.iter().map(|number| ids[*number]).collect::<Vec<_>>();
    let any = ReservationState::Unspecified;
    let (mut seen, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let (found, next) = list("", "", any, 3, &token).await.expect("a page");
        seen.extend(found);
        token = next;
        pages += 1;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((seen, pages), (newest(&[6, 5, 4, 3, 2, 1, 0]), 3));
    for (sku, id, state, expected) in [
        ("apple", "", any, newest(&[6, 4, 2, 0])),
        ("pear", "", ReservationState::Held, newest(&[6, 5, 4, 3, 2])),
        ("apple", "", ReservationState::Committed, newest(&[0])),
        ("", "", ReservationState::Released, newest(&[1])),
        ("", &ids[3].to_string(), any, newest(&[3])),
        ("apple", &ids[3].to_string(), any, newest(&[])),
        ("moon", "", any, newest(&[])),
    ] {
        let (found, next) = list(sku, id, state, 0, "").await.expect("a page");
        assert_eq!((found, next.as_str()), (expected, ""), "{sku} {id} {state:?}");
    }
    let bad = list("a b", "x", any, 1_001, "y").await.expect_err("refused");
    assert_eq!(bad_fields(&bad), ["sku", "order_id", "page_size", "page_token"]);
    let unknown = ListReservationsRequest { state: 9, ..Default::default() };
    assert_eq!(bad_fields(&api.list_reservations(unknown).await.expect_err("refused")), ["state"]);
}

/// A page looks at so many rows and no more, and what lies behind them is still found.
#[tokio::test]
async fn what_lies_behind_ten_thousand_others_is_found_on_a_later_page() {
    let installation = Installation::new().await;
    let inventory = installation.start().await;
    inventory.restock("r1", "apple", 1).await.expect("restocked");
    let id = order();
    inventory.one(reserve(id, &[("apple", 1)])).await;
    let mut connection = installation.connect().await;
    // newer ones, of another SKU
    sqlx::query(
        "insert into public.reservation (saga_id, step, epoch, state, skus, quantities)
         select ('fffffff0-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'reserve', 1, 'H', '{pear}', '{1}'
         from generate_series(1, 10500) n",
    )
    .execute(&mut connection)
    .await
    .expect("inserted");
    let mut api = inventory.api();
    let mut request = ListReservationsRequest { sku: "apple".into(), ..Default::default() };
    let first = api.list_reservations(request.clone()).await.expect("a page").into_inner();
    assert_eq!(first.reservations, []);
    assert!(!first.next_page_token.is_empty());
    request.page_token = first.next_page_token;
    let second = api.list_reservations(request).await.expect("a page").into_inner();
    let found: Vec<_> = second.reservations.iter().map(|r| r.order_id.clone()).collect();
    assert_eq!((found, second.next_page_token.as_str()), (vec![id.to_string()], ""));
}
