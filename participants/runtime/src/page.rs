//! Pages of lists: how many rows one has, and after which row the next one begins.

use uuid::Uuid;

use crate::{command::Key, status::Fields};

const DEFAULT: i32 = 100;
const MOST: i32 = 1_000;

/// What is wrong with a token.
pub const TOKEN: &str = "must be as an answer gave it, or empty";

/// Rows of a page: what was asked for, `default` for 0. Reports `page_size` when it is too many or negative.
pub fn size_or(fields: &mut Fields, page_size: i32, default: i32) -> i64 {
    fields.check((0..=MOST).contains(&page_size), "page_size", "must be 0 to 1,000");
    i64::from(if page_size == 0 { default } else { page_size })
}

/// Rows of a page; 100 unless asked for otherwise.
pub fn size(fields: &mut Fields, page_size: i32) -> i64 {
    size_or(fields, page_size, DEFAULT)
}

/// After this row: `saga/step/epoch`.
#[must_use]
pub fn token(key: &Key) -> String {
    format!("{}/{}/{}", key.saga, key.step, key.epoch)
}

/// The row that a token names; also our reference at a gateway.
#[must_use]
pub fn key(token: &str) -> Option<Key> {
    let mut parts = token.split('/');
    let (saga, step, epoch) = (parts.next()?, parts.next()?, parts.next()?);
    let key = Key { saga: Uuid::try_parse(saga).ok()?, step: step.to_owned(), epoch: epoch.parse().ok()? };
    // as we write it, or it is not ours
    (parts.next().is_none() && !step.contains('\0') && self::token(&key) == token).then_some(key)
}

/// Keeps a page of rows, of which one more than its size was read, and names the next one: empty at the end.
pub fn cut<T>(rows: &mut Vec<T>, size: i64, token: impl Fn(&T) -> String) -> String {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let more = rows.len() > size;
    rows.truncate(size);
    rows.last().filter(|_| more).map_or_else(String::new, token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_row_and_nothing_else_is_one() {
        let row = Key { saga: Uuid::now_v7(), step: "charge".to_owned(), epoch: 2 };
        assert_eq!(key(&token(&row)), Some(row.clone()));
        let saga = row.saga;
        for wrong in ["", "x", "x/charge/1", &format!("{saga}/charge"), &format!("{saga}/charge/1/R")] {
            assert_eq!(key(wrong), None, "{wrong}");
        }
        assert_eq!(key(&format!("{}/charge/1", saga.simple())), None, "not as we write it");
        assert_eq!(key(&format!("{saga}/charge/+1")), None, "not as we write it");
    }

    #[test]
    fn a_full_last_page_has_no_next_one() {
        for (rows, kept, next) in [(2, 2, ""), (3, 3, ""), (4, 3, "2")] {
            let mut rows: Vec<i32> = (0..rows).collect();
            assert_eq!(cut(&mut rows, 3, i32::to_string), next);
            assert_eq!(rows.len(), kept);
        }
    }
}
