//! Programs and databases of different versions: which program starts on which database, and that migrations only add.

use std::{fs, path::Path, process::Command};

use parley_storage::migration::FLOOR;

use crate::support::{
    app::TestApp,
    database::{Backend, Database},
    on_both,
    server::{Ended, program, run_to_end},
};

on_both!(older_program_starts_on_a_compatible_schema);

/// A migration that no current program knows.
const FUTURE: &str = "m20991231_000001_future";

async fn run(arguments: &[&str], url: &str, migrate: bool) -> Ended {
    let home = tempfile::tempdir().expect("a folder");
    let mut command: Command = program();
    command
        .args(arguments)
        .current_dir(home.path())
        .env("PARLEY_DATABASE_URL", url)
        .env("PARLEY_DATABASE_MIGRATE", migrate.to_string());
    for listener in ["PARLEY_GRPC_ADDR", "PARLEY_HTTP_ADDR", "PARLEY_ADMIN_ADDR"] {
        command.env(listener, "127.0.0.1:0");
    }
    run_to_end(command).await
}

async fn older_program_starts_on_a_compatible_schema(backend: Backend) {
    let mut app = TestApp::start(backend).await;
    let url = app.database.url();
    let kept = match backend {
        Backend::Sqlite => "SELECT count(*) FROM schema_floor WHERE migration LIKE 'm%'",
        Backend::Postgres => "SELECT CAST(count(*) AS bigint) FROM schema_floor WHERE migration LIKE 'm%'",
    };
    assert_eq!(Database::number(&url, kept).await, 1, "the database names the oldest program");

    // A newer program was here, and its additions affect nothing.
    let newer = format!("INSERT INTO seaql_migrations (version, applied_at) VALUES ('{FUTURE}', 0)");
    app.database.run(&newer).await;
    app.server.terminate();
    app.server.wait().await;
    let migrated = run(&["migrate"], &url, true).await;
    assert_eq!(migrated.code, Some(0), "{}", migrated.output);
    app.start_again().await;
    let log = app.server.log();
    assert!(log.contains("newer than this version of Parley") && log.contains(FUTURE), "{log}");
    app.fixture().talk().await;
    app.server.terminate();
    app.server.wait().await;

    // The newer migration removes something that this program needs, or does not say what it does.
    for word in [
        format!("UPDATE schema_floor SET migration = '{FUTURE}'"),
        "DELETE FROM schema_floor".to_owned(),
    ] {
        app.database.run(&word).await;
        for (arguments, migrate) in [("migrate", true), ("serve", true), ("serve", false)] {
            let refused = run(&[arguments], &url, migrate).await;
            assert_eq!(refused.code, Some(76), "{word}: {arguments}: {}", refused.output);
            assert!(refused.output.contains(FUTURE), "{}", refused.output);
        }
    }
}

/// Replicas that start together on an empty database, or on one whose migration was interrupted: one migrates and the others wait, without
/// blocking an index that is built concurrently.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_starts_migrate_once_on_postgres() {
    let database = Database::create(Backend::Postgres).await;
    let url = database.url();
    for round in ["empty", "stopped halfway"] {
        let all = futures_util::future::join_all((0..4).map(|_| run(&["migrate"], &url, true))).await;
        for ended in all {
            assert_eq!(ended.code, Some(0), "{round}: {}", ended.output);
        }
        // Simulates an interruption of the migrations that do not run in a transaction.
        database
            .run("DELETE FROM seaql_migrations WHERE version IN ('m20261127_000022_conversation_lists', 'm20261127_000023_contact_pieces')")
            .await;
    }
}

/// Older programs, down to the one that `FLOOR` names, keep running while a newer one migrates.
#[test]
fn migrations_only_add_above_the_floor() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/storage/src/migration");
    let mut seen = 0;
    for entry in fs::read_dir(folder).expect("the migrations") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if name == "mod" || name.as_str() <= FLOOR {
            continue;
        }
        seen += 1;
        let text = fs::read_to_string(&path).expect("readable").to_lowercase();
        let taken = taken(&text);
        assert!(
            taken.is_empty(),
            "{name} has {taken:?}: older programs may need what it takes; raise FLOOR, or leave it"
        );
    }
    assert!(seen > 0, "no migration is above {FLOOR}");
}

/// What a migration removes or changes according to its text, except for what it creates itself.
fn taken(text: &str) -> Vec<String> {
    let words: Vec<&str> = text
        .split(|char: char| !(char.is_alphanumeric() || char == '_'))
        .filter(|word| !["if", "not", "exists", "concurrently", "unique", "virtual", "or", "replace", ""].contains(word))
        .collect();
    let after = |verb: &'static str| {
        words
            .windows(3)
            .filter(move |three| three[0] == verb)
            .map(|three| (three[1], three[2]))
    };
    let made: Vec<&str> = after("create").map(|(_, name)| name).collect();
    let mut taken = Vec::new();
    for verb in ["drop", "truncate", "alter"] {
        let others = after(verb).filter(|(_, name)| !made.contains(name));
        // An added column removes nothing. A column given by number belongs to an index.
        let others = others.filter(|(kind, name)| verb != "alter" || (*kind != "table" && name.parse::<u32>().is_err()));
        taken.extend(others.map(|(kind, name)| format!("{verb} {kind} {name}")));
    }
    taken.extend(
        after("delete")
            .filter(|(from, name)| *from == "from" && !made.contains(name))
            .map(|(_, name)| format!("delete from {name}")),
    );
    let rust = [
        "drop_table",
        "drop_index",
        "drop_column",
        "drop_foreign_key",
        "rename",
        "modify_column",
        "truncate_table",
        "rename_column",
    ];
    taken.extend(words.iter().filter(|word| rust.contains(word)).map(ToString::to_string));
    taken
}

#[test]
fn removals_in_a_migration_are_found() {
    let found = |text: &str| taken(text).len();
    assert_eq!(found("create index concurrently a on b (c)"), 0);
    assert_eq!(found("drop index concurrently if exists a"), 1);
    assert_eq!(
        found("drop index concurrently if exists a; create index concurrently a on b (c)"),
        0
    );
    assert_eq!(found("alter table a add column b bigint"), 0);
    assert_eq!(found("alter table a drop column b"), 1);
    assert_eq!(found("alter table a alter column b set not null"), 1);
    assert_eq!(found("alter table a rename to b"), 1);
    assert_eq!(found("delete from a where b = 1"), 1);
    assert_eq!(found("create trigger a_delete after delete on b"), 0);
    assert_eq!(found("table.drop_column(alias)"), 1);
}
