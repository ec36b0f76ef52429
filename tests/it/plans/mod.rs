//! Lists, filters and searches use indexes. The database explains the statements of each call, taken from its trace, with current table
//! statistics. No statement may scan or sort a big table, because its time would grow with the table.
//!
//! `docs/benchmarks.md` lists what is known to grow.

mod asks;
#[path = "../../../benches/lists/generate.rs"]
mod generate;
pub mod spans;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _, SqliteConnection};

use crate::support::{
    app::TestApp,
    database::{Backend, Database},
    in_time, on_both,
};
use asks::{Ask, asks};
use spans::Spans;

on_both!(lists_use_indexes);

/// Contacts with one conversation each: enough that no planner prefers a scan.
const CONTACTS: i64 = 3000;

/// Tables that grow without bound.
const BIG: [&str; 4] = ["contacts", "contact_inboxes", "conversations", "messages"];

async fn lists_use_indexes(backend: Backend) {
    let (spans, address) = Spans::start().await;
    let mut app = TestApp::builder(backend)
        .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &address)
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        // The default filter excludes the spans of SQL statements.
        .env("PARLEY_LOG_FILTER", "info")
        .start()
        .await;
    let url = app.database.url();
    match backend {
        Backend::Sqlite => generate::sqlite(&url, 1, CONTACTS).await,
        Backend::Postgres => generate::postgres(&url, 1, CONTACTS).await,
    }
    attributes_stand_as_before(&mut app).await;
    in_time("the index of messages", async {
        let behind = "SELECT COUNT(*) FROM account_logs l JOIN search_positions p ON p.account_id = l.account_id AND p.message_id = l.last_message_id";
        while Database::number(&url, behind).await == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    })
    .await;
    let mut wrong = Vec::new();
    for (number, ask) in (1..).zip(asks(CONTACTS)) {
        // For so few contacts, PostgreSQL prefers a scan to the trigram index; `docs/benchmarks.md` has its plan at scale.
        if backend == Backend::Postgres && ask.on_postgres.is_empty() {
            continue;
        }
        let rows = ask.call(&app.clients(), number).await;
        let statements = spans.statements(number).await;
        let plans = explained(&url, &statements).await;
        let complaints = judged(&ask, backend, rows, &plans);
        if !complaints.is_empty() {
            wrong.push(format!("{}: {}\n{}", ask.name, complaints.join("; "), plans.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// The migration fills the attribute table from existing contacts and conversations with the same rows that later writes would add.
async fn attributes_stand_as_before(app: &mut TestApp) {
    let url = app.database.url();
    let kept = "SELECT CAST(SUM(length(key) + length(value) + COALESCE(number, 0)) AS bigint) FROM attribute_values";
    let before = Database::number(&url, kept).await;
    app.server.terminate();
    app.server.wait().await;
    app.database.run("DROP TABLE attribute_values").await;
    app.database
        .run("DELETE FROM seaql_migrations WHERE version LIKE '%_attribute_values'")
        .await;
    app.start_again().await;
    assert_eq!(Database::number(&url, kept).await, before);
    assert!(before > 6 * CONTACTS, "three attributes of each");
}

/// What is wrong with the plans of a call.
fn judged(ask: &Ask, backend: Backend, rows: usize, plans: &[String]) -> Vec<String> {
    let mut complaints = Vec::new();
    if rows == 0 {
        complaints.push("nothing is found".to_owned());
    }
    let index = match backend {
        Backend::Sqlite => ask.on_sqlite,
        Backend::Postgres => ask.on_postgres,
    };
    // Skip selectivity probes, which use the same index.
    let mut lists = plans.iter().filter(|plan| !plan.starts_with("SELECT (SELECT COUNT(*)"));
    let Some(list) = lists.find(|plan| index.split('|').any(|index| plan.contains(index))) else {
        complaints.push(format!("{index} is not used"));
        return complaints;
    };
    for line in list.lines().map(str::trim) {
        let sorts = line.contains("USE TEMP B-TREE FOR ORDER BY") || line.trim_start_matches("->").trim_start().starts_with("Sort  (");
        if sorts && !ask.sorts_few {
            complaints.push(format!("sorts all: {line}"));
        }
    }
    let lines = plans.iter().flat_map(|plan| plan.lines());
    for line in lines.map(|line| line.trim().trim_start_matches("->").trim_start()) {
        let whole = line
            .strip_prefix("Seq Scan on ")
            .or_else(|| line.strip_prefix("SCAN "))
            .unwrap_or_default();
        let name = whole.split([' ', '(']).next().unwrap_or_default();
        if BIG.contains(&name) {
            complaints.push(format!("reads all of {name}: {line}"));
        }
    }
    complaints
}

/// Each statement with its plan.
async fn explained(url: &str, statements: &[String]) -> Vec<String> {
    let mut plans = Vec::new();
    for statement in statements.iter().filter(|statement| statement.starts_with("SELECT")) {
        let lines = if url.starts_with("sqlite") {
            on_sqlite(url, statement).await
        } else {
            on_postgres(url, statement).await
        };
        plans.push(format!("{statement}\n    {}", lines.join("\n    ")));
    }
    plans
}

async fn on_sqlite(url: &str, statement: &str) -> Vec<String> {
    let mut connection = SqliteConnection::connect(url).await.expect("the file is there");
    let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
    let rows = sqlx::raw_sql(explain).fetch_all(&mut connection).await;
    let rows = rows.unwrap_or_else(|error| panic!("{statement}: {error}"));
    rows.iter().map(|row| row.get::<String, _>("detail")).collect()
}

/// The generic plan, which depends on no parameter except the page size; a small page tells the planner that few rows are wanted.
async fn on_postgres(url: &str, statement: &str) -> Vec<String> {
    let mut connection = PgConnection::connect(url).await.expect("the server is there");
    let statement = paged(statement);
    let count = (1..=u16::MAX).take_while(|nth| statement.contains(&format!("${nth}"))).count();
    let nulls = if count == 0 {
        String::new()
    } else {
        format!("({})", vec!["NULL"; count].join(", "))
    };
    let explain = format!("SET plan_cache_mode = force_generic_plan; PREPARE list AS {statement}; EXPLAIN EXECUTE list{nulls}");
    let rows = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(&mut connection).await;
    let rows = rows.unwrap_or_else(|error| panic!("{statement}: {error}"));
    rows.iter().map(|row| row.get::<String, _>(0)).collect()
}

/// The statement with a page size in place of its last parameters.
fn paged(statement: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in statement.split(' ') {
        let behind = word.trim_start_matches(|char: char| char == '$' || char.is_ascii_digit());
        words.push(match words.last().map(String::as_str) {
            Some("LIMIT") if word.starts_with('$') => format!("26{behind}"),
            Some("OFFSET") if word.starts_with('$') => format!("0{behind}"),
            _ => word.to_owned(),
        });
    }
    words.join(" ")
}
