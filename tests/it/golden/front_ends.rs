//! What front ends call first: the account, cache keys, the caller's own profile, and lists that are always empty.

use serde_json::{Value as Json, json};

use super::{
    application::{ACCOUNT, begin},
    sharing::each,
};
use crate::support::{database::Backend, on_both};

on_both!(
    account_exchanges_match_the_snapshot,
    own_profile_exchanges_match_the_snapshot,
    absent_features_match_the_snapshot
);

async fn account_exchanges_match_the_snapshot(backend: Backend) {
    let (_app, mut golden) = begin(backend).await;
    let keys = format!("{ACCOUNT}/cache_keys");
    let change = json!({"name": "Okafor & Daughters", "locale": "de", "domain": "okafor.example", "support_email": null});
    each(
        &mut golden,
        &[
            ("GET", ACCOUNT.to_owned(), Json::Null),
            ("PATCH", ACCOUNT.to_owned(), change),
            ("GET", keys, Json::Null),
        ],
    )
    .await;
    for body in [
        json!({"name": " ", "locale": "no such language"}),
        json!({"auto_resolve_after": 40, "industry": "tools"}),
        json!({"name": "Okafor", "status": "suspended"}),
    ] {
        golden.exchange("PATCH", ACCOUNT, body).await;
    }
    golden.exchange("GET", "/api/v1/accounts/99", Json::Null).await;
    golden.exchange("GET", "/api/v1/accounts/99/cache_keys", Json::Null).await;
    golden.end("account");
}

async fn own_profile_exchanges_match_the_snapshot(backend: Backend) {
    let (_app, mut golden) = begin(backend).await;
    let profile = "/api/v1/profile".to_owned();
    let at = |path: &str| format!("{profile}/{path}");
    let of = |body: Json| json!({ "profile": body });
    let settings = json!({"is_contact_sidebar_open": true});
    each(
        &mut golden,
        &[
            (
                "PATCH",
                profile.clone(),
                of(json!({"name": "Mina O.", "display_name": "Mina", "message_signature": "Regards", "ui_settings": settings})),
            ),
            ("POST", at("availability"), of(json!({"account_id": 1, "availability": "busy"}))),
            ("POST", at("auto_offline"), of(json!({"account_id": 1, "auto_offline": false}))),
            ("PATCH", at("set_active_account"), of(json!({"account_id": 1}))),
        ],
    )
    .await;
    for (method, path, body) in [
        (
            "PATCH",
            profile.clone(),
            of(json!({"email": "else@example.org", "password": "Secret-1"})),
        ),
        ("PATCH", profile.clone(), of(json!({"name": ""}))),
        ("PATCH", profile.clone(), json!({})),
        ("POST", at("availability"), of(json!({"account_id": 1, "availability": "away"}))),
        ("POST", at("availability"), of(json!({"availability": "busy"}))),
        ("POST", at("auto_offline"), of(json!({"account_id": 99, "auto_offline": true}))),
        ("PATCH", at("set_active_account"), of(json!({"account_id": 99}))),
    ] {
        golden.exchange(method, &path, body).await;
    }
    golden.end("own_profile");
}

async fn absent_features_match_the_snapshot(backend: Backend) {
    let (_app, mut golden) = begin(backend).await;
    let lists = [
        "custom_filters?filter_type=conversation",
        "dashboard_apps",
        "campaigns",
        "custom_roles",
        "csat_survey_responses",
        "macros",
        "sla_policies",
        "automation_rules",
        "portals",
        "webhooks",
        "integrations/apps",
        "notifications?page=2",
        "notifications/unread_count",
        "notification_settings",
    ];
    let reads: Vec<_> = lists.iter().map(|path| ("GET", format!("{ACCOUNT}/{path}"), Json::Null)).collect();
    each(&mut golden, &reads).await;
    golden.exchange("GET", "/api/v1/accounts/99/macros", Json::Null).await;
    golden
        .exchange("POST", &format!("{ACCOUNT}/webhooks"), json!({"url": "https://example.org"}))
        .await;
    golden.exchange("POST", &format!("{ACCOUNT}/macros"), json!({"name": "x"})).await;
    golden.end("absent_features");
}
