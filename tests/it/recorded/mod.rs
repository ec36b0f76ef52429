//! What a change of structure must leave as it is, and what another change shows in its diff: the schema of both databases, and the statements
//! that writes make. `INSTA_UPDATE=always` records them anew.

mod schema;
mod writes;

use crate::support::database::Backend;

/// Holds `text` against what was recorded under this name for this database.
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
