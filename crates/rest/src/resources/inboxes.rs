//! Inboxes. API channels are the only type.

use axum::response::Response;
use parley_proto::{self as pb, SenderNameType, inbox::Channel};
use prost_types::FieldMask;
use schemars::JsonSchema;
use serde_json::{Map, Value as Json, json};

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    json::{
        self,
        inbox::Inbox,
        values::{Id, Name, Payload, constant, one_key},
    },
    lists::rows,
    openapi::{Caller, RouteDescription, describe},
    params::{
        Params,
        attributes::{self, Attributes},
        declaration::{Nested, params},
        fields::ParamReader,
        uploads::ParamsWithFiles,
    },
};

pub fn routes() -> ApiRouter {
    const INBOXES: &str = "/api/v1/accounts/{account_id}/inboxes";
    const INBOX: &str = "/api/v1/accounts/{account_id}/inboxes/{inbox_id}";
    ApiRouter::new("Inboxes")
        .get(
            INBOXES,
            list,
            describe("listInboxes", "InboxesService.ListInboxes").returns::<Payload<Vec<Inbox>>>(),
        )
        .post(
            INBOXES,
            create,
            settings(describe("createInbox", "InboxesService.CreateInbox"))
                .caller(Caller::Administrator)
                .required_body::<NewChannel>("channel")
                .returns::<Inbox>(),
        )
        .get(INBOX, show, describe("showInbox", "InboxesService.GetInbox").returns::<Inbox>())
        .update(
            INBOX,
            update,
            settings(describe("updateInbox", "InboxesService.UpdateInbox"))
                .caller(Caller::Administrator)
                .body::<Nested<ChannelParams>>("channel")
                .body::<Vec<DayParams>>("working_hours")
                .returns::<Inbox>(),
        )
        .delete(
            INBOX,
            delete,
            describe("deleteInbox", "InboxesService.DeleteInbox")
                .caller(Caller::Administrator)
                .returns::<Deletion<&str>>(),
        )
}

/// Describes the settings that creating and updating have in common.
fn settings(description: RouteDescription) -> RouteDescription {
    description
        .body::<Option<String>>("avatar")
        .bodies::<Option<String>>(&["name", "greeting_message", "out_of_office_message", "business_name"])
        .bodies::<bool>(&[
            "greeting_enabled",
            "working_hours_enabled",
            "enable_email_collect",
            "csat_survey_enabled",
            "enable_auto_assignment",
            "allow_messages_after_resolved",
            "lock_to_single_conversation",
        ])
        .body::<String>("timezone")
        .body::<Option<Id>>("portal_id")
        .body::<Name<SenderNameType>>("sender_name_type")
        .body::<Attributes>("csat_config")
}

params! {
    /// The settings of an API channel.
    struct ChannelParams {
        webhook_url: Option<String>,
        hmac_mandatory: bool,
        attach_unverified_sessions: bool,
        additional_attributes: Attributes,
    }
}

constant!(ApiType, "api");

#[derive(JsonSchema)]
#[schemars(inline)]
#[allow(dead_code)] // the schema of what `Patch` reads
struct NewChannel {
    r#type: ApiType,
    #[schemars(flatten)]
    settings: Nested<ChannelParams>,
}

// A day in a request. Missing fields get the defaults of a new inbox.
#[derive(Default, JsonSchema)]
#[schemars(inline)]
#[allow(dead_code)] // the schema of what `day` reads
struct DayParams {
    day_of_week: i64,
    #[schemars(default)]
    closed_all_day: bool,
    #[schemars(default)]
    open_all_day: bool,
    open_hour: Option<i64>,
    open_minutes: Option<i64>,
    close_hour: Option<i64>,
    close_minutes: Option<i64>,
}

one_key!(Deletion { message });

async fn list(call: Call, params: Params) -> ApiResult {
    let account_id = params.fields().account();
    // Chatwoot does not paginate inboxes.
    rows::all_pages(
        |payload| Payload { payload },
        move |page_token| {
            let request = pb::ListInboxesRequest {
                account_id,
                page_token,
                ..Default::default()
            };
            let page = call.send(request);
            async move {
                let page = page.await?;
                Ok((page.inboxes.into_iter().map(Inbox::from).collect(), page.next_page_token))
            }
        },
    )
    .await
}

async fn show(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    read(&call, fields.account(), fields.path_id("inbox_id")).await
}

async fn read(call: &Call, account_id: i64, inbox_id: i64) -> ApiResult {
    let request = pb::GetInboxRequest { account_id, inbox_id };
    let found = call.send(request).await?;
    Ok(answer(found.inbox))
}

fn answer(inbox: Option<pb::Inbox>) -> Response {
    json::ok(&Inbox::from(inbox.unwrap_or_default()))
}

async fn create(call: Call, ParamsWithFiles(mut params): ParamsWithFiles) -> ApiResult {
    convert_null_texts(&mut params);
    let mut fields = params.fields();
    let account_id = fields.account();
    let mut patch = Patch::default();
    patch.settings(&mut fields);
    let inbox = patch.inbox;
    let inbox = pb::Inbox {
        // Enabled by default, as in Chatwoot.
        enable_auto_assignment: fields.flag("enable_auto_assignment").unwrap_or(true),
        enable_email_collect: fields.flag("enable_email_collect").unwrap_or(true),
        allow_messages_after_resolved: fields.flag("allow_messages_after_resolved").unwrap_or(true),
        // Drop a channel of another type: the service then reports that the channel is required.
        channel: inbox.channel.filter(|_| is_api(&params)),
        ..inbox
    };
    call.authorize_error(account_id, fields.finish()).await?;
    let request = pb::CreateInboxRequest {
        account_id,
        request_id: call.request_id(),
        inbox: Some(inbox),
        inbox_defaults: false,
    };
    let made = call.send(request).await?;
    Ok(answer(made.inbox))
}

fn is_api(params: &Params) -> bool {
    params
        .map
        .get("channel")
        .and_then(|channel| channel.get("type"))
        .is_some_and(|kind| kind == "api")
}

async fn update(call: Call, ParamsWithFiles(mut params): ParamsWithFiles) -> ApiResult {
    convert_null_texts(&mut params);
    let mut fields = params.fields();
    let (account_id, inbox_id) = (fields.account(), fields.path_id("inbox_id"));
    let mut patch = Patch::default();
    patch.settings(&mut fields);
    patch.inbox.csat_config = patch.inbox.csat_config.map(with_survey_defaults);
    patch.week(&mut fields);
    call.authorize_error(account_id, fields.finish()).await?;
    if patch.mask.is_empty() {
        return read(&call, account_id, inbox_id).await;
    }
    let request = pb::UpdateInboxRequest {
        account_id,
        request_id: call.request_id(),
        inbox: Some(pb::Inbox {
            id: inbox_id,
            ..patch.inbox
        }),
        update_mask: Some(FieldMask { paths: patch.mask }),
    };
    let changed = call.send(request).await?;
    Ok(answer(changed.inbox))
}

async fn delete(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let request = pb::DeleteInboxRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        inbox_id: fields.path_id("inbox_id"),
    };
    call.send(request).await?;
    Ok(json::ok(&Deletion {
        message: "Your inbox deletion request will be processed in some time.",
    }))
}

/// Converts the text `null` to null, which Chatwoot does for inboxes only.
fn convert_null_texts(params: &mut Params) {
    for value in params.map.values_mut() {
        if value == "null" {
            *value = Json::Null;
        }
    }
}

/// Sets a value of an inbox.
type Put<T> = fn(&mut pb::Inbox, T);

/// Values of an inbox, and the update mask paths of those that were sent.
#[derive(Default)]
struct Patch {
    inbox: pb::Inbox,
    mask: Vec<String>,
}

impl Patch {
    /// Sets a value if it was sent.
    fn take<T>(&mut self, path: &str, value: Option<T>, put: impl FnOnce(&mut pb::Inbox, T)) {
        if let Some(value) = value {
            put(&mut self.inbox, value);
            self.mask.push(path.to_owned());
        }
    }

    fn settings(&mut self, fields: &mut ParamReader<'_>) {
        // Null clears these.
        let texts: [(&str, Put<Option<String>>); 4] = [
            ("name", |inbox, it| inbox.name = it.unwrap_or_default()),
            ("greeting_message", |inbox, it| inbox.greeting_message = it),
            ("out_of_office_message", |inbox, it| inbox.out_of_office_message = it),
            ("business_name", |inbox, it| inbox.business_name = it),
        ];
        self.take("avatar_url", fields.avatar(), |inbox, it| inbox.avatar_url = it);
        for (key, put) in texts {
            let text = fields.text(key);
            self.take(key, fields.is_present(key).then_some(text), put);
        }
        let flags: [(&str, Put<bool>); 7] = [
            ("greeting_enabled", |inbox, it| inbox.greeting_enabled = it),
            ("working_hours_enabled", |inbox, it| inbox.working_hours_enabled = it),
            ("enable_email_collect", |inbox, it| inbox.enable_email_collect = it),
            ("csat_survey_enabled", |inbox, it| inbox.csat_survey_enabled = it),
            ("enable_auto_assignment", |inbox, it| inbox.enable_auto_assignment = it),
            ("allow_messages_after_resolved", |inbox, it| {
                inbox.allow_messages_after_resolved = it;
            }),
            ("lock_to_single_conversation", |inbox, it| inbox.lock_to_single_conversation = it),
        ];
        for (key, put) in flags {
            self.take(key, fields.flag(key), put);
        }
        self.take("timezone", fields.text("timezone"), |inbox, it| inbox.timezone = it);
        let portal_id = fields.is_present("portal_id").then(|| fields.id("portal_id"));
        self.take("portal_id", portal_id, |inbox, it| inbox.portal_id = it);
        let sender_name_type = fields.choice("sender_name_type");
        self.take("sender_name_type", sender_name_type, pb::Inbox::set_sender_name_type);
        let csat_config = fields.object("csat_config").filter(|config| !config.fields.is_empty());
        self.take("csat_config", csat_config, |inbox, it| inbox.csat_config = Some(it));
        self.channel(fields);
    }

    fn channel(&mut self, outer: &mut ParamReader<'_>) {
        let Some(mut fields) = outer.inside("channel") else {
            return;
        };
        let mut channel = pb::ApiChannel::default();
        if fields.is_present("webhook_url") {
            channel.webhook_url = fields.text("webhook_url");
            self.mask.push("api_channel.webhook_url".to_owned());
        }
        if let Some(mandatory) = fields.flag("hmac_mandatory") {
            channel.hmac_mandatory = mandatory;
            self.mask.push("api_channel.hmac_mandatory".to_owned());
        }
        if let Some(attach) = fields.flag("attach_unverified_sessions") {
            channel.attach_unverified_sessions = Some(attach);
            self.mask.push("api_channel.attach_unverified_sessions".to_owned());
        }
        if let Some(attributes) = fields.object("additional_attributes") {
            channel.additional_attributes = Some(attributes);
            self.mask.push("api_channel.additional_attributes".to_owned());
        }
        outer.join(fields);
        self.inbox.channel = Some(Channel::ApiChannel(channel));
    }

    /// Parses the days that were sent; the others are unchanged.
    fn week(&mut self, fields: &mut ParamReader<'_>) {
        let Some(Json::Array(days)) = fields.raw("working_hours") else {
            return;
        };
        self.inbox.working_hours = days.iter().filter_map(Json::as_object).map(day).collect();
        if !self.inbox.working_hours.is_empty() {
            self.mask.push("working_hours".to_owned());
        }
    }
}

fn day(day: &Map<String, Json>) -> pb::WorkingHours {
    let params = Params {
        map: day.clone(),
        ..Default::default()
    };
    let fields = params.fields();
    let number = |key| fields.integer(key).map(|number| i32::try_from(number).unwrap_or(-1));
    pb::WorkingHours {
        // The service rejects an invalid day.
        day_of_week: number("day_of_week").unwrap_or(-1),
        closed_all_day: fields.flag("closed_all_day").unwrap_or(false),
        open_all_day: fields.flag("open_all_day").unwrap_or(false),
        open_hour: number("open_hour"),
        open_minutes: number("open_minutes"),
        close_hour: number("close_hour"),
        close_minutes: number("close_minutes"),
    }
}

/// Completes the settings of the satisfaction survey with Chatwoot's defaults.
fn with_survey_defaults(mut config: prost_types::Struct) -> prost_types::Struct {
    for (key, value) in [
        ("display_type", json!("emoji")),
        ("message", json!("")),
        ("survey_rules", json!({ "operator": "contains", "values": [] })),
    ] {
        config.fields.entry(key.to_owned()).or_insert_with(|| attributes::to_value(&value));
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(json: Json) -> Patch {
        let Json::Object(map) = json else { panic!("an object") };
        let mut params = Params { map, ..Default::default() };
        convert_null_texts(&mut params);
        let mut fields = params.fields();
        let mut patch = Patch::default();
        patch.settings(&mut fields);
        patch.week(&mut fields);
        assert!(fields.finish().is_ok());
        patch
    }

    #[test]
    fn updates_only_sent_fields() {
        let patch = patch(json!({
            "name": "Shop", "greeting_message": "null", "greeting_enabled": "off", "csat_config": {"message": "How was it?"},
            "channel": {"webhook_url": null, "hmac_mandatory": true},
            "working_hours": [{"day_of_week": 1, "closed_all_day": false, "open_hour": 8, "open_minutes": "30", "close_hour": 17}],
        }));
        assert_eq!(
            patch.mask,
            [
                "name",
                "greeting_message",
                "greeting_enabled",
                "csat_config",
                "api_channel.webhook_url",
                "api_channel.hmac_mandatory",
                "working_hours",
            ]
        );
        assert_eq!((patch.inbox.greeting_message, patch.inbox.greeting_enabled), (None, false));
        assert_eq!(patch.inbox.working_hours[0].open_minutes, Some(30));
        assert_eq!(
            attributes::object(patch.inbox.csat_config.map(with_survey_defaults).as_ref()),
            json!({"display_type": "emoji", "message": "How was it?", "survey_rules": {"operator": "contains", "values": []}})
        );
    }
}
