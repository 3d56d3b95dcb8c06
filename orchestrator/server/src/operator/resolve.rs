//! What a shortened id can mean. The first digits of an id are a range of the primary key. Its last ones, which are the
//! random part, have no index: they are looked for where operators look.

use std::collections::BTreeMap;

use skald_proto::admin::v1 as wire;
use tonic::Status;
use uuid::Uuid;

use crate::{
    intake::{
        Desk,
        errors::{self, BadFields},
        view,
    },
    store::search,
};

/// Fewer first digits mean a day or more.
const FIRST: usize = 8;
/// Fewer last digits mean too many.
const LAST: usize = 6;
/// Candidates that are shown.
const SHOWN: usize = 10;
/// Of so many newest sagas the last digits are looked at.
const NEWEST: i64 = 100_000;

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    /// The ids that begin so: both inclusive.
    first: Option<(Uuid, Uuid)>,
    /// How the text of an id ends.
    last: Option<String>,
}

pub(super) async fn resolve(
    desk: &Desk,
    request: &wire::ResolveIdRequest,
) -> Result<wire::ResolveIdResponse, Status> {
    let mut bad = BadFields::default();
    let asked = asked(&request.id);
    bad.check(asked.is_ok(), "id", asked.as_ref().err().copied().unwrap_or_default());
    bad.into_result()?;
    let Ok(Asked { first, last }) = asked else { return Err(Status::internal("it was checked")) };
    let mut conn = desk.pool.acquire().await.map_err(|e| errors::unreadable(&e))?;
    let (mut found, mut searched) = (Vec::new(), Vec::new());
    let limit = SHOWN as i64 + 1;
    if let Some((from, to)) = first {
        // The greatest id of all is none that is minted.
        let before = Uuid::from_u128(to.as_u128().saturating_add(1));
        let begin = search::all(&mut conn, (from, before), false, limit).await;
        found.extend(begin.map_err(|e| errors::unreadable(&e))?.into_iter().map(|candidate| candidate.id));
        searched.push("the first digits of all sagas".to_owned());
    }
    if let Some(last) = &last {
        let end = search::ending(&mut conn, last, NEWEST, limit).await;
        found.extend(end.map_err(|e| errors::unreadable(&e))?);
        searched.push(format!(
            "the last digits of what is under way, of what stands in the inbox and of the newest {NEWEST}"
        ));
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.dedup();
    let more = found.len() > SHOWN;
    found.truncate(SHOWN);
    let rows = search::rows(&mut conn, &found).await.map_err(|e| errors::unreadable(&e))?;
    drop(conn);
    let rows: BTreeMap<Uuid, _> = rows.into_iter().map(|row| (row.id, row)).collect();
    let (mut sagas, mut definitions) = (Vec::new(), desk.definitions());
    for row in rows.values().rev() {
        let definition = definitions.get(row.definition_id).await?;
        sagas.push(view::listed(row, definition.as_deref(), false));
    }
    Ok(wire::ResolveIdResponse { sagas, more, searched: searched.join(", and ") })
}

/// What a text asks for.
///
/// # Errors
/// What is wrong with it.
fn asked(text: &str) -> Result<Asked, &'static str> {
    let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err("must be hexadecimal digits of an id");
    }
    let known = digits.len();
    if known > 32 {
        return Err("has more digits than an id");
    }
    if known < LAST {
        return Err("must have the first 8 digits of an id or more, or the last 6 or more");
    }
    let filled = |with: char| Uuid::try_parse(&format!("{digits}{}", String::from(with).repeat(32 - known)));
    let range = filled('0').ok().zip(filled('f').ok());
    Ok(Asked {
        first: range.filter(|_| known >= FIRST),
        last: (known < 32).then(|| hyphenated(&digits.to_ascii_lowercase())),
    })
}

/// The end of an id as its text has it.
fn hyphenated(digits: &str) -> String {
    let before = 32 - digits.len();
    let mut end = String::new();
    for (i, digit) in (before..).zip(digits.chars()) {
        if [8, 12, 16, 20].contains(&i) && i > before {
            end.push('-');
        }
        end.push(digit);
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "018bcfe5-6800-7abc-8def-0123456789ab";

    #[test]
    fn first_digits_are_a_range_and_last_digits_an_end() {
        let id = Uuid::try_parse(ID).unwrap();
        for digits in 8..32 {
            let plain = id.simple().to_string();
            let Asked { first, last } = asked(&plain[..digits]).unwrap();
            let (from, to) = first.unwrap();
            assert!(
                from <= id
                    && id <= to
                    && from.as_u128() >> (128 - 4 * digits) << (128 - 4 * digits) == from.as_u128()
            );
            assert!(last.is_some());
            let end = asked(&plain[32 - digits..]).unwrap().last.unwrap();
            assert!(ID.ends_with(&end) && end.replace('-', "").len() == digits, "{end}");
        }
        assert_eq!(asked(ID), Ok(Asked { first: Some((id, id)), last: None }), "a whole one is itself");
        assert_eq!(asked("6789AB"), Ok(Asked { first: None, last: Some("6789ab".into()) }));
        assert_eq!(asked("8def-0123456789ab").unwrap().last.as_deref(), Some("8def-0123456789ab"));
    }

    #[test]
    fn what_is_no_part_of_an_id_is_refused() {
        for text in ["", "xyz", "12345", "0123456789abcdef0123456789abcdef0", "%_%_%_%_"] {
            assert!(asked(text).is_err(), "{text}");
        }
    }
}
