//! What dashboards receive when a member's availability changes: the presence list at once, and nothing if nothing changed.

use std::time::Instant;

use parley_proto::Role;
use serde_json::{Value as Json, json};

use super::{Cable, agent};
use crate::support::{
    app::TestApp,
    database::Backend,
    http::Http,
    office::{Worker, worker},
    on_both,
};

on_both!(dashboards_receive_availability_changes);

/// An agent with `auto_offline` off, who stays online without presence updates: the presence window may elapse during a test.
async fn ola(app: &TestApp) -> Worker {
    let ola = worker(app, 1, Role::Agent, "Ola").await;
    let answer = by_administrator(app, &ola, json!({"auto_offline": false})).await;
    assert_eq!(answer, 200);
    ola
}

async fn by_administrator(app: &TestApp, agent: &Worker, body: Json) -> u16 {
    let path = format!("/api/v1/accounts/1/agents/{}", agent.user);
    app.http().send("PATCH", &path, Some(&body)).await.status
}

async fn choose(http: &Http, availability: &str) {
    let body = json!({"profile": {"account_id": 1, "availability": availability}});
    let answer = http.send("POST", "/api/v1/profile/availability", Some(&body)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// The presence lists that arrive before the event about a label. The caller creates the label after everything else.
async fn lists(cable: &mut Cable) -> Vec<Json> {
    let mut lists = Vec::new();
    loop {
        match cable.event().await {
            (event, _) if event == "account.cache_invalidated" => return lists,
            (event, data) if event == "presence.update" => lists.push(data),
            _ => {}
        }
    }
}

async fn dashboards_receive_availability_changes(backend: Backend) {
    // On PostgreSQL the dashboards are connected to another replica.
    let app = TestApp::builder(backend)
        .platform()
        .replicas(usize::from(backend == Backend::Postgres))
        .start()
        .await;
    let ola = ola(&app).await;
    let own = app.http().with_token(&ola.token);
    let mut cables = Vec::new();
    for http in [app.http(), own.clone()] {
        let mut cable = Cable::open(&app).await;
        let present = cable.subscribe(&agent(&http).await).await;
        assert_eq!(present["users"][ola.user.to_string()], "online");
        cables.push(cable);
    }
    choose(&own, "busy").await;
    for cable in &mut cables {
        let (event, data) = cable.event().await;
        assert_eq!((event.as_str(), &data["account_id"]), ("presence.update", &json!(1)));
        assert_eq!(data["users"][ola.user.to_string()], "busy");
        assert!(data["contacts"].is_object(), "{data}");
    }
    assert_eq!(by_administrator(&app, &ola, json!({"availability": "offline"})).await, 200);
    for cable in &mut cables {
        assert_eq!(cable.until("presence.update").await["users"][ola.user.to_string()], "offline");
    }
    // None of these changes the availability.
    choose(&own, "offline").await;
    assert_eq!(by_administrator(&app, &ola, json!({"availability": "offline"})).await, 200);
    assert_eq!(by_administrator(&app, &ola, json!({"name": "Ola Nordmann"})).await, 200);
    app.http().post("/labels", &json!({"title": "vip"})).await;
    for cable in &mut cables {
        assert_eq!(lists(cable).await, [] as [Json; 0]);
    }
}

/// Each dashboard reads its own presence list, so an agent who toggles the availability must not cause one read per dashboard and change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presence_lists_are_rate_limited() {
    const CHANGES: usize = 60;
    for switch in ["", "presence_pace"] {
        let app = TestApp::builder(Backend::Sqlite)
            .platform()
            .env("PARLEY_FAULT_SWITCH", switch)
            .start()
            .await;
        let ola = ola(&app).await;
        let own = app.http().with_token(&ola.token);
        let mut cable = Cable::open(&app).await;
        cable.subscribe(&agent(&app.http()).await).await;
        let begun = Instant::now();
        for number in 0..CHANGES {
            choose(&own, if number % 2 == 0 { "busy" } else { "online" }).await;
            // Wait for delivery before the next change: otherwise several changes are combined in any case.
            if !switch.is_empty() {
                cable.until("presence.update").await;
            }
        }
        // Upper bound with rate limiting. Without it, each change caused a list.
        let most = usize::try_from(begun.elapsed().as_secs()).expect("not that long") + 3;
        assert!(most < CHANGES, "the changes came too slowly to say anything: {:?}", begun.elapsed());
        if !switch.is_empty() {
            continue;
        }
        choose(&own, "offline").await;
        // The last list has the last change, and there is at most one list per second.
        let mut count = 1;
        while cable.until("presence.update").await["users"][ola.user.to_string()] != "offline" {
            count += 1;
            assert!(count <= most, "{count} lists");
        }
    }
}
