//! Dead letters are sent again as they were, to where they were, one by one at a rate, each settled when the broker has
//! it; or discarded. Sending twice does no harm: whoever gets it knows what it has handled.

use std::time::Duration;

use skald_kit::kafka::Record;
use skald_proto::admin::v1 as wire;
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tonic::Status;

use super::{Signed, envelope::Envelope, letters, once};
use crate::{
    bus::topics,
    intake::{
        Desk,
        errors::{self, BadFields},
    },
    store::dead_letter::{self, Filter, Kept},
};

/// Letters that one call can name.
const IDS: usize = 1_000;
/// Letters that one call takes by filter.
const MOST: i64 = 10_000;
/// Letters that one answer tells of, each way.
const TOLD: usize = 100;
/// When nothing else is asked, per second.
const RATE: i32 = 50;
/// So many in a row that can't be delivered, and the call ends.
const FAILURES: usize = 3;
/// A call takes so long at most: below what clients and the server's own limit of a call allow. Then it is repeated.
const LASTS: Duration = Duration::from_secs(20);

/// A letter as it is sent again.
struct Again {
    topic: String,
    /// None: by its key.
    partition: Option<i32>,
    headers: Vec<(String, Vec<u8>)>,
}

pub(super) async fn redrive(
    desk: &Desk,
    request: wire::RedriveDeadLettersRequest,
) -> Result<wire::RedriveDeadLettersResponse, Status> {
    let wire::RedriveDeadLettersRequest { request_id, actor, reason, .. } = &request;
    let signed = Signed { request_id, actor, reason };
    let mut bad = BadFields::default();
    if !request.dry_run {
        signed.check(&mut bad);
    }
    bad.check((0..=1000).contains(&request.per_second), "per_second", "must be 0 (50) to 1000");
    let filter = chosen(&mut bad, &request.ids, &request.filter);
    bad.into_result()?;
    let unreadable = |e: sqlx::Error| errors::unreadable(&e);
    let mut conn = once::connect(desk).await?;
    let mut answer = wire::RedriveDeadLettersResponse::default();
    if request.dry_run {
        for id in which(&mut conn, &filter).await.map_err(unreadable)? {
            let kept = dead_letter::get(&mut conn, id).await.map_err(unreadable)?;
            foresee(desk, &mut conn, id, kept, &mut answer).await.map_err(unreadable)?;
        }
        return Ok(answer);
    }
    let record = once::record(&signed, "REDRIVE_DEAD_LETTERS", None, &request);
    if let Some(first) = once::claim::<wire::RedriveDeadLettersResponse>(&mut conn, &record).await? {
        return Ok(wire::RedriveDeadLettersResponse { repeated: true, ..first });
    }
    answer.redriven = dead_letter::settled_by(&mut conn, request_id).await.map_err(unreadable)?;
    let per_second = if request.per_second == 0 { RATE } else { request.per_second };
    let mut ticks = interval(Duration::from_secs_f64(1.0 / f64::from(per_second)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await; // the first one is at once
    let (mut failures, end) = (0, Instant::now() + LASTS);
    for id in which(&mut conn, &filter).await.map_err(unreadable)? {
        if Instant::now() > end {
            return Err(cut_off(&answer));
        }
        match send(desk, &mut conn, id, request_id).await.map_err(unreadable)? {
            // Only these are paced: a repeat passes by what it has sent before.
            Fate::Sent => {
                (answer.redriven, failures) = (answer.redriven + 1, 0);
                ticks.tick().await;
            }
            Fate::Known => {}
            Fate::Left(why) => leave(&mut answer, id, why),
            Fate::Undelivered(why) => {
                failures += 1;
                if failures == FAILURES {
                    return Err(broken_off(&answer, &why));
                }
                leave(&mut answer, id, format!("not delivered: {why}"));
            }
        }
    }
    let tx = conn.begin().await.map_err(unreadable)?;
    once::end(desk, tx, &record, Ok(answer)).await
}

pub(super) async fn discard(
    desk: &Desk,
    request: wire::DiscardDeadLettersRequest,
) -> Result<wire::DiscardDeadLettersResponse, Status> {
    let wire::DiscardDeadLettersRequest { request_id, actor, reason, .. } = &request;
    let signed = Signed { request_id, actor, reason };
    let mut bad = BadFields::default();
    signed.check(&mut bad);
    let filter = chosen(&mut bad, &request.ids, &request.filter);
    bad.into_result()?;
    let unreadable = |e: sqlx::Error| errors::unreadable(&e);
    let mut conn = once::connect(desk).await?;
    let record = once::record(&signed, "DISCARD_DEAD_LETTERS", None, &request);
    let mut tx = match once::begin(&mut conn, &record).await? {
        Ok(tx) => tx,
        Err(first) => return Ok(wire::DiscardDeadLettersResponse { repeated: true, ..first }),
    };
    let ids = dead_letter::open(&mut tx, &filter, MOST).await.map_err(unreadable)?;
    let discarded = dead_letter::settle(&mut tx, &ids, "DISCARDED", request_id).await.map_err(unreadable)?;
    let answer = wire::DiscardDeadLettersResponse { discarded: discarded as i64, repeated: false };
    once::end(desk, tx, &record, Ok(answer)).await
}

/// What became of one letter.
enum Fate {
    Sent,
    /// This very action has settled it before it broke off.
    Known,
    Left(String),
    Undelivered(String),
}

/// Sends one letter, with its row locked: nobody else sends or discards it meanwhile.
async fn send(desk: &Desk, conn: &mut PgConnection, id: i64, request_id: &str) -> Result<Fate, sqlx::Error> {
    let mut tx = conn.begin().await?;
    let kept = dead_letter::lock(&mut tx, id).await?;
    if kept.as_ref().is_some_and(|k| k.request_id.as_deref() == Some(request_id)) {
        return Ok(Fate::Known);
    }
    let (kept, again) = match plan(desk, &mut tx, id, kept).await? {
        Ok(plan) => plan,
        Err(why) => return Ok(Fate::Left(why)),
    };
    let headers: Vec<(&str, &[u8])> =
        again.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    let record = Record {
        topic: &again.topic,
        partition: again.partition,
        key: kept.key.as_deref().unwrap_or_default(),
        payload: &kept.payload,
        headers: &headers,
    };
    if let Err(why) = desk.shared.dead_letters.redrive(record).await {
        return Ok(Fate::Undelivered(why));
    }
    dead_letter::settle(&mut tx, &[id], "REDRIVEN", request_id).await?;
    tx.commit().await?;
    Ok(Fate::Sent)
}

/// Where a letter goes and with what; or why it stays.
async fn plan(
    desk: &Desk,
    conn: &mut PgConnection,
    id: i64,
    kept: Option<Kept>,
) -> Result<Result<(Kept, Again), String>, sqlx::Error> {
    let Some(kept) = kept else { return Ok(Err(format!("there is no dead letter {id}"))) };
    if kept.state != "OPEN" {
        let by = kept.request_id.unwrap_or_default();
        return Ok(Err(format!("it is {} (request {by})", kept.state)));
    }
    let envelope = Envelope::of(&kept.headers);
    // A header alone must not lead anywhere: the topic that it was read from has the name.
    let topic = envelope.topic.map(|t| String::from_utf8_lossy(&dead_letter::bytes(t)).into_owned());
    let Some(topic) = topic.filter(|topic| topics::dead_letters(topic) == kept.topic) else {
        return Ok(Err("its headers do not say where it came from".into()));
    };
    if envelope.cut {
        return Ok(Err("it was too large to be kept whole: its end is lost".into()));
    }
    if let Some(saga) = kept.saga_id.filter(|_| topic.ends_with(".outcomes"))
        && dead_letter::is_quarantined(conn, saga).await?
    {
        return Ok(Err(format!("saga {saga} is quarantined and would drop it: release that first")));
    }
    let partitions = 0..desk.shared.config.kafka.partitions;
    let again = Again {
        topic,
        partition: envelope.partition.filter(|p| partitions.contains(p)),
        headers: (envelope.own.iter())
            .map(|(name, value)| (name.clone(), dead_letter::bytes(value)))
            .collect(),
    };
    Ok(Ok((kept, again)))
}

/// What would become of one letter, for a dry run.
async fn foresee(
    desk: &Desk,
    conn: &mut PgConnection,
    id: i64,
    kept: Option<Kept>,
    answer: &mut wire::RedriveDeadLettersResponse,
) -> Result<(), sqlx::Error> {
    match plan(desk, conn, id, kept).await? {
        Err(why) => leave(answer, id, why),
        Ok((kept, again)) => {
            answer.redriven += 1;
            if answer.planned.len() < TOLD {
                let key = kept.key.unwrap_or_default();
                let by_key = || skald_kit::kafka::partition_for(&key, desk.shared.config.kafka.partitions);
                answer.planned.push(wire::PlannedLetter {
                    id,
                    topic: again.topic,
                    partition: again.partition.unwrap_or_else(by_key),
                    headers: Envelope::of(&kept.headers).own.iter().map(letters::header).collect(),
                    payload_bytes: kept.payload.len() as i32,
                    saga_id: kept.saga_id.map(|id| id.to_string()).unwrap_or_default(),
                    key,
                });
            }
        }
    }
    Ok(())
}

fn leave(answer: &mut wire::RedriveDeadLettersResponse, id: i64, why: String) {
    answer.left_count += 1;
    if answer.left.len() < TOLD {
        answer.left.push(wire::LeftLetter { id, why });
    }
}

fn broken_off(answer: &wire::RedriveDeadLettersResponse, why: &str) -> Status {
    Status::unavailable(format!(
        "{} letters were sent again; the others stay open, for {FAILURES} in a row could not be delivered ({why}). \
         Repeat with the same request_id to go on",
        answer.redriven
    ))
}

fn cut_off(answer: &wire::RedriveDeadLettersResponse) -> Status {
    Status::unavailable(format!(
        "{} letters were sent again in {} s; the others stay open. Repeat with the same request_id to go on",
        answer.redriven,
        LASTS.as_secs()
    ))
}

/// Named letters, also those that are settled, so that it is said; or those that a filter finds.
async fn which(conn: &mut PgConnection, filter: &Filter) -> Result<Vec<i64>, sqlx::Error> {
    match &filter.ids {
        Some(ids) => Ok(ids.clone()),
        None => dead_letter::open(conn, filter, MOST).await,
    }
}

/// Either ids or a filter that has something in it.
fn chosen(bad: &mut BadFields, ids: &[i64], filter: &Option<wire::DeadLetterFilter>) -> Filter {
    bad.check(ids.len() <= IDS, "ids", format!("must be at most {IDS}"));
    bad.check(ids.is_empty() != filter.is_none(), "ids", "must be given, or else a filter");
    let empty = filter.as_ref().is_some_and(|f| *f == wire::DeadLetterFilter::default());
    bad.check(!empty, "filter", "must have a field: that all are meant is said with a time");
    let mut chosen = letters::filter(bad, filter.clone());
    if !ids.is_empty() {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        chosen.ids = Some(ids);
    }
    chosen
}
