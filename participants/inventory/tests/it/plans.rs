//! How PostgreSQL runs each of our statements on a worker's connection: by index, whatever the statistics say.

use serde_json::Value;
use skald_kit::{config::Secret, pg};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::support::Installation;

/// Statements that read a whole table on purpose.
const WHOLE: &[&str] = &["with booked as"];

/// The statements of this crate, as sqlx knows them: text and number of parameters.
fn statements() -> Vec<(String, usize)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx");
    let files = std::fs::read_dir(folder).expect("offline data");
    files
        .map(|file| std::fs::read_to_string(file.expect("a file").path()).expect("text"))
        .map(|text| serde_json::from_str::<Value>(&text).expect("JSON"))
        .map(|data| {
            let parameters = data["describe"]["parameters"]["Left"].as_array().map_or(0, Vec::len);
            (data["query"].as_str().expect("a query").to_owned(), parameters)
        })
        .collect()
}

async fn plan(connection: &mut PgConnection, query: &str, parameters: usize) -> String {
    let run = |text: String| sqlx::raw_sql(AssertSqlSafe(text));
    run(format!("prepare statement as {query}")).execute(&mut *connection).await.expect("prepared");
    let nulls = vec!["null"; parameters].join(", ");
    let execute = if parameters == 0 { String::new() } else { format!("({nulls})") };
    let lines: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(format!("explain (costs off) execute statement{execute}")))
            .fetch_all(&mut *connection)
            .await
            .expect("explained");
    run("deallocate statement".to_owned()).execute(connection).await.expect("deallocated");
    lines.join("\n")
}

#[tokio::test]
async fn no_statement_scans_a_table() {
    let installation = Installation::new().await;
    let url = Secret::new(installation.database.url.clone());
    skald_inventory::migrate(&url).await.expect("migrated");
    let mut connection = pg::worker_connection(&url).await.expect("connects");
    let statements = statements();
    assert!(statements.len() > 5, "{}", statements.len());
    for (query, parameters) in statements {
        if WHOLE.iter().any(|start| query.starts_with(start)) {
            continue;
        }
        let plan = plan(&mut connection, &query, parameters).await;
        assert!(!plan.contains("Seq Scan on"), "{query}\n{plan}");
    }
}
