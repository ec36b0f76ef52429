//! Features of Chatwoot that Parley does not have, for front ends that load them on startup: empty lists, so that their pages work, and one
//! disabled integration. Nothing can be created, so there are no other routes under these paths.
//!
//! The responses are the same for all members. The services are called only to check access to the account.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    json::{
        self,
        json_type::json_type,
        values::{Any, Id, List, Payload, constant, one_key},
    },
    openapi::{RouteDescription, describe},
    params::{Params, declaration::choice},
};

const ACCOUNT: &str = "/api/v1/accounts/{account_id}";

/// A list that is always empty.
type Nothing = Vec<Any>;

constant!(Zero, 0);
choice!(FilterType, ["conversation", "contact", "report"]);

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct Portals {
    payload: Nothing,
    meta: PortalMeta,
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct PortalMeta {
    portals_count: Zero,
    current_page: Any,
}

one_key!(Webhooks { webhooks });

one_key!(Notifications { data });

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct NotificationMeta {
    unread_count: Zero,
    count: Zero,
    current_page: Any,
}

json_type! {
    #[schemars(inline)]
    struct NotificationSettings(account: i64) {
        id: () = (),
        user_id: () = (),
        account_id: Id = account.into(),
        all_email_flags: Vec<String> = Vec::new(),
        selected_email_flags: Vec<String> = Vec::new(),
        all_push_flags: Vec<String> = Vec::new(),
        selected_push_flags: Vec<String> = Vec::new(),
    }
}

json_type! {
    /// An integration, which is off.
    struct Integration(text: &'static str) {
        /// Name of the integration.
        id: &'static str = "webhook",
        /// Name that is shown.
        name: &'static str = "Webhooks",
        /// What there is in its place.
        description: &'static str = text,
        /// The same in short.
        short_description: &'static str = text,
        /// Always false.
        enabled: bool = false,
        /// Always null.
        action: () = (),
        /// Always null.
        button: () = (),
        /// What the integration belongs to.
        hook_type: &'static str = "account",
        /// Always false.
        allow_multiple_hooks: bool = false,
        /// Always empty.
        hooks: Nothing = Vec::new(),
    }
}

/// Describes a route that reads without calling a gRPC method.
fn empty(operation: &'static str) -> RouteDescription {
    describe(operation, "")
}

pub fn routes() -> ApiRouter {
    let at = |path: &str| format!("{ACCOUNT}/{path}");
    let bare = |operation| empty(operation).returns::<Nothing>();
    let wrapped = |operation| empty(operation).returns::<Payload<Nothing>>();
    ApiRouter::new("Absent features")
        .get(
            &at("custom_filters"),
            bare_list,
            bare("listCustomFilters").query::<FilterType>("filter_type"),
        )
        .get(&at("dashboard_apps"), bare_list, bare("listDashboardApps"))
        .get(&at("campaigns"), bare_list, bare("listCampaigns"))
        .get(&at("custom_roles"), bare_list, bare("listCustomRoles"))
        .get(
            &at("csat_survey_responses"),
            bare_list,
            bare("listSurveyResponses")
                .query::<i64>("page")
                .query::<String>("sort")
                .query::<String>("since")
                .query::<String>("until")
                .query::<Vec<String>>("user_ids")
                .query::<String>("inbox_id")
                .query::<String>("team_id")
                .query::<String>("rating"),
        )
        .get(&at("macros"), wrapped_list, wrapped("listMacros"))
        .get(&at("sla_policies"), wrapped_list, wrapped("listSlaPolicies"))
        .get(&at("automation_rules"), wrapped_list, wrapped("listAutomationRules"))
        .get(
            &at("portals"),
            portals,
            empty("listPortals").query::<i64>("page").returns::<Portals>(),
        )
        .get(
            &at("webhooks"),
            webhooks,
            empty("listWebhooks").returns::<Payload<Webhooks<Nothing>>>(),
        )
        .get(&at("integrations/apps"), integrations, {
            empty("listIntegrations").returns::<Payload<Vec<Integration>>>()
        })
        .merge(notifications())
}

/// The routes of notifications.
fn notifications() -> ApiRouter {
    let at = |path: &str| format!("{ACCOUNT}/{path}");
    ApiRouter::new("Absent features")
        .get(
            &at("notifications"),
            list_notifications,
            empty("listNotifications")
                .query::<i64>("page")
                .query::<String>("sort_order")
                .query::<String>("status")
                .query::<String>("type")
                .query::<Vec<String>>("includes")
                .returns::<Notifications<List<NotificationMeta, Nothing>>>(),
        )
        .get(
            &at("notifications/unread_count"),
            unread_count,
            empty("countUnreadNotifications").returns::<Zero>(),
        )
        .get(
            &at("notification_settings"),
            notification_settings,
            empty("showNotificationSettings").returns::<NotificationSettings>(),
        )
}

/// The page number as it was sent.
fn current(params: &Params) -> Any {
    Any(params.fields().raw("page").cloned().unwrap_or(1.into()))
}

async fn answer<T: Serialize>(call: &Call, params: &Params, body: T) -> ApiResult {
    call.authorize(params.fields().account()).await?;
    Ok(json::ok(&body))
}

async fn bare_list(call: Call, params: Params) -> ApiResult {
    answer(&call, &params, Nothing::new()).await
}

async fn wrapped_list(call: Call, params: Params) -> ApiResult {
    let payload = Nothing::new();
    answer(&call, &params, Payload { payload }).await
}

async fn portals(call: Call, params: Params) -> ApiResult {
    let meta = PortalMeta {
        portals_count: Zero,
        current_page: current(&params),
    };
    let payload = Nothing::new();
    answer(&call, &params, Portals { payload, meta }).await
}

async fn webhooks(call: Call, params: Params) -> ApiResult {
    let payload = Webhooks { webhooks: Nothing::new() };
    answer(&call, &params, Payload { payload }).await
}

/// The only integration, disabled. Front ends that find it show its page, whose list of webhooks is empty.
async fn integrations(call: Call, params: Params) -> ApiResult {
    let text = "Parley calls no URLs. Services follow its stream of events over gRPC or Server-Sent Events.";
    let payload = [Integration::from(text)];
    answer(&call, &params, Payload { payload }).await
}

async fn list_notifications(call: Call, params: Params) -> ApiResult {
    let meta = NotificationMeta {
        unread_count: Zero,
        count: Zero,
        current_page: current(&params),
    };
    let payload = Nothing::new();
    let data = List { meta, payload };
    answer(&call, &params, Notifications { data }).await
}

async fn unread_count(call: Call, params: Params) -> ApiResult {
    answer(&call, &params, Zero).await
}

async fn notification_settings(call: Call, params: Params) -> ApiResult {
    let account_id = params.fields().account();
    answer(&call, &params, NotificationSettings::from(account_id)).await
}
