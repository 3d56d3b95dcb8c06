//! The operators' inbox: what needs a person, in groups and in pages, and who looks after it.

use skald_proto::admin::v1::{self as wire, AttentionKind};
use sqlx::PgConnection;
use tonic::Status;
use uuid::Uuid;

use super::{Signed, once};
use crate::{
    intake::{
        Desk,
        errors::{self, BadFields},
        validate, view,
    },
    store::attention::{self, Filter, Item, Key},
};

/// Groups of one answer at most.
const GROUPS: i64 = 1_000;
/// What begins each kind's name in the contract.
const PREFIX: &str = "ATTENTION_KIND_";

pub(super) async fn summarize(
    desk: &Desk,
    request: wire::SummarizeAttentionRequest,
) -> Result<wire::SummarizeAttentionResponse, Status> {
    let mut bad = BadFields::default();
    let filter = filter(&mut bad, request.filter);
    bad.into_result()?;
    let mut conn = desk.pool.acquire().await.map_err(|e| errors::unreadable(&e))?;
    let groups =
        attention::groups(&mut conn, &filter, GROUPS).await.map_err(|e| errors::unreadable(&e))?.into_iter();
    let group = |g: attention::Group| wire::AttentionGroup {
        kind: kind(&g.kind).into(),
        step: g.step,
        participant: g.participant,
        code: g.code,
        count: g.count,
        taken: g.taken,
        oldest: Some(view::timestamp(g.oldest_us / 1000)),
        example_saga_id: g.example.to_string(),
    };
    Ok(wire::SummarizeAttentionResponse { groups: groups.map(group).collect() })
}

pub(super) async fn list(
    desk: &Desk,
    request: wire::ListAttentionRequest,
) -> Result<wire::ListAttentionResponse, Status> {
    let mut bad = BadFields::default();
    let filter = filter(&mut bad, request.filter);
    let size = validate::page_size(&mut bad, request.page_size);
    let place = place(&request.page_token);
    bad.check(place.is_some(), "page_token", "is not one that an answer gave");
    bad.into_result()?;
    let (since, after) = place.unwrap_or_default();
    let mut conn = desk.pool.acquire().await.map_err(|e| errors::unreadable(&e))?;
    let items = attention::list(&mut conn, &filter, (since, &after), size as i64).await;
    let items = items.map_err(|e| errors::unreadable(&e))?;
    let full = items.len() == size;
    let next_page_token = items.last().filter(|_| full).map(token).unwrap_or_default();
    Ok(wire::ListAttentionResponse { items: items.into_iter().map(shown).collect(), next_page_token })
}

pub(super) async fn take(
    desk: &Desk,
    request: wire::TakeAttentionRequest,
) -> Result<wire::TakeAttentionResponse, Status> {
    let wire::TakeAttentionRequest { saga_id, step, actor, note, request_id, .. } = &request;
    let key = key(saga_id, step, request.kind, actor, note, request_id)?;
    let signed = Signed { request_id, actor, reason: note };
    let record = once::record(&signed, "TAKE_ATTENTION", Some(key.saga_id), &request);
    let mut conn = once::connect(desk).await?;
    let mut tx = match once::begin(&mut conn, &record).await? {
        Ok(tx) => tx,
        Err(first) => return Ok(wire::TakeAttentionResponse { repeated: true, ..first }),
    };
    let item = change(&mut tx, &key, |item| {
        if !item.taken_by.is_empty() && item.taken_by != *actor {
            return Err(held(item));
        }
        Ok((actor.clone(), note.clone()))
    });
    let done = item.await.map(|item| wire::TakeAttentionResponse { item: Some(item), repeated: false });
    once::end(desk, tx, &record, done).await
}

pub(super) async fn release(
    desk: &Desk,
    request: wire::ReleaseAttentionRequest,
) -> Result<wire::ReleaseAttentionResponse, Status> {
    let wire::ReleaseAttentionRequest { saga_id, step, actor, note, taken_by, request_id, .. } = &request;
    let key = key(saga_id, step, request.kind, actor, note, request_id)?;
    let whose = if taken_by.is_empty() { actor } else { taken_by };
    let signed = Signed { request_id, actor, reason: note };
    let record = once::record(&signed, "RELEASE_ATTENTION", Some(key.saga_id), &request);
    let mut conn = once::connect(desk).await?;
    let mut tx = match once::begin(&mut conn, &record).await? {
        Ok(tx) => tx,
        Err(first) => return Ok(wire::ReleaseAttentionResponse { repeated: true, ..first }),
    };
    let item = change(&mut tx, &key, |item| {
        if !item.taken_by.is_empty() && item.taken_by != *whose {
            return Err(held(item));
        }
        Ok((String::new(), if note.is_empty() { item.note.clone() } else { note.clone() }))
    });
    let done = item.await.map(|item| wire::ReleaseAttentionResponse { item: Some(item), repeated: false });
    once::end(desk, tx, &record, done).await
}

fn held(item: &Item) -> Status {
    let Item { kind, saga_id, step, taken_by, note, .. } = item;
    let noted = if note.is_empty() { String::new() } else { format!(" ({note})") };
    Status::failed_precondition(format!(
        "nothing was changed: {taken_by}{noted} looks after {kind} {step:?} of saga {saga_id}; talk to {taken_by}, or \
         release it with taken_by {taken_by:?} first"
    ))
}

/// Changes who looks after an item, and the note, as `decide` says of what stands there.
async fn change(
    conn: &mut PgConnection,
    key: &Key,
    decide: impl FnOnce(&Item) -> Result<(String, String), Status>,
) -> Result<wire::Attention, Status> {
    let unreadable = |e: sqlx::Error| errors::unreadable(&e);
    let item = attention::lock(conn, key).await.map_err(unreadable)?;
    let gone = || {
        Status::not_found(format!(
            "no {} of step {:?} of saga {} is in the inbox: it was dealt with, or never was there",
            key.kind, key.step, key.saga_id
        ))
    };
    let item = item.ok_or_else(gone)?;
    let (taken_by, note) = decide(&item)?;
    attention::hold(conn, key, &taken_by, &note).await.map_err(unreadable)?;
    Ok(shown(Item { taken_by, note, ..item }))
}

fn key(saga: &str, step: &str, kind: i32, actor: &str, note: &str, request_id: &str) -> Result<Key, Status> {
    let mut bad = BadFields::default();
    let saga_id = validate::id(&mut bad, "saga_id", saga);
    validate::text(&mut bad, "step", step, 0, 64);
    let named = named(&mut bad, "kind", kind);
    bad.check(kind != 0, "kind", "is missing");
    validate::text(&mut bad, "actor", actor, 1, 128);
    validate::text(&mut bad, "note", note, 0, 1024);
    validate::key(&mut bad, "request_id", request_id);
    bad.into_result()?;
    Ok(Key { saga_id, step: step.to_owned(), kind: named.unwrap_or_default() })
}

fn filter(bad: &mut BadFields, filter: Option<wire::AttentionFilter>) -> Filter {
    let f = filter.unwrap_or_default();
    for (field, value) in [
        ("filter.step", &f.step),
        ("filter.participant", &f.participant),
        ("filter.code", &f.code),
        ("filter.taken_by", &f.taken_by),
    ] {
        validate::text(bad, field, value.as_deref().unwrap_or_default(), 0, 256);
    }
    Filter {
        kind: named(bad, "filter.kind", f.kind),
        step: f.step,
        participant: f.participant,
        code: f.code,
        taken_by: f.taken_by,
    }
}

/// As the table has it; None when it is unspecified.
fn named(bad: &mut BadFields, field: &str, kind: i32) -> Option<String> {
    let known = AttentionKind::try_from(kind);
    bad.check(known.is_ok(), field, "is not a kind of attention");
    let name = known.unwrap_or_default().as_str_name().trim_start_matches(PREFIX);
    (kind != 0).then(|| name.to_owned())
}

fn kind(name: &str) -> AttentionKind {
    AttentionKind::from_str_name(&format!("{PREFIX}{name}")).unwrap_or_default()
}

fn shown(item: Item) -> wire::Attention {
    wire::Attention {
        saga_id: item.saga_id.to_string(),
        kind: kind(&item.kind).into(),
        step: item.step,
        participant: item.participant,
        code: item.code,
        message: item.message,
        since: Some(view::timestamp(item.since_us / 1000)),
        taken_by: item.taken_by,
        note: item.note,
    }
}

/// An item's place in the list.
fn token(item: &Item) -> String {
    format!("{}/{}/{}/{}", item.since_us, item.saga_id, item.kind, item.step)
}

/// The place that a token stands for; that of the beginning when it is empty.
fn place(token: &str) -> Option<(i64, Key)> {
    if token.is_empty() {
        return Some(Default::default());
    }
    let mut parts = token.splitn(4, '/');
    let since = parts.next()?.parse().ok().filter(|us| (0..1 << 53).contains(us))?;
    let saga_id = Uuid::try_parse(parts.next()?).ok()?;
    let (kind, step) = (parts.next()?.to_owned(), parts.next()?.to_owned());
    Some((since, Key { saga_id, step, kind })).filter(|_| !token.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_place() {
        let key = Key { saga_id: Uuid::from_u128(7), step: "a/b".into(), kind: "SLOW".into() };
        let item = Item {
            saga_id: key.saga_id,
            step: key.step.clone(),
            kind: key.kind.clone(),
            participant: String::new(),
            code: String::new(),
            message: String::new(),
            since_us: 1_763_000_000_123_456,
            taken_by: String::new(),
            note: String::new(),
        };
        assert_eq!(place(&token(&item)), Some((item.since_us, key)));
        assert_eq!(place(""), Some((0, Key::default())));
        for nonsense in ["x", "1", "1/2/3/4", "-1/00000000-0000-0000-0000-000000000007/SLOW/"] {
            assert_eq!(place(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn kinds_have_the_table_s_names() {
        for number in 1..=5 {
            let mut bad = BadFields::default();
            let name = named(&mut bad, "kind", number).unwrap();
            assert_eq!(kind(&name) as i32, number);
        }
        assert!(AttentionKind::try_from(6).is_err());
    }
}
