//! What a refactoring must not change, and what other changes show in their diff: the schema of both databases, and the statements of
//! writes. `INSTA_UPDATE=always` records them again.

mod schema;
mod writes;

use crate::support::database::Backend;

/// Compares `text` with the snapshot of this name and database.
fn is_recorded(name: &str, backend: Backend, text: &str) {
    let database = match backend {
        Backend::Sqlite => "sqlite",
        Backend::Postgres => "postgres",
    };
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(format!("{name}_{database}"), text));
}
