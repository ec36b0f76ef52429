//! Tables, indexes, triggers and functions, as the databases describe them after all migrations.

use sqlx::{Connection as _, PgConnection, SqliteConnection};

use super::is_recorded;
use crate::support::{
    database::{Backend, Database},
    on_both,
};

on_both!(schema_matches_the_snapshot);

/// Everything in the file except for what SQLite creates itself.
const SQLITE: &str = "SELECT type || ' ' || name || char(10) || COALESCE(sql, '') FROM sqlite_master \
    WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type, name";

/// Queries whose rows together describe a schema, independent of the server's version.
const POSTGRES: [&str; 5] = [
    "SELECT 'column ' || table_name || '.' || column_name || ' ' || data_type || CASE is_nullable WHEN 'NO' THEN ' NOT NULL' ELSE '' END \
        || COALESCE(' DEFAULT ' || column_default, '') \
        FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, column_name",
    // PostgreSQL 18 lists NOT NULL among the constraints.
    "SELECT 'constraint ' || conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) \
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n' ORDER BY conrelid::regclass::text, conname",
    "SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY tablename, indexname",
    "SELECT 'trigger ' || pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid \
        WHERE NOT t.tgisinternal AND c.relnamespace = 'public'::regnamespace ORDER BY c.relname, t.tgname",
    // Functions of extensions are not part of the schema.
    "SELECT pg_get_functiondef(p.oid) FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace \
        AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e') ORDER BY p.proname",
];

async fn schema_matches_the_snapshot(backend: Backend) {
    let database = Database::migrated(backend).await;
    let parts = match backend {
        Backend::Sqlite => {
            let mut connection = SqliteConnection::connect(&database.url()).await.expect("the file is there");
            sqlx::query_scalar::<_, String>(SQLITE)
                .fetch_all(&mut connection)
                .await
                .expect("SQLite lists what it holds")
        }
        Backend::Postgres => {
            let mut connection = PgConnection::connect(&database.url()).await.expect("the server is there");
            let mut parts = Vec::new();
            for query in POSTGRES {
                let rows = sqlx::query_scalar::<_, String>(query).fetch_all(&mut connection).await;
                parts.extend(rows.expect("PostgreSQL lists what it holds"));
            }
            parts
        }
    };
    assert!(parts.len() > 100, "{}", parts.len());
    is_recorded("schema", backend, &parts.join("\n"));
}
