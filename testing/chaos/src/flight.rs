//! What is under way, read from the orchestrators' table: the evidence that a fault hit something, and that all is well again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use sqlx::{Connection as _, PgConnection};
use tokio::sync::Mutex;

/// One question.
const ASK: Duration = Duration::from_secs(2);
/// Between two questions.
const POLL: Duration = Duration::from_millis(50);

/// An eye on the table, through no wire. Connects when it must.
#[derive(Debug)]
pub(crate) struct Flight {
    url: String,
    conn: Mutex<Option<PgConnection>>,
}

impl Flight {
    pub(crate) fn new(url: String) -> Flight {
        Flight { url, conn: Mutex::default() }
    }

    /// Sagas under way; an error while PostgreSQL is away.
    pub(crate) async fn count(&self) -> Result<i64> {
        self.ask("select count(*) from public.saga where wake_at is not null").await
    }

    /// Now, by PostgreSQL's clock, ms.
    pub(crate) async fn now(&self) -> Result<i64> {
        self.ask("select (extract(epoch from clock_timestamp()) * 1000)::bigint").await
    }

    /// Waits until no saga is under way that began before `at`, ms; gives how long that took, or None when `limit` is over.
    pub(crate) async fn caught_up(&self, at: i64, limit: Duration) -> Option<Duration> {
        // An id begins with the millisecond at which it was made.
        let bound = format!("{:012x}", at);
        let query = format!(
            "select count(*) from public.saga where wake_at is not null and id < '{}-{}-0000-0000-000000000000'::uuid",
            &bound[..8],
            &bound[8..]
        );
        let begin = Instant::now();
        while begin.elapsed() < limit {
            if matches!(self.ask(&query).await, Ok(0)) {
                return Some(begin.elapsed());
            }
            tokio::time::sleep(POLL).await;
        }
        None
    }

    async fn ask(&self, query: &str) -> Result<i64> {
        let mut conn = self.conn.lock().await;
        let asked = async {
            if conn.is_none() {
                *conn = Some(PgConnection::connect(&self.url).await?);
            }
            let conn = conn.as_mut().context("just connected")?;
            anyhow::Ok(sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(conn).await?)
        };
        let answer = tokio::time::timeout(ASK, asked).await;
        match answer {
            Ok(Ok(count)) => Ok(count),
            Ok(Err(error)) => {
                *conn = None;
                Err(error)
            }
            Err(_) => {
                *conn = None;
                anyhow::bail!("PostgreSQL does not answer")
            }
        }
    }
}
