//! `dead_letter`: messages that could not be understood or handled, whole, until an operator has dealt with them.

use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

/// One of them, as it is read.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The topic of dead letters that it stands in.
    pub topic: String,
    /// Its partition there.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// As it came.
    pub key: Option<Vec<u8>>,
    /// In order, as [`text`]; where it came from is among them.
    pub headers: Vec<(String, String)>,
    /// As it came.
    pub payload: Vec<u8>,
    /// Its first word is a code.
    pub reason: String,
    /// The saga that the key names.
    pub saga: Option<Uuid>,
}

/// One of them, as it stands.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the columns of the table")]
pub struct Kept {
    pub id: i64,
    pub state: String,
    pub topic: String,
    pub key: Option<Vec<u8>>,
    pub headers: Json<Vec<(String, String)>>,
    pub payload: Vec<u8>,
    pub reason: String,
    pub saga_id: Option<Uuid>,
    /// ms
    pub at: i64,
    pub request_id: Option<String>,
}

/// One of them in a list: without its payload.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the columns of the table")]
pub struct Listed {
    pub id: i64,
    pub state: String,
    pub topic: String,
    pub headers: Json<Vec<(String, String)>>,
    pub payload_bytes: i32,
    pub reason: String,
    pub saga_id: Option<Uuid>,
    /// ms
    pub at: i64,
    pub request_id: Option<String>,
}

/// Which letters; None = any.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// These.
    pub ids: Option<Vec<i64>>,
    /// As the column has it.
    pub state: Option<String>,
    /// The topic of dead letters.
    pub topic: Option<String>,
    /// Whose.
    pub saga: Option<Uuid>,
    /// Kept then or later, ms.
    pub since: Option<i64>,
}

/// Bytes as text; what is no text, or PostgreSQL does not take for text, as \x and hexadecimal digits.
pub fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        // What begins like digits is told in digits, so that it can be told from them.
        Ok(text) if !text.contains('\0') && !text.starts_with("\\x") => text.to_owned(),
        _ => bytes.iter().fold("\\x".to_owned(), |hex, b| hex + &format!("{b:02x}")),
    }
}

/// The bytes that [`text`] was made of.
pub fn bytes(text: &str) -> Vec<u8> {
    let Some(digits) = text.strip_prefix("\\x") else { return text.as_bytes().to_vec() };
    let byte = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|d| u8::from_str_radix(d, 16).ok());
    let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
    // A row from elsewhere may say anything.
    bytes.unwrap_or_else(|| text.as_bytes().to_vec())
}

/// Keeps letters, and calls a person for each saga of ours that one is about; one that is there already stays as it was.
pub async fn put(conn: &mut PgConnection, letters: &[Letter]) -> Result<(), sqlx::Error> {
    for l in letters {
        let code = l.reason.split([':', ' ']).next().unwrap_or_default();
        // The update that changes nothing waits for whoever is about to take the entry away.
        sqlx::query!(
            "with letter as (
               insert into public.dead_letter (topic, partition, kafka_offset, key, headers, payload, reason, saga_id)
               values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing
               returning saga_id, reason, at)
             insert into public.attention as a (saga_id, step, kind, code, message, since)
             select s.id, '', 'DEAD_LETTER', $9, l.reason, l.at from letter l join public.saga s on s.id = l.saga_id
             on conflict (saga_id, step, kind) do update set code = a.code",
            l.topic,
            l.partition,
            l.offset,
            l.key.as_deref(),
            Json(&l.headers) as _,
            l.payload,
            l.reason,
            l.saga,
            code
        )
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// Letters below this id, the newest first.
pub async fn list(
    conn: &mut PgConnection,
    f: &Filter,
    before: i64,
    limit: i64,
) -> Result<Vec<Listed>, sqlx::Error> {
    sqlx::query_as!(
        Listed,
        r#"select id, state, topic, headers as "headers: Json<Vec<(String, String)>>",
                  octet_length(payload) as "payload_bytes!", reason, saga_id,
                  (extract(epoch from at) * 1000)::bigint as "at!", request_id
             from public.dead_letter
            where id < $1 and ($2::text is null or state = $2) and ($3::text is null or topic = $3)
              and ($4::uuid is null or saga_id = $4)
              and ($5::bigint is null or at >= to_timestamp($5::bigint / 1000.0))
            order by id desc limit $6"#,
        before,
        f.state.as_deref(),
        f.topic.as_deref(),
        f.saga,
        f.since,
        limit
    )
    .fetch_all(conn)
    .await
}

/// One letter.
pub async fn get(conn: &mut PgConnection, id: i64) -> Result<Option<Kept>, sqlx::Error> {
    sqlx::query_as!(
        Kept,
        r#"select id, state, topic, key, headers as "headers: Json<Vec<(String, String)>>", payload, reason, saga_id,
                  (extract(epoch from at) * 1000)::bigint as "at!", request_id
             from public.dead_letter where id = $1"#,
        id
    )
    .fetch_optional(conn)
    .await
}

/// One letter, locked until the transaction ends.
pub async fn lock(conn: &mut PgConnection, id: i64) -> Result<Option<Kept>, sqlx::Error> {
    sqlx::query_as!(
        Kept,
        r#"select id, state, topic, key, headers as "headers: Json<Vec<(String, String)>>", payload, reason, saga_id,
                  (extract(epoch from at) * 1000)::bigint as "at!", request_id
             from public.dead_letter where id = $1 for update"#,
        id
    )
    .fetch_optional(conn)
    .await
}

/// The saga takes no input.
pub async fn is_quarantined(conn: &mut PgConnection, saga: Uuid) -> Result<bool, sqlx::Error> {
    let quarantined =
        sqlx::query_scalar!(r#"select quarantine is not null as "q!" from public.saga where id = $1"#, saga);
    Ok(quarantined.fetch_optional(conn).await?.unwrap_or_default())
}

/// Open letters, the oldest first.
pub async fn open(conn: &mut PgConnection, f: &Filter, limit: i64) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "select id from public.dead_letter
          where state = 'OPEN' and ($1::bigint[] is null or id = any($1)) and ($2::text is null or topic = $2)
            and ($3::uuid is null or saga_id = $3)
            and ($4::bigint is null or at >= to_timestamp($4::bigint / 1000.0))
          order by id limit $5",
        f.ids.as_deref(),
        f.topic.as_deref(),
        f.saga,
        f.since,
        limit
    )
    .fetch_all(conn)
    .await
}

/// How many letters an action has settled.
pub async fn settled_by(conn: &mut PgConnection, request_id: &str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) as "n!" from public.dead_letter where request_id = $1 and state <> 'OPEN'"#,
        request_id
    )
    .fetch_one(conn)
    .await
}

/// Settles what is open of these letters, and takes the sagas of which nothing open is left off the list of those that
/// need a person; gives how many were settled. To be called in a transaction.
pub async fn settle(
    conn: &mut PgConnection,
    ids: &[i64],
    state: &str,
    request_id: &str,
) -> Result<usize, sqlx::Error> {
    let about: Vec<Option<Uuid>> = sqlx::query_scalar!(
        "update public.dead_letter set state = $2, request_id = $3 where id = any($1) and state = 'OPEN'
         returning saga_id",
        ids,
        state,
        request_id
    )
    .fetch_all(&mut *conn)
    .await?;
    let sagas: Vec<Uuid> = about.iter().flatten().copied().collect();
    // First the lock, so that a letter that comes now is seen by the next statement, or comes after it.
    sqlx::query!(
        "select from public.attention where saga_id = any($1) and kind = 'DEAD_LETTER'
          order by saga_id for update",
        &sagas
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "delete from public.attention a where saga_id = any($1) and kind = 'DEAD_LETTER'
            and not exists (select from public.dead_letter l where l.saga_id = a.saga_id and l.state = 'OPEN')",
        &sagas
    )
    .execute(conn)
    .await?;
    Ok(about.len())
}

#[cfg(test)]
mod tests {
    use super::{bytes, text};

    #[test]
    fn what_is_no_text_is_told_in_digits_and_read_back() {
        assert_eq!(text("r\u{e9}ason".as_bytes()), "r\u{e9}ason");
        assert_eq!(text(b"a\0b"), "\\x610062");
        assert_eq!(text(&[0xff]), "\\xff");
        assert_eq!(text(b"\\xff"), "\\x5c786666");
        for whole in [&b""[..], b"abc", b"a\0b", &[0xff, 0], b"\\xff", b"\\x"] {
            assert_eq!(bytes(&text(whole)), whole);
        }
    }
}
