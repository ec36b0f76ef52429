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
    openapi::{Caller, describe},
    params::{
        Params,
        attributes::{self, Attributes},
        declaration::Nested,
        declaration::params,
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
            describe("createInbox", "InboxesService.CreateInbox")
                .caller(Caller::Administrator)
                .params::<InboxParams>()
                .required_body::<NewChannel>("channel")
                .returns::<Inbox>(),
        )
        .get(INBOX, show, describe("showInbox", "InboxesService.GetInbox").returns::<Inbox>())
        .update(
            INBOX,
            update,
            describe("updateInbox", "InboxesService.UpdateInbox")
                .caller(Caller::Administrator)
                .params::<InboxParams>()
                .params::<ChannelParam>()
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

params! {
    /// The settings that creating and updating have in common. Null clears the texts.
    struct InboxParams {
        avatar: Option<String> as Option<String> = ParamReader::avatar,
        name: Option<String> as Option<Option<String>> = ParamReader::nullable_text,
        greeting_message: Option<String> as Option<Option<String>> = ParamReader::nullable_text,
        out_of_office_message: Option<String> as Option<Option<String>> = ParamReader::nullable_text,
        business_name: Option<String> as Option<Option<String>> = ParamReader::nullable_text,
        greeting_enabled: bool,
        working_hours_enabled: bool,
        enable_email_collect: bool,
        csat_survey_enabled: bool,
        enable_auto_assignment: bool,
        allow_messages_after_resolved: bool,
        lock_to_single_conversation: bool,
        timezone: String,
        portal_id: Option<Id>,
        sender_name_type: Name<SenderNameType>,
        csat_config: Attributes,
    }
    struct ChannelParam { channel: Nested<ChannelParams> }
    /// The settings of an API channel.
    struct ChannelParams {
        webhook_url: Option<String> as Option<Option<String>> = ParamReader::nullable_text,
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
    let request = pb::ListInboxesRequest {
        account_id,
        ..Default::default()
    };
    rows::all_rows(call, request, |payload| Payload { payload }, Inbox::from).await
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
    // Enabled by default, as in Chatwoot.
    patch.inbox.enable_auto_assignment = true;
    patch.inbox.enable_email_collect = true;
    patch.inbox.allow_messages_after_resolved = true;
    patch.settings(&mut fields);
    // Drop a channel of another type: the service then reports that the channel is required.
    patch.inbox.channel.take_if(|_| !is_api(&params));
    call.authorize_error(account_id, fields.finish()).await?;
    let request = pb::CreateInboxRequest {
        account_id,
        request_id: call.request_id(),
        inbox: Some(patch.inbox),
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

/// Values of an inbox, and the update mask paths of those that were sent.
#[derive(Default)]
struct Patch {
    inbox: pb::Inbox,
    mask: Vec<String>,
}

impl Patch {
    fn settings(&mut self, fields: &mut ParamReader<'_>) {
        let sent = fields.read::<InboxParams>();
        let portal_id = fields.is_present("portal_id").then_some(sent.portal_id);
        let csat_config = sent.csat_config.filter(|config| !config.fields.is_empty());
        macro_rules! take {
            ($($field:ident: $value:expr),* $(,)?) => {$(
                if let Some(value) = $value {
                    self.inbox.$field = value;
                    self.mask.push(stringify!($field).to_owned());
                }
            )*};
        }
        take!(
            avatar_url: sent.avatar,
            name: sent.name.map(Option::unwrap_or_default),
            greeting_message: sent.greeting_message,
            out_of_office_message: sent.out_of_office_message,
            business_name: sent.business_name,
            greeting_enabled: sent.greeting_enabled,
            working_hours_enabled: sent.working_hours_enabled,
            enable_email_collect: sent.enable_email_collect,
            csat_survey_enabled: sent.csat_survey_enabled,
            enable_auto_assignment: sent.enable_auto_assignment,
            allow_messages_after_resolved: sent.allow_messages_after_resolved,
            lock_to_single_conversation: sent.lock_to_single_conversation,
            timezone: sent.timezone,
            portal_id: portal_id,
            sender_name_type: sent.sender_name_type.map(i32::from),
            csat_config: csat_config.map(Some),
        );
        if let Some(channel) = fields.read::<ChannelParam>().channel {
            self.channel(channel);
        }
    }

    fn channel(&mut self, sent: ChannelParams) {
        let paths = [
            ("webhook_url", sent.webhook_url.is_some()),
            ("hmac_mandatory", sent.hmac_mandatory.is_some()),
            ("attach_unverified_sessions", sent.attach_unverified_sessions.is_some()),
            ("additional_attributes", sent.additional_attributes.is_some()),
        ];
        let paths = paths.iter().filter(|(_, is_sent)| *is_sent);
        self.mask.extend(paths.map(|(name, _)| format!("api_channel.{name}")));
        self.inbox.channel = Some(Channel::ApiChannel(pb::ApiChannel {
            webhook_url: sent.webhook_url.flatten(),
            hmac_mandatory: sent.hmac_mandatory.unwrap_or_default(),
            attach_unverified_sessions: sent.attach_unverified_sessions,
            additional_attributes: sent.additional_attributes,
            ..Default::default()
        }));
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
