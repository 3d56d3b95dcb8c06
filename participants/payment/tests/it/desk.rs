//! What whoever is on call sees of payment: charges by state and age, and the breaker.

use skald_harness::eventually;
use skald_proto::{
    participant::v1::{
        BarrierVerdict, BreakerState, GetBarrierRequest, GetStatusRequest,
        participant_admin_service_client::ParticipantAdminServiceClient,
    },
    payment::v1::{ChargeState, Charged, ListChargesRequest, SetGatewayMoodRequest},
};
use tonic::Status;
use uuid::Uuid;

use crate::support::{Installation, SOON, bad_fields, charge, order, refund};

#[tokio::test]
async fn charges_are_listed_by_state_and_age() {
    let installation = Installation::new().await;
    let payment = installation.start().await;
    let mut ids: Vec<Uuid> = (0..6).map(|_| order()).collect();
    ids.sort();
    for id in &ids[..4] {
        payment.answer(&charge(*id, if *id == ids[3] { "tok_declined" } else { "tok_ok" })).await;
    }
    payment.answer(&refund(ids[0])).await;
    let mut api = payment.api();
    api.set_gateway_mood(SetGatewayMoodRequest { outage: true, ..Default::default() }).await.expect("set");
    for id in &ids[4..] {
        assert_eq!(payment.execute(charge(*id, "tok_ok")).await, None);
    }
    // asked to be refunded, it is no open charge
    assert_eq!(payment.execute(refund(ids[1])).await, None);
    let mut connection = installation.connect().await;
    let plant = async |connection: &mut sqlx::PgConnection, sql: &'static str, id: Uuid| {
        sqlx::query(sql).bind(id).execute(connection).await.expect("planted");
    };
    plant(&mut connection, "update charge set state = 'U' where saga_id = $1", ids[5]).await;

    let mut list = async |state: ChargeState, older: Option<i64>, page_size, token: &str| {
        let request = ListChargesRequest {
            state: state.into(),
            older_than: older.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
            page_size,
            page_token: token.to_owned(),
        };
        let page = api.list_charges(request).await?.into_inner();
        let ids: Vec<Uuid> = page.charges.iter().map(|c| c.order_id.parse().expect("an id")).collect();
        Ok::<_, Status>((ids, page.next_page_token))
    };
    let picked = |numbers: &[usize]| numbers.iter().map(|number| ids[*number]).collect::<Vec<_>>();
    for (state, expected) in [
        (ChargeState::Unspecified, picked(&[5, 4, 3, 2, 1, 0])),
        (ChargeState::Captured, picked(&[2, 1])),
        (ChargeState::Declined, picked(&[3])),
        (ChargeState::Refunded, picked(&[0])),
        (ChargeState::Intent, picked(&[4])),
        (ChargeState::Unresolved, picked(&[5])),
        (ChargeState::Void, picked(&[])),
    ] {
        let (found, next) = list(state, None, 0, "").await.expect("a page");
        assert_eq!((found, next.as_str()), (expected, ""), "{state:?}");
    }
    for state in [ChargeState::Unspecified, ChargeState::Unresolved] {
        assert_eq!(list(state, Some(600), 0, "").await.expect("a page").0, picked(&[]), "{state:?}");
    }
    // five of one state, page by page: both ways of reading
    plant(&mut connection, "update charge set state = 'U' where saga_id = $1", ids[4]).await;
    for (state, expected) in
        [(ChargeState::Unspecified, picked(&[5, 4, 3, 2, 1, 0])), (ChargeState::Unresolved, picked(&[4, 5]))]
    {
        let (mut seen, mut token, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let (found, next) = list(state, None, 1, &token).await.expect("a page");
            seen.extend(found);
            token = next;
            pages += 1;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!((pages, seen), (expected.len(), expected), "{state:?}");
    }
    let bad = list(ChargeState::Void, Some(-1), 1_001, "x").await.expect_err("refused");
    assert_eq!(bad_fields(&bad), ["older_than", "page_size", "page_token"]);
    let unknown = ListChargesRequest { state: 17, ..Default::default() };
    assert_eq!(bad_fields(&api.list_charges(unknown).await.expect_err("refused")), ["state"]);
    // an old order's charge is old
    let old = skald_kit::ids::mint(1_700_000_000_000);
    let row =
        "insert into charge (saga_id, step, epoch, amount_minor, currency, customer_id, method_token, state,
                                   gateway_ref, intent_at)
               values ($1, 'charge', 1, 5, 'EUR', 'bob', '', 'C', 'c', now() - interval '1 year')";
    plant(&mut connection, row, old).await;
    let mut list = payment.api();
    let year = Some(prost_types::Duration { seconds: 300 * 86_400, nanos: 0 });
    let request = ListChargesRequest { older_than: year, ..Default::default() };
    let found = list.list_charges(request).await.expect("a page").into_inner().charges;
    assert_eq!(found.iter().map(|c| c.order_id.clone()).collect::<Vec<_>>(), [old.to_string()]);
}

#[tokio::test]
async fn the_breaker_and_the_barrier_are_told() {
    let mut installation = Installation::new().await;
    installation.config.breaker.consecutive_failures = 1;
    installation.config.breaker.open_ms = 60_000;
    installation.config.breaker.max_open_ms = 60_000;
    let payment = installation.start().await;
    let mut desk = ParticipantAdminServiceClient::new(payment.channel.clone());
    let mut breaker = async || {
        let status = desk.get_status(GetStatusRequest {}).await.expect("a status").into_inner();
        let breaker = status.breaker.expect("payment has one");
        (breaker.state(), breaker.since.expect("a time").seconds)
    };
    let (state, started) = breaker().await;
    assert_eq!(state, BreakerState::Closed);
    let id = order();
    payment.answer(&charge(id, "tok_ok")).await;
    payment
        .api()
        .set_gateway_mood(SetGatewayMoodRequest { outage: true, ..Default::default() })
        .await
        .expect("set");
    assert_eq!(payment.execute(charge(order(), "tok_ok")).await, None);
    let opened = eventually("the breaker to open", SOON, async || {
        let (state, since) = breaker().await;
        if state == BreakerState::Open { Ok(since) } else { Err(state) }
    })
    .await;
    assert!(opened >= started, "{opened} {started}");
    let rows = ParticipantAdminServiceClient::new(payment.channel.clone())
        .get_barrier(GetBarrierRequest { saga_id: id.to_string() })
        .await
        .expect("rows")
        .into_inner()
        .rows;
    assert_eq!((rows.len(), rows[0].verdict()), (1, BarrierVerdict::Succeeded));
    assert_eq!(rows[0].summary, "succeeded, with skald.payment.v1.Charged");
    let charged: Charged = rows[0].content.as_ref().expect("a result").to_msg().expect("a charge");
    assert_eq!(charged.amount_minor, 500);
}
