//! Features of Chatwoot that Parley does not have, for front ends that load them on startup: empty lists, so that their pages work, and one
//! disabled integration. Nothing can be created, so there are no other routes under these paths.
//!
//! The responses are the same for all members. The services are called only to check access to the account.

use serde_json::{Value as Json, json};

use crate::{
    Answer,
    call::Call,
    door::Door,
    json,
    openapi::{
        About, about,
        schema::{Schema, anything, choice, flag, id, integer, list, null, object, only, text, within},
    },
    params::Params,
};

const ACCOUNT: &str = "/api/v1/accounts/{account_id}";

/// The schema of a list that is always empty.
fn none() -> Schema {
    list(anything()).note("Always empty.")
}

/// Describes a route that reads without calling a gRPC method.
fn empty(operation: &'static str) -> About {
    about(operation, "")
}

pub fn routes() -> Door {
    let at = |path: &str| format!("{ACCOUNT}/{path}");
    let bare = |operation| empty(operation).answers(none());
    let wrapped = |operation| empty(operation).answers(within("payload", none()));
    let kinds = choice(&["conversation", "contact", "report"]);
    Door::new("Absent features")
        .get(
            &at("custom_filters"),
            bare_list,
            bare("listCustomFilters").query("filter_type", kinds),
        )
        .get(&at("dashboard_apps"), bare_list, bare("listDashboardApps"))
        .get(&at("campaigns"), bare_list, bare("listCampaigns"))
        .get(&at("custom_roles"), bare_list, bare("listCustomRoles"))
        .get(
            &at("csat_survey_responses"),
            bare_list,
            bare("listSurveyResponses")
                .query("page", integer())
                .query("sort", text())
                .query("since", text())
                .query("until", text())
                .query("user_ids", list(text()))
                .query("inbox_id", text())
                .query("team_id", text())
                .query("rating", text()),
        )
        .get(&at("macros"), wrapped_list, wrapped("listMacros"))
        .get(&at("sla_policies"), wrapped_list, wrapped("listSlaPolicies"))
        .get(&at("automation_rules"), wrapped_list, wrapped("listAutomationRules"))
        .get(
            &at("portals"),
            portals,
            empty("listPortals")
                .query("page", integer())
                .answers(page(within("payload", none()), "portals_count")),
        )
        .get(
            &at("webhooks"),
            webhooks,
            empty("listWebhooks").answers(within("payload", within("webhooks", none()))),
        )
        .get(&at("integrations/apps"), integrations, {
            empty("listIntegrations").answers(within("payload", list(app_schema())))
        })
        .merge(notifications())
}

/// The routes of notifications.
fn notifications() -> Door {
    let at = |path: &str| format!("{ACCOUNT}/{path}");
    let flags = list(text()).note("Always empty.");
    Door::new("Absent features")
        .get(
            &at("notifications"),
            list_notifications,
            empty("listNotifications")
                .query("page", integer())
                .query("sort_order", text())
                .query("status", text())
                .query("type", text())
                .query("includes", list(text()))
                .answers(within(
                    "data",
                    object().key("payload", none()).key(
                        "meta",
                        object()
                            .keys(&["unread_count", "count"], &only(0))
                            .key("current_page", anything().note("As it was sent.")),
                    ),
                )),
        )
        .get(
            &at("notifications/unread_count"),
            unread_count,
            empty("countUnreadNotifications").answers(only(0)),
        )
        .get(
            &at("notification_settings"),
            notification_settings,
            empty("showNotificationSettings").answers(object().key("account_id", id()).keys(&["id", "user_id"], &null()).keys(
                &["all_email_flags", "selected_email_flags", "all_push_flags", "selected_push_flags"],
                &flags,
            )),
        )
}

/// The schema of a list with its page number.
fn page(list: Schema, count: &'static str) -> Schema {
    list.key(
        "meta",
        object().key(count, only(0)).key("current_page", anything().note("As it was sent.")),
    )
}

/// The page number as sent by the client; 1 if absent.
fn current(params: &Params) -> Json {
    params.fields().raw("page").cloned().unwrap_or(json!(1))
}

/// Responds to members of the account, and rejects all other callers.
async fn answer(call: &Call, params: &Params, body: impl FnOnce() -> Json) -> Answer {
    call.enter(params.fields().account()).await?;
    Ok(json::ok(&body()))
}

async fn bare_list(call: Call, params: Params) -> Answer {
    answer(&call, &params, || json!([])).await
}

async fn wrapped_list(call: Call, params: Params) -> Answer {
    answer(&call, &params, || json!({ "payload": [] })).await
}

async fn portals(call: Call, params: Params) -> Answer {
    answer(
        &call,
        &params,
        || json!({ "payload": [], "meta": { "current_page": current(&params), "portals_count": 0 } }),
    )
    .await
}

async fn webhooks(call: Call, params: Params) -> Answer {
    answer(&call, &params, || json!({ "payload": { "webhooks": [] } })).await
}

/// The only integration, which is disabled.
fn app() -> Json {
    let text = "Parley calls no URLs. Services follow its stream of events over gRPC or Server-Sent Events.";
    json!({
        "id": "webhook",
        "name": "Webhooks",
        "description": text,
        "short_description": text,
        "enabled": false,
        "action": null,
        "button": null,
        "hook_type": "account",
        "allow_multiple_hooks": false,
        "hooks": [],
    })
}

/// The schema of [`app`].
fn app_schema() -> Schema {
    object()
        .keys(&["id", "name", "description", "short_description", "hook_type"], &text())
        .keys(&["enabled", "allow_multiple_hooks"], &flag())
        .keys(&["action", "button"], &null())
        .key("hooks", none())
        .named("Integration")
}

async fn integrations(call: Call, params: Params) -> Answer {
    answer(&call, &params, || json!({ "payload": [app()] })).await
}

async fn list_notifications(call: Call, params: Params) -> Answer {
    answer(&call, &params, || {
        let meta = json!({ "unread_count": 0, "count": 0, "current_page": current(&params) });
        json!({ "data": { "meta": meta, "payload": [] } })
    })
    .await
}

async fn unread_count(call: Call, params: Params) -> Answer {
    answer(&call, &params, || json!(0)).await
}

async fn notification_settings(call: Call, params: Params) -> Answer {
    let account_id = params.fields().account();
    answer(&call, &params, || {
        json!({
            "id": null,
            "user_id": null,
            "account_id": account_id,
            "all_email_flags": [],
            "selected_email_flags": [],
            "all_push_flags": [],
            "selected_push_flags": [],
        })
    })
    .await
}
