//! Dead letters as an operator sees them: in a list, and one of them whole.

use skald_proto::admin::v1::{self as wire, DeadLetterState};
use tonic::{Code, Status};

use super::{envelope::Envelope, words};
use crate::{
    bus::topics,
    intake::{
        Desk,
        errors::{self, BadFields},
        validate, view,
    },
    store::dead_letter::{self, Filter, Listed, bytes},
};

/// What begins each state's name in the contract.
const PREFIX: &str = "DEAD_LETTER_STATE_";

pub(super) async fn list(
    desk: &Desk,
    request: wire::ListDeadLettersRequest,
) -> Result<wire::ListDeadLettersResponse, Status> {
    let mut bad = BadFields::default();
    let size = validate::page_size(&mut bad, request.page_size);
    let state = DeadLetterState::try_from(request.state);
    bad.check(state.is_ok(), "state", "is not a state of a dead letter");
    let token = request.page_token.parse().ok().filter(|id| *id > 0);
    bad.check(
        request.page_token.is_empty() || token.is_some(),
        "page_token",
        "is not one that an answer gave",
    );
    let mut filter = filter(&mut bad, request.filter);
    bad.into_result()?;
    let name = state.unwrap_or_default().as_str_name().trim_start_matches(PREFIX);
    filter.state = (request.state != 0).then(|| name.to_owned());
    let mut conn = desk.pool.acquire().await.map_err(|e| errors::unreadable(&e))?;
    let letters = dead_letter::list(&mut conn, &filter, token.unwrap_or(i64::MAX), size as i64).await;
    let letters = letters.map_err(|e| errors::unreadable(&e))?;
    let full = letters.len() == size;
    let next_page_token = letters.last().filter(|_| full).map(|l| l.id.to_string()).unwrap_or_default();
    Ok(wire::ListDeadLettersResponse { letters: letters.into_iter().map(shown).collect(), next_page_token })
}

pub(super) async fn get(
    desk: &Desk,
    request: wire::GetDeadLetterRequest,
) -> Result<wire::GetDeadLetterResponse, Status> {
    let mut conn = desk.pool.acquire().await.map_err(|e| errors::unreadable(&e))?;
    let kept = dead_letter::get(&mut conn, request.id).await.map_err(|e| errors::unreadable(&e))?;
    let kept = kept.ok_or_else(|| errors::not_found("dead letter", &request.id.to_string()))?;
    drop(conn);
    let text = words::payload(&kept.topic, &kept.payload);
    let saga = match kept.saga_id {
        None => None,
        Some(id) => match desk.read("saga", id).await {
            // A saga that can't be shown is no reason to hide the letter.
            Ok(row) => match desk.definition(row.definition_id).await {
                Ok(definition) => Some(view::saga(&row, &definition, false)),
                Err(_) => None,
            },
            Err(status) if status.code() == Code::NotFound => None,
            Err(status) => return Err(status),
        },
    };
    Ok(wire::GetDeadLetterResponse {
        headers: kept.headers.iter().map(header).collect(),
        key: kept.key.unwrap_or_default(),
        text,
        saga,
        letter: Some(shown(Listed {
            id: kept.id,
            state: kept.state,
            topic: kept.topic,
            headers: kept.headers,
            payload_bytes: kept.payload.len() as i32,
            reason: kept.reason,
            saga_id: kept.saga_id,
            at: kept.at,
            request_id: kept.request_id,
        })),
        payload: kept.payload,
    })
}

/// What both a list and an action can ask for.
pub(super) fn filter(bad: &mut BadFields, filter: Option<wire::DeadLetterFilter>) -> Filter {
    let wire::DeadLetterFilter { origin_topic, saga_id, since } = filter.unwrap_or_default();
    validate::text(bad, "filter.origin_topic", &origin_topic, 0, 256);
    Filter {
        topic: (!origin_topic.is_empty()).then(|| topics::dead_letters(&origin_topic)),
        saga: (!saga_id.is_empty()).then(|| validate::id(bad, "filter.saga_id", &saga_id)),
        since: since.as_ref().map(view::millis),
        ..Filter::default()
    }
}

pub(super) fn header((name, value): &(String, String)) -> wire::Header {
    wire::Header { name: name.clone(), value: value.clone() }
}

fn shown(letter: Listed) -> wire::DeadLetter {
    let state = DeadLetterState::from_str_name(&format!("{PREFIX}{}", letter.state)).unwrap_or_default();
    let origin = Envelope::of(&letter.headers);
    wire::DeadLetter {
        id: letter.id,
        state: state.into(),
        origin_topic: origin
            .topic
            .map(|t| String::from_utf8_lossy(&bytes(t)).into_owned())
            .unwrap_or_default(),
        origin_partition: origin.partition.unwrap_or_default(),
        origin_offset: origin.offset.unwrap_or_default(),
        reason: letter.reason,
        saga_id: letter.saga_id.map(|id| id.to_string()).unwrap_or_default(),
        at: Some(view::timestamp(letter.at)),
        payload_bytes: letter.payload_bytes,
        request_id: letter.request_id.unwrap_or_default(),
    }
}
