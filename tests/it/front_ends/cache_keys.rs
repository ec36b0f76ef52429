//! Cache keys: each key changes exactly when its list does, on every replica, and `/cable` frames contain the same keys.

use std::collections::HashMap;

use parley_proto::{CreateTokenRequest, GetCacheKeysRequest, Role, TokenKind};
use serde_json::{Value as Json, json};

use crate::{
    cable::{Cable, agent},
    support::{
        app::{ADMINISTRATOR, TestApp},
        database::Backend,
        http::Http,
        office::{inbox, set_members, worker},
        on_both,
    },
};

on_both!(
    cache_keys_change_with_their_lists,
    cache_keys_follow_what_the_caller_sees,
    cable_frames_contain_the_cache_keys,
    cache_keys_change_while_the_clock_goes_back
);

/// The three keys, read from every replica, which must agree.
struct Keys<'a> {
    replicas: Vec<Http>,
    app: &'a TestApp,
    last: Json,
    /// The list that belonged to each observed key.
    seen: HashMap<String, Json>,
}

/// The names of the keys, and the paths of their lists.
const LISTS: [(&str, &str); 3] = [("label", "/labels"), ("inbox", "/inboxes"), ("team", "/teams")];

impl<'a> Keys<'a> {
    async fn of(app: &'a TestApp, token: &str) -> Self {
        let servers = std::iter::once(&app.server).chain(&app.replicas);
        let mut keys = Self {
            replicas: servers.map(|server| Http::new(&server.listeners.http, token)).collect(),
            app,
            last: Json::Null,
            seen: HashMap::new(),
        };
        keys.last = keys.read().await;
        keys
    }

    async fn read(&self) -> Json {
        let mut all = Vec::new();
        for replica in &self.replicas {
            let (status, body) = replica.ask("/cache_keys").await;
            assert_eq!(status, 200, "{body}");
            all.push(body["cache_keys"].clone());
        }
        assert!(all.iter().all(|keys| *keys == all[0]), "{all:?}");
        all.swap_remove(0)
    }

    /// Asserts that exactly the keys of these lists have changed since the last call, and that no key ever belonged to two different lists.
    async fn changed(&mut self, what: &str, lists: &[&str]) {
        let now = self.read().await;
        for (list, path) in LISTS {
            let has_changed = now[list] != self.last[list];
            assert_eq!(
                has_changed,
                lists.contains(&list),
                "{what}: {list} was {} and is {}",
                self.last[list],
                now[list]
            );
            let (_, body) = self.replicas[0].ask(path).await;
            let known = self.seen.entry(format!("{list} {}", now[list])).or_insert_with(|| body.clone());
            assert_eq!(*known, body, "{what}: {list} {}", now[list]);
        }
        self.last = now;
    }

    async fn send(&self, method: &str, path: &str, body: Json) -> Json {
        let path = format!("/api/v1/accounts/1{path}");
        let answer = self.app.http().send(method, &path, Some(&body)).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.body);
        answer.body
    }
}

async fn start(backend: Backend) -> TestApp {
    let replicas = usize::from(backend == Backend::Postgres);
    TestApp::builder(backend).platform().replicas(replicas).start().await
}

async fn cache_keys_change_with_their_lists(backend: Backend) {
    let app = start(backend).await;
    let mut keys = Keys::of(&app, ADMINISTRATOR).await;
    let label = keys.send("POST", "/labels", json!({"title": "vip"})).await;
    keys.changed("a new label", &["label"]).await;
    let label = format!("/labels/{}", label["id"]);
    keys.send("PATCH", &label, json!({"color": "#ff0000"})).await;
    keys.changed("a changed label", &["label"]).await;
    keys.send("PATCH", &label, json!({"color": "#ff0000"})).await;
    keys.changed("a label that stays as it is", &[]).await;
    let other = keys.send("POST", "/labels", json!({"title": "gold"})).await;
    keys.changed("another label", &["label"]).await;
    keys.send("DELETE", &label, json!({})).await;
    keys.changed("a label less", &["label"]).await;
    keys.send("DELETE", &format!("/labels/{}", other["id"]), json!({})).await;
    keys.send("POST", "/labels", json!({"title": "gold"})).await;
    keys.changed("a label in place of the last one", &["label"]).await;

    let team = keys.send("POST", "/teams", json!({"name": "billing"})).await;
    keys.changed("a new team", &["team"]).await;
    let team = format!("/teams/{}", team["id"]);
    keys.send("PATCH", &team, json!({"description": "Invoices"})).await;
    keys.changed("a changed team", &["team"]).await;

    let made = keys
        .send("POST", "/inboxes", json!({"name": "Shop", "channel": {"type": "api"}}))
        .await;
    keys.changed("a new inbox", &["inbox"]).await;
    let made = format!("/inboxes/{}", made["id"]);
    keys.send("PATCH", &made, json!({"greeting_message": "Hello"})).await;
    keys.changed("a changed inbox", &["inbox"]).await;
    keys.send("DELETE", &made, json!({})).await;
    keys.changed("an inbox less", &["inbox"]).await;

    let fixture = app.fixture();
    let talk = fixture.talk().await;
    fixture.hear(talk, "hello").await;
    keys.send("POST", &format!("/conversations/{talk}/labels"), json!({"labels": ["gold"]}))
        .await;
    keys.send("POST", "/canned_responses", json!({"short_code": "hi", "content": "Hello"}))
        .await;
    keys.changed("conversations, contacts and canned responses", &[]).await;
    keys.send("DELETE", &team, json!({})).await;
    keys.changed("a team less", &["team"]).await;
}

async fn cache_keys_follow_what_the_caller_sees(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let clients = app.clients();
    let (ola, ravi) = (
        worker(&app, 1, Role::Agent, "Ola").await,
        worker(&app, 1, Role::Agent, "Ravi").await,
    );
    let (first, second) = (inbox(&clients, 1, "One").await, inbox(&clients, 1, "Two").await);
    let mut keys = Keys::of(&app, &ola.token).await;
    set_members(&clients, 1, first, &[ola.user]).await;
    keys.changed("an inbox more for an agent", &["inbox"]).await;
    set_members(&clients, 1, first, &[ola.user, ravi.user]).await;
    keys.changed("a colleague in the inbox", &[]).await;
    keys.send("PATCH", &format!("/inboxes/{second}"), json!({"greeting_message": "Hello"}))
        .await;
    keys.changed("an inbox that the agent does not see", &[]).await;
    set_members(&clients, 1, second, &[ola.user]).await;
    set_members(&clients, 1, first, &[]).await;
    keys.changed("one inbox in place of another", &["inbox"]).await;

    let team = keys.send("POST", "/teams", json!({"name": "billing"})).await;
    keys.changed("a new team", &["team"]).await;
    let members = format!("/teams/{}/team_members", team["id"]);
    keys.send("POST", &members, json!({"user_ids": [ravi.user]})).await;
    keys.changed("a colleague in the team", &[]).await;
    keys.send("POST", &members, json!({"user_ids": [ola.user]})).await;
    keys.changed("the agent in the team", &["team"]).await;
    keys.send("DELETE", &members, json!({"user_ids": [ola.user]})).await;
    keys.changed("the agent out of the team", &["team"]).await;

    let request = CreateTokenRequest {
        kind: TokenKind::Service.into(),
        account_id: Some(1),
        name: "shop".to_owned(),
        read_only: true,
        inbox_ids: vec![first],
        ..CreateTokenRequest::default()
    };
    let made = app.platform().accounts.create_token(request).await.expect("a token").into_inner();
    let mut keys = Keys::of(&app, &made.secret).await;
    keys.send("PATCH", &format!("/inboxes/{second}"), json!({"greeting_message": "Good day"}))
        .await;
    keys.changed("an inbox that the service does not see", &[]).await;
    keys.send("PATCH", &format!("/inboxes/{first}"), json!({"greeting_message": "Good day"}))
        .await;
    keys.changed("the inbox of the service", &["inbox"]).await;
    let request = GetCacheKeysRequest { account_id: 1 };
    let read = app
        .clients_with(&made.secret)
        .accounts
        .get_cache_keys(request)
        .await
        .expect("read")
        .into_inner();
    assert_eq!(
        json!(read.cache_keys.expect("always set").inbox),
        keys.last["inbox"],
        "the same over gRPC"
    );
}

async fn cable_frames_contain_the_cache_keys(backend: Backend) {
    let app = start(backend).await;
    let mut keys = Keys::of(&app, ADMINISTRATOR).await;
    let mut cable = Cable::open(&app).await;
    cable.subscribe(&agent(&app.http()).await).await;
    let changes = [
        ("/labels", json!({"title": "vip"}), "label"),
        ("/teams", json!({"name": "billing"}), "team"),
        ("/inboxes", json!({"name": "Shop", "channel": {"type": "api"}}), "inbox"),
    ];
    for (path, body, list) in changes {
        keys.send("POST", path, body).await;
        let frame = cable.until("account.cache_invalidated").await;
        keys.changed(path, &[list]).await;
        assert_eq!(frame, json!({"account_id": 1, "cache_keys": keys.last}), "{path}");
    }
}

/// The key of the labels before and after a change, when the last event of the account is an hour ahead of the clock.
async fn ahead(backend: Backend, switch: &str) -> (Json, Json) {
    let mut app = TestApp::builder(backend).env("PARLEY_FAULT_SWITCH", switch).start().await;
    let label = app.http().post("/labels", &json!({"title": "vip"})).await;
    app.server.terminate();
    app.server.wait().await;
    app.database
        .run("UPDATE account_logs SET last_occurred_at = last_occurred_at + 3600000000")
        .await;
    app.start_again().await;
    let path = format!("/api/v1/accounts/1/labels/{}", label["id"]);
    let mut seen = Vec::new();
    for color in ["#ff0000", "#00ff00"] {
        let changed = app.http().send("PATCH", &path, Some(&json!({"color": color}))).await;
        assert_eq!(changed.status, 200, "{}", changed.body);
        seen.push(app.http().ask("/cache_keys").await.1["cache_keys"]["label"].clone());
    }
    (seen[0].clone(), seen[1].clone())
}

async fn cache_keys_change_while_the_clock_goes_back(backend: Backend) {
    let (before, after) = ahead(backend, "").await;
    assert_ne!(before, after);
    let (before, after) = ahead(backend, "rising_stamps").await;
    assert_eq!(before, after, "the key changed without the protection");
}
