//! Reconcile: the gateway's records against ours.

use std::time::{SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;
use skald_proto::payment::v1::{
    Difference, DifferenceKind, ReconcileRequest, ReconcileResponse, SetGatewayMoodRequest,
};
use sqlx::AssertSqlSafe;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::support::{Installation, Instance, bad_fields, charge, order, refund};

/// An hour ago, and an hour from now.
fn around_now() -> ReconcileRequest {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let at = |seconds: u64| Some(Timestamp { seconds: i64::try_from(seconds).expect("fits"), nanos: 0 });
    ReconcileRequest { since: at(now - 3_600), until: at(now + 3_600), ..Default::default() }
}

async fn pages(payment: &Instance, request: ReconcileRequest) -> Result<Vec<ReconcileResponse>, Status> {
    let mut stream = payment.api().reconcile(request).await?.into_inner();
    let mut pages = Vec::new();
    while let Some(page) = stream.message().await? {
        pages.push(page);
    }
    Ok(pages)
}

fn differences(pages: &[ReconcileResponse]) -> Vec<&Difference> {
    pages.iter().flat_map(|page| &page.differences).collect()
}

/// Movements and charges that were looked at, and what was left out.
fn totals(pages: &[ReconcileResponse]) -> (i64, i64, i64) {
    let sum = |pick: fn(&ReconcileResponse) -> i64| pages.iter().map(pick).sum();
    (sum(|page| page.movements), sum(|page| page.charges), sum(|page| page.open))
}

/// A history of everything that is no difference: charged, refunded, declined, void.
async fn clean_books(payment: &Instance) -> Vec<Uuid> {
    let ids: Vec<Uuid> = (0..6).map(|_| order()).collect();
    for id in &ids[..4] {
        payment.answer(&charge(*id, "tok_ok")).await;
    }
    for id in &ids[..2] {
        payment.answer(&refund(*id)).await;
    }
    payment.answer(&charge(ids[4], "tok_declined")).await;
    payment.answer(&refund(ids[5])).await;
    ids
}

async fn sql(installation: &Installation, statement: &str, id: Uuid) {
    let statement = statement.replace("ID", &id.to_string());
    let done =
        sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(&mut installation.connect().await).await;
    assert_eq!(done.expect("executed").rows_affected(), 1, "{statement}");
}

#[tokio::test]
async fn clean_books_have_no_difference_whatever_the_page() {
    let installation = Installation::new().await;
    let payment = installation.start().await;
    clean_books(&payment).await;
    // under way: neither a difference
    payment
        .api()
        .set_gateway_mood(SetGatewayMoodRequest { lost_answers_per_mille: 1_000, ..Default::default() })
        .await
        .expect("set");
    let lost = order();
    assert_eq!(payment.execute(charge(lost, "tok_ok")).await, None);
    skald_harness::eventually("the money to move", crate::support::SOON, async || {
        installation.kinds(lost).await.first().cloned()
    })
    .await;
    payment.api().set_gateway_mood(SetGatewayMoodRequest::default()).await.expect("set");
    for page_size in [1, 2, 3, 0] {
        let pages = pages(&payment, ReconcileRequest { page_size, ..around_now() }).await.expect("pages");
        assert_eq!(differences(&pages), Vec::<&Difference>::new(), "{page_size}");
        let (movements, charges, _) = totals(&pages);
        assert_eq!((movements, charges), (7, 7), "{page_size}");
        let (last, others) = pages.split_last().expect("pages");
        assert!(last.next_page_token.is_empty() && others.iter().all(|p| !p.next_page_token.is_empty()));
        // from each token on, the rest
        for (number, page) in others.iter().enumerate() {
            let page_token = page.next_page_token.clone();
            let rest = self::pages(&payment, ReconcileRequest { page_size, page_token, ..around_now() });
            assert_eq!(rest.await.expect("pages").len(), pages.len() - number - 1, "{page_size}");
        }
    }
    let none = ReconcileRequest { since: around_now().until, until: None, ..Default::default() };
    assert_eq!(bad_fields(&pages(&payment, none).await.expect_err("refused")), ["until"]);
    let until = Some(Timestamp { seconds: 2, nanos: 0 });
    let past =
        ReconcileRequest { since: Some(Timestamp { seconds: 1, nanos: 0 }), until, ..Default::default() };
    assert_eq!(totals(&pages(&payment, past).await.expect("pages")), (0, 0, 0));
}

#[tokio::test]
async fn each_kind_of_difference_is_found_and_nothing_else() {
    use DifferenceKind::{Amount, ChargeOnlyAtGateway, ChargeOnlyOurs, RefundOnlyAtGateway, RefundOnlyOurs};
    let installation = Installation::new().await;
    let payment = installation.start().await;
    let ids = clean_books(&payment).await;
    let moved = "insert into gateway.movement (reference, kind, key, our_ref, amount_minor, currency)";
    let stranger = order();
    for (id, statement) in [
        (stranger, format!("{moved} values ('ch_lost', 'charge', 'k', 'ID/charge/1', 7, 'USD')")),
        (ids[3], format!("{moved} values ('ch_twice', 'charge', 'k', 'ID/charge/1', 500, 'EUR')")),
        (ids[4], format!("{moved} values ('re_lost', 'refund', 'k', 'ID/charge/1', 500, 'EUR')")),
        (stranger, format!("{moved} values ('ch_foreign', 'charge', 'k', 'not ours', 500, 'EUR')")),
        (ids[2], "delete from gateway.movement where our_ref = 'ID/charge/1'".to_owned()),
        (ids[1], "delete from gateway.movement where our_ref = 'ID/charge/1' and kind = 'refund'".to_owned()),
        (ids[0], "update gateway.movement set amount_minor = 499 where our_ref = 'ID/charge/1' and kind = 'charge'".to_owned()),
    ] {
        sql(&installation, &statement, id).await;
    }
    for page_size in [1, 0] {
        let pages = pages(&payment, ReconcileRequest { page_size, ..around_now() }).await.expect("pages");
        let mut found: Vec<_> = differences(&pages)
            .into_iter()
            .map(|d| {
                let theirs = d.gateway.as_ref().map_or("", |m| m.reference.get(..6).unwrap_or(&m.reference));
                let theirs = if d.kind() == Amount { "" } else { theirs };
                (d.kind().as_str_name(), d.our_ref.clone(), theirs.to_owned(), d.charge.is_some())
            })
            .collect();
        found.sort();
        let difference = |kind: DifferenceKind, our_ref: String, theirs: &str, ours: bool| {
            (kind.as_str_name(), our_ref, theirs.to_owned(), ours)
        };
        let mut expected = vec![
            difference(ChargeOnlyAtGateway, format!("{stranger}/charge/1"), "ch_los", false),
            difference(ChargeOnlyAtGateway, format!("{}/charge/1", ids[3]), "ch_twi", true),
            difference(ChargeOnlyAtGateway, "not ours".to_owned(), "ch_for", false),
            difference(RefundOnlyAtGateway, format!("{}/charge/1", ids[4]), "re_los", true),
            difference(ChargeOnlyOurs, format!("{}/charge/1", ids[2]), "", true),
            difference(RefundOnlyOurs, format!("{}/charge/1", ids[1]), "", true),
            difference(Amount, format!("{}/charge/1", ids[0]), "", true),
        ];
        expected.sort();
        assert_eq!(found, expected, "{page_size}");
    }
}

/// Beyond the records that were read at once, and outside of the time: searched for, not called a difference.
#[tokio::test]
async fn a_movement_of_another_time_is_searched_for() {
    let installation = Installation::new().await;
    let payment = installation.start().await;
    let id = order();
    payment.answer(&charge(id, "tok_ok")).await;
    sql(
        &installation,
        "update gateway.movement set at = now() + interval '2 days' where our_ref = 'ID/charge/1'",
        id,
    )
    .await;
    let before = installation.calls(id).await.len();
    let pages = pages(&payment, around_now()).await.expect("pages");
    assert_eq!((differences(&pages).len(), totals(&pages)), (0, (0, 1, 0)));
    let kinds: Vec<String> = installation.calls(id).await[before..].iter().map(|(k, _)| k.clone()).collect();
    assert_eq!(kinds, ["find"]);
}

#[tokio::test]
async fn bad_fields_are_named_and_a_gateway_that_is_away_says_where_to_go_on() {
    let installation = Installation::new().await;
    let payment = installation.start().await;
    clean_books(&payment).await;
    let bad = ReconcileRequest { since: None, until: None, page_size: 1_001, page_token: "x".into() };
    let status = pages(&payment, bad).await.expect_err("refused");
    assert_eq!(bad_fields(&status), ["since", "page_size", "page_token"]);
    let negative = ReconcileRequest {
        since: Some(Timestamp { seconds: -1, nanos: 0 }),
        until: Some(Timestamp { seconds: 0, nanos: -1 }),
        ..Default::default()
    };
    assert_eq!(bad_fields(&pages(&payment, negative).await.expect_err("refused")), ["since", "until"]);

    let mut stream = payment
        .api()
        .reconcile(ReconcileRequest { page_size: 1, ..around_now() })
        .await
        .expect("begun")
        .into_inner();
    let first = stream.message().await.expect("a page").expect("a page");
    drop(stream);
    payment
        .api()
        .set_gateway_mood(SetGatewayMoodRequest { outage: true, ..Default::default() })
        .await
        .expect("set");
    let page_token = first.next_page_token;
    let request = ReconcileRequest { page_size: 1, page_token: page_token.clone(), ..around_now() };
    let status = pages(&payment, request.clone()).await.expect_err("away");
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains(&page_token), "{status}");
    payment.api().set_gateway_mood(SetGatewayMoodRequest::default()).await.expect("set");
    let rest = pages(&payment, request).await.expect("pages");
    let (movements, charges, _) = totals(&rest);
    assert_eq!((movements + first.movements, charges), (6, 6));
}
