//! A server that reaches PostgreSQL through a proxy.

use super::{
    app::TestApp,
    database::{Backend, Database},
};
use crate::proxy::Proxy;

/// Starts the server. Returns it with the proxy and the real address of the database. `settings` are environment variables of the server.
pub async fn behind_a_proxy(settings: &[(&str, &str)]) -> (TestApp, Proxy, String) {
    let database = Database::create(Backend::Postgres).await;
    let url = database.url();
    let (credentials, rest) = url.split_once('@').expect("a name before the host");
    let (address, name) = rest.split_once('/').expect("a database after the host");
    let proxy = Proxy::before(address).await;
    let through = format!("{credentials}@{}/{name}", proxy.address);
    let mut app = TestApp::builder(Backend::Postgres)
        .database(database)
        .env("PARLEY_DATABASE_CONNECT_TIMEOUT_SECONDS", "1")
        .env("PARLEY_DATABASE_URL", &through);
    for (name, value) in settings {
        app = app.env(name, value);
    }
    (app.start().await, proxy, address.to_owned())
}
