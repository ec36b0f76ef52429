//! The calls that dashboards and the mobile app make when they start, and the changes that members make to themselves with them.

mod cache_keys;
mod calls;
mod self_service;

use serde_json::{Value as Json, json};

use crate::support::{
    api_fixture::ApiFixture,
    app::TestApp,
    database::{Backend, Database},
    http::Http,
    on_both,
};

on_both!(dashboard_start_calls_succeed, mobile_app_start_calls_succeed);

const ACCOUNT: &str = "/api/v1/accounts/1";

/// A checksum of the stored state of all accounts and members, which changes with every write.
const STORED: &str = "SELECT CAST((SELECT coalesce(sum(head_seq), 0) FROM account_logs) + (SELECT count(*) FROM idempotency_keys) \
                      + (SELECT count(*) FROM audit_events) + (SELECT coalesce(sum(active_at), 0) FROM memberships) \
                      + (SELECT coalesce(sum(updated_at), 0) FROM memberships) + (SELECT coalesce(sum(updated_at), 0) FROM users) \
                      + (SELECT count(*) FROM presences) + (SELECT count(*) FROM tokens) AS bigint)";

/// Makes a read call of a front end, which must return 200. Returns the body.
async fn read(http: &Http, path: &str) -> Json {
    let answer = http.send("GET", path, None).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    assert!(!answer.headers.contains_key("parley-ignored"), "{path}: {:?}", answer.headers);
    answer.body
}

/// A field that a front end reads, as a JSON pointer, and a check of its value.
type Field = (&'static str, fn(&Json) -> bool);

/// Asserts that a body has these fields.
fn has(body: &Json, pointers: &[Field]) {
    for (pointer, is_right) in pointers {
        let found = body.pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {body}"));
        assert!(is_right(found), "{pointer} is {found}");
    }
}

/// The calls of a dashboard that shows its list of conversations and one conversation.
async fn dashboard(http: &Http, conversation: i64) {
    let account = read(http, ACCOUNT).await;
    has(
        &account,
        &[
            ("/id", Json::is_i64),
            ("/name", Json::is_string),
            ("/locale", |locale| locale == "en"),
            ("/status", |status| status == "active"),
            ("/created_at", Json::is_string),
            ("/features", Json::is_object),
            ("/settings", Json::is_object),
            ("/custom_attributes/onboarding_step", |step| step == "true"),
            ("/cache_keys/label", Json::is_string),
            ("/cache_keys/inbox", Json::is_string),
            ("/cache_keys/team", Json::is_string),
        ],
    );
    let keys = read(http, &format!("{ACCOUNT}/cache_keys")).await;
    assert_eq!(keys["cache_keys"], account["cache_keys"]);
    let lists: &[(&str, &[Field])] = &[
        ("agents", &[("/0/availability_status", Json::is_string)]),
        ("inboxes", &[("/payload/0/id", Json::is_i64)]),
        ("labels", &[("/payload", Json::is_array)]),
        ("teams", &[("", Json::is_array)]),
        ("conversations/meta", &[("/meta/all_count", Json::is_i64)]),
        (
            "conversations?status=open&assignee_type=me&page=1&sort_by=last_activity_at_desc",
            &[("/data/payload", Json::is_array)],
        ),
        ("custom_attribute_definitions", &[("", Json::is_array)]),
        ("canned_responses", &[("", Json::is_array)]),
        ("custom_filters?filter_type=conversation", &[("", Json::is_array)]),
        ("custom_filters?filter_type=contact", &[("", Json::is_array)]),
        ("dashboard_apps", &[("", Json::is_array)]),
        ("campaigns", &[("", Json::is_array)]),
        ("portals", &[("/payload", Json::is_array), ("/meta/portals_count", Json::is_i64)]),
        ("macros", &[("/payload", Json::is_array)]),
        ("sla_policies", &[("/payload", Json::is_array)]),
        ("automation_rules", &[("/payload", Json::is_array)]),
        ("webhooks", &[("/payload/webhooks", Json::is_array)]),
        ("custom_roles", &[("", Json::is_array)]),
        ("csat_survey_responses?page=1&sort=-created_at", &[("", Json::is_array)]),
        ("notification_settings", &[("/selected_email_flags", Json::is_array)]),
        ("notifications/unread_count", &[("", |count| count == 0)]),
        (
            "notifications?page=1&sort_order=desc&includes[]=read",
            &[("/data/payload", Json::is_array), ("/data/meta/unread_count", Json::is_i64)],
        ),
        // With an empty list, the page would repeat the request endlessly.
        (
            "integrations/apps",
            &[
                ("/payload/0/id", Json::is_string),
                ("/payload/0/enabled", |enabled| enabled == false),
            ],
        ),
    ];
    for (path, pointers) in lists {
        has(&read(http, &format!("{ACCOUNT}/{path}")).await, pointers);
    }
    for path in ["", "/messages", "/labels", "/participants", "/attachments"] {
        read(http, &format!("{ACCOUNT}/conversations/{conversation}{path}")).await;
    }
    read(http, &format!("{ACCOUNT}/assignable_agents?inbox_ids[]=1")).await;
}

/// The first calls of every front end, and what their responses must contain.
async fn sign_in(http: &Http) {
    let profile = read(http, "/api/v1/profile").await;
    has(
        &profile,
        &[
            ("/id", Json::is_i64),
            ("/account_id", |account| account == 1),
            ("/pubsub_token", Json::is_string),
            ("/ui_settings", Json::is_object),
            ("/accounts/0/role", Json::is_string),
            ("/accounts/0/availability", Json::is_string),
            ("/accounts/0/auto_offline", Json::is_boolean),
        ],
    );
    let account = json!({"profile": {"account_id": 1}});
    let set = http.send("PUT", "/api/v1/profile/set_active_account", Some(&account)).await;
    assert_eq!((set.status, &set.body["id"]), (200, &profile["id"]), "{}", set.body);
}

async fn conversation(fixture: &ApiFixture) -> i64 {
    let conversation = fixture.talk().await;
    fixture.hear(conversation, "hello").await;
    conversation
}

async fn dashboard_start_calls_succeed(backend: Backend) {
    let app = TestApp::start(backend).await;
    let (http, conversation) = (app.http(), conversation(&app.fixture()).await);
    sign_in(&http).await;
    dashboard(&http, conversation).await;
    // An idle page only reads, so nothing is written.
    let stored = Database::number(&app.database.url(), STORED).await;
    for _ in 0..3 {
        sign_in(&http).await;
        dashboard(&http, conversation).await;
    }
    assert_eq!(Database::number(&app.database.url(), STORED).await, stored, "a poll writes nothing");
    // The checksum does detect writes.
    http.post("/labels", &json!({"title": "vip"})).await;
    assert_ne!(Database::number(&app.database.url(), STORED).await, stored);
}

async fn mobile_app_start_calls_succeed(backend: Backend) {
    let app = TestApp::start(backend).await;
    let (http, conversation) = (app.http(), conversation(&app.fixture()).await);
    // Before sign-in, without a token.
    let installation = http.with_token("").send("GET", "/api", None).await;
    assert_eq!(installation.status, 200);
    let version = installation.body["version"].as_str().expect("a version");
    let numbers: Vec<u32> = version.split('.').map(|part| part.parse().expect("a number")).collect();
    assert_eq!(numbers.len(), 3, "{version} is a semantic version");
    assert!(numbers >= vec![4, 1, 0], "{version} is one that the app works with");
    sign_in(&http).await;
    for path in [
        "inboxes",
        "labels",
        "teams",
        "custom_attribute_definitions",
        "dashboard_apps",
        "macros",
        "notification_settings",
        "notifications?sort_order=desc&includes[]=snoozed&includes[]=read&page=1",
        "conversations?inbox_id=1&assignee_type=all&status=open&page=1&sort_by=latest",
        "assignable_agents?inbox_ids[]=1",
        "canned_responses",
    ] {
        let body = http.send("GET", &format!("{ACCOUNT}/{path}"), None).await;
        assert_eq!(body.status, 200, "{path}: {}", body.body);
    }
    let notifications = read(&http, &format!("{ACCOUNT}/notifications?page=2")).await;
    assert_eq!(
        notifications,
        json!({"data": {"meta": {"unread_count": 0, "count": 0, "current_page": "2"}, "payload": []}})
    );
    read(&http, &format!("{ACCOUNT}/conversations/{conversation}")).await;
}
