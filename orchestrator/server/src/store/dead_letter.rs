//! `dead_letter`: messages that could not be understood or handled, whole, until an operator has dealt with them.

use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

/// One of them.
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
    /// In order; where it came from is among them.
    pub headers: Vec<(String, String)>,
    /// As it came.
    pub payload: Vec<u8>,
    /// Its first word is a code.
    pub reason: String,
    /// The saga that the key names.
    pub saga: Option<Uuid>,
}

/// Keeps letters, and calls a person for each saga of ours that one is about; one that is there already stays as it was.
pub async fn put(conn: &mut PgConnection, letters: &[Letter]) -> Result<(), sqlx::Error> {
    for l in letters {
        let code = l.reason.split([':', ' ']).next().unwrap_or_default();
        sqlx::query!(
            "with letter as (
               insert into public.dead_letter (topic, partition, kafka_offset, key, headers, payload, reason, saga_id)
               values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing
               returning saga_id, reason, at)
             insert into public.attention (saga_id, step, kind, code, message, since)
             select s.id, '', 'DEAD_LETTER', $9, l.reason, l.at from letter l join public.saga s on s.id = l.saga_id
             on conflict do nothing",
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
