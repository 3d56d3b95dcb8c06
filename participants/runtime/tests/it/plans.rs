//! Design section 10, test 15: the hot statements use an index in each partition, also with a plan that knows no parameters.

use skald_kit::pg;
use sqlx::{AssertSqlSafe, Row as _};

use crate::{house::House, toy::Toy};

/// Statements that look at everything on purpose, seldom.
const SELDOM: &[&str] = &["count(*)", "p.beat_at", "pg_inherits"];

#[tokio::test(flavor = "multi_thread")]
async fn hot_statements_scan_no_table() {
    let house = House::new("plans").await;
    // makes the partitions of eleven weeks
    house.start(Toy::default()).await;
    let mut conn = pg::worker_connection(&house.config.postgres.url).await.expect("a connection");
    let mut looked_at = 0;
    for query in statements() {
        if !(query.contains("skald.barrier") || query.contains("skald.intent")) {
            continue;
        }
        if SELDOM.iter().any(|seldom| query.contains(seldom)) {
            continue;
        }
        looked_at += 1;
        let parameters = (1..40).take_while(|n| query.contains(&format!("${n}"))).count();
        let nulls = if parameters == 0 {
            String::new()
        } else {
            format!("({})", vec!["null"; parameters].join(", "))
        };
        for sql in [format!("prepare looked as {query}"), format!("explain execute looked{nulls}")] {
            let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut conn).await.expect(&query);
            let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            let plan = plan.join("\n");
            assert!(!plan.contains("Seq Scan"), "{query}\n{plan}");
        }
        sqlx::raw_sql("deallocate looked").execute(&mut conn).await.expect("forgotten");
    }
    assert!(looked_at >= 11, "only {looked_at} statements were found");
    house.stop().await;
}

/// The statements of this crate, as its offline data has them.
fn statements() -> Vec<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx");
    let files = std::fs::read_dir(folder).expect("offline data");
    let query = |file: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("text");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        json["query"].as_str().expect("a query").to_owned()
    };
    files.map(query).collect()
}
