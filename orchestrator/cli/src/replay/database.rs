//! Sagas and histories from an orchestrator's database: keyset pages by id, each in a read-only snapshot of its own, so
//! that a saga and its history agree and no long transaction holds back the vacuum.

use std::{collections::HashMap, str::FromStr as _, time::Duration};

use futures::TryStreamExt as _;
use skald_core::{
    archive::{Recorded, Stored},
    history::Row,
};
use skald_kit::config::Secret;
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};
use uuid::Uuid;

use super::source::{Definitions, Known, Which};
use crate::exit::{Exit, Failure};

/// Sagas in a page: a few round trips for about a thousand rows, and at most 64 MiB of requests.
const PAGE: i64 = 256;
/// How long connecting may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// An open connection and how far it is.
#[derive(Debug)]
pub(crate) struct Database {
    connection: PgConnection,
    shown: String,
    which: Which,
    /// The last id that was read.
    after: Uuid,
    first: Uuid,
    last: Uuid,
    done: bool,
    pub(super) definitions: Definitions,
}

impl Database {
    pub(super) async fn open(url: &str, which: Which) -> Result<Database, Failure> {
        let shown = Secret::new(url).url_without_password();
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| Failure::new(Exit::Usage, format!("{shown}: {error}")))?
            .application_name("skald replay")
            .options([("default_transaction_read_only", "on"), ("search_path", "public")]);
        let connected = tokio::time::timeout(PATIENCE, PgConnection::connect_with(&options)).await;
        let unreachable = |why: String| {
            Failure::new(Exit::Unavailable, format!("{shown} can't be reached: {why}"))
                .advice("nothing was read; is the server running, and is that its address?")
        };
        let connection = match connected {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(unreachable(error.to_string())),
            Err(_) => return Err(unreachable(format!("no answer in {} s", PATIENCE.as_secs()))),
        };
        let after = if which.all_active { Uuid::nil() } else { below(which.since) };
        let (first, last) = (Uuid::nil(), Uuid::nil());
        let definitions = Definitions::new();
        let mut database =
            Database { connection, shown, which, after, first, last, done: false, definitions };
        let loaded = database.load().await;
        loaded.map_err(|error| database.failure(&error))?;
        Ok(database)
    }

    /// Definitions, and between which ids the sagas are.
    async fn load(&mut self) -> Result<(), sqlx::Error> {
        let connection = &mut self.connection;
        let rows: Vec<(i32, String, Vec<u8>, Vec<u8>)> =
            sqlx::query_as("select id, name, hash, body from public.definition order by id")
                .fetch_all(&mut *connection)
                .await?;
        let known = |(id, name, hash, body)| (id, Known::of(Stored { id, name, hash, body }));
        self.definitions = rows.into_iter().map(known).collect();
        // There is no min(uuid) before PostgreSQL 18; both ends come from the primary key.
        let (first, last): (Option<Uuid>, Option<Uuid>) = sqlx::query_as(
            "select (select id from public.saga where id > $1 order by id limit 1),
                    (select id from public.saga order by id desc limit 1)",
        )
        .bind(self.after)
        .fetch_one(connection)
        .await?;
        (self.first, self.last) = (first.unwrap_or_default(), last.unwrap_or_default());
        Ok(())
    }

    pub(super) async fn page(&mut self) -> Result<Vec<Recorded>, Failure> {
        if self.done {
            return Ok(Vec::new());
        }
        let page = self.read().await.map_err(|error| self.failure(&error))?;
        self.done = page.len() < PAGE as usize;
        if let Some(last) = page.last() {
            self.after = last.id;
        }
        Ok(page)
    }

    async fn read(&mut self) -> Result<Vec<Recorded>, sqlx::Error> {
        let begin = "begin isolation level repeatable read read only";
        let mut snapshot = self.connection.begin_with(begin).await?;
        let mut page = sagas(&mut snapshot, self.after, self.which).await?;
        if self.which.rows {
            histories(&mut snapshot, &mut page).await?;
        }
        snapshot.commit().await?;
        Ok(page)
    }

    /// Goes on behind a saga.
    pub(super) fn go_on(&mut self, after: Uuid) {
        self.after = self.after.max(after);
    }

    /// What an event says beside the history: customer and trace, by saga. They never change.
    pub(super) async fn labels(
        &mut self,
        sagas: &[Recorded],
    ) -> Result<HashMap<Uuid, (String, Option<String>)>, Failure> {
        let ids: Vec<Uuid> = sagas.iter().map(|saga| saga.id).collect();
        let asked = sqlx::query_as("select id, customer_id, traceparent from public.saga where id = any($1)");
        let rows: Result<Vec<(Uuid, String, Option<String>)>, _> =
            asked.bind(ids).fetch_all(&mut self.connection).await;
        let rows = rows.map_err(|error| self.failure(&error))?;
        Ok(rows.into_iter().map(|(id, customer, trace)| (id, (customer, trace))).collect())
    }

    /// By the time that stands in the ids.
    pub(super) fn share(&self) -> f64 {
        let ms = |id: Uuid| (id.as_u128() >> 80) as f64;
        let (from, to) = (ms(self.first), ms(self.last));
        if to <= from { 1.0 } else { ((ms(self.after) - from) / (to - from)).clamp(0.0, 1.0) }
    }

    fn failure(&self, error: &sqlx::Error) -> Failure {
        let message = format!("{}: {error}", self.shown);
        match error {
            sqlx::Error::Database(_) => Failure::new(Exit::Failed, message)
                .advice("is it an orchestrator's database, and may this user read it? Nothing was changed"),
            _ => Failure::new(Exit::Unavailable, format!("{message} (after saga {})", self.after))
                .advice("nothing was changed; begin again when the server is back"),
        }
    }
}

/// The id before.
fn below(id: Uuid) -> Uuid {
    Uuid::from_u128(id.as_u128().saturating_sub(1))
}

async fn sagas(
    connection: &mut PgConnection,
    after: Uuid,
    which: Which,
) -> Result<Vec<Recorded>, sqlx::Error> {
    type Saga = (Uuid, i32, i32, i16, bool, Vec<u8>, Vec<u8>);
    let rows: Vec<Saga> = sqlx::query_as(
        "select id, definition_id, version, format, wake_at is not null, state, request
           from public.saga where id > $1 and (id >= $2 or ($3 and wake_at is not null))
            and ($5::bigint is null or (updated_at >= to_timestamp($5 / 1000.0) and id < $6)) order by id limit $4",
    )
    .bind(after)
    .bind(which.since)
    .bind(which.all_active)
    .bind(PAGE)
    .bind(which.written.map(|(since, _)| since))
    .bind(which.written.map(|(_, below)| below))
    .fetch_all(connection)
    .await?;
    let recorded = |(id, definition, version, format, active, state, request): Saga| Recorded {
        id,
        definition,
        version: version as u32,
        format: format as u32,
        active,
        request,
        state,
        rows: Vec::new(),
    };
    Ok(rows.into_iter().map(recorded).collect())
}

/// The histories of a page, in one go.
async fn histories(connection: &mut PgConnection, page: &mut [Recorded]) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = page.iter().map(|saga| saga.id).collect();
    let (Some(first), Some(last)) = (ids.first(), ids.last()) else { return Ok(()) };
    type Entry = (Uuid, i32, i64, i16, i16, String, Vec<u8>, i64);
    let mut rows = sqlx::query_as::<_, Entry>(
        "select saga_id, seq, (extract(epoch from at) * 1000)::bigint, rules, kind, actor, input, digest
           from public.history where saga_id = any($1) and saga_id between $2 and $3 order by saga_id, seq",
    )
    .bind(&ids)
    .bind(first)
    .bind(last)
    .fetch(connection);
    let mut at = 0;
    while let Some((id, seq, time, rules, kind, actor, input, digest)) = rows.try_next().await? {
        // Both are by id.
        while page[at].id != id {
            at += 1;
        }
        let (seq, rules, kind) = (seq as u32, rules as u32, kind as u32);
        page[at].rows.push(Row { seq, at: time, rules, kind, actor, input, digest });
    }
    Ok(())
}
