//! The JSON of inboxes in four formats: full, slim, as part of a contact session, and the raw record.

use parley_proto::{self as pb, SenderNameType, inbox::Channel};
use serde_json::{Value as Json, json};

use super::truncated;
use crate::{
    openapi::schema::{self, Schema, attributes, choice, flag, id, integer, list, null, only, text},
    params::{attributes::object, timestamps::iso},
};

const CHANNEL_TYPE: &str = "Channel::Api";

/// Keys of an inbox that are null because only other channels have them.
const OF_OTHER_CHANNELS: [&str; 12] = [
    "allowed_domains",
    "widget_color",
    "website_url",
    "welcome_title",
    "welcome_tagline",
    "web_widget_script",
    "website_token",
    "selected_feature_flags",
    "reply_time",
    "messaging_service_sid",
    "phone_number",
    "provider",
];

/// Keys of a session's inbox that are null because only website widgets have them.
const OF_THE_WIDGET: [&str; 6] = [
    "website_url",
    "widget_color",
    "website_token",
    "web_widget_script",
    "welcome_title",
    "welcome_tagline",
];

fn sender_name_type_schema() -> Schema {
    choice(&["friendly", "professional"])
}

fn channel(inbox: &pb::Inbox) -> pb::ApiChannel {
    match &inbox.channel {
        Some(Channel::ApiChannel(channel)) => channel.clone(),
        None => pb::ApiChannel::default(),
    }
}

fn sender_name_type(inbox: &pb::Inbox) -> &'static str {
    match inbox.sender_name_type() {
        SenderNameType::Professional => "professional",
        SenderNameType::Friendly | SenderNameType::Unspecified => "friendly",
    }
}

/// An inbox as the inbox endpoints return it. `hmac_token` is present if the caller may see it.
pub fn inbox(inbox: &pb::Inbox) -> Json {
    let channel = channel(inbox);
    let mut json = json!({
        "id": inbox.id,
        "avatar_url": inbox.avatar_url,
        "channel_id": channel.id,
        "name": inbox.name,
        "channel_type": CHANNEL_TYPE,
        "greeting_enabled": inbox.greeting_enabled,
        "greeting_message": inbox.greeting_message,
        "working_hours_enabled": inbox.working_hours_enabled,
        "enable_email_collect": inbox.enable_email_collect,
        "csat_survey_enabled": inbox.csat_survey_enabled,
        "csat_config": object(inbox.csat_config.as_ref()),
        "enable_auto_assignment": inbox.enable_auto_assignment,
        "auto_assignment_config": object(inbox.auto_assignment_config.as_ref()),
        "out_of_office_message": inbox.out_of_office_message,
        "working_hours": week(&inbox.working_hours),
        "timezone": inbox.timezone,
        "callback_webhook_url": null,
        "allow_messages_after_resolved": inbox.allow_messages_after_resolved,
        "lock_to_single_conversation": inbox.lock_to_single_conversation,
        "sender_name_type": sender_name_type(inbox),
        "business_name": inbox.business_name,
        "hmac_mandatory": channel.hmac_mandatory,
        "attach_unverified_sessions": channel.attach_unverified_sessions.unwrap_or(true),
        "webhook_url": channel.webhook_url,
        "inbox_identifier": channel.identifier,
        "additional_attributes": object(channel.additional_attributes.as_ref()),
    });
    for key in OF_OTHER_CHANNELS {
        json[key] = Json::Null;
    }
    if let Some(token) = &channel.hmac_token {
        json["hmac_token"] = json!(token);
    }
    truncated::mark(&mut json, &[&inbox.truncated_fields[..], &channel.truncated_fields[..]].concat());
    json
}

/// The schema of [`inbox`].
pub fn schema() -> Schema {
    truncated::marked(schema::object())
        .keys(&["id", "channel_id"], &id())
        .keys(&["avatar_url", "name", "timezone", "inbox_identifier"], &text())
        .key("channel_type", only(CHANNEL_TYPE))
        .keys(
            &[
                "greeting_enabled",
                "working_hours_enabled",
                "enable_email_collect",
                "csat_survey_enabled",
                "enable_auto_assignment",
                "allow_messages_after_resolved",
                "lock_to_single_conversation",
                "hmac_mandatory",
                "attach_unverified_sessions",
            ],
            &flag(),
        )
        .keys(
            &["greeting_message", "out_of_office_message", "business_name", "webhook_url"],
            &text().or_null(),
        )
        .keys(&["csat_config", "auto_assignment_config", "additional_attributes"], &attributes())
        .key("working_hours", list(day_schema().named("WorkingHours")))
        .key("callback_webhook_url", null())
        .key("sender_name_type", sender_name_type_schema())
        .keys(&OF_OTHER_CHANNELS, &null())
        .optional("hmac_token", text().note("For those who may know it."))
        .named("Inbox")
}

/// The schema of one day.
pub fn day_schema() -> Schema {
    schema::object()
        .key("day_of_week", integer().note("0 is Sunday."))
        .keys(&["closed_all_day", "open_all_day"], &flag())
        .keys(&["open_hour", "open_minutes", "close_hour", "close_minutes"], &integer().or_null())
}

/// The seven days, starting on Sunday. A missing day has the default hours of a new inbox.
fn week(hours: &[pb::WorkingHours]) -> Vec<Json> {
    (0..7)
        .map(|day| {
            let day = hours
                .iter()
                .find(|hours| hours.day_of_week == day)
                .copied()
                .unwrap_or_else(|| ordinary(day));
            json!({
                "day_of_week": day.day_of_week,
                "closed_all_day": day.closed_all_day,
                "open_hour": day.open_hour,
                "open_minutes": day.open_minutes,
                "close_hour": day.close_hour,
                "close_minutes": day.close_minutes,
                "open_all_day": day.open_all_day,
            })
        })
        .collect()
}

/// The default hours: closed on weekends, otherwise 9 to 17.
fn ordinary(day_of_week: i32) -> pb::WorkingHours {
    let closed = matches!(day_of_week, 0 | 6);
    let at = |number| (!closed).then_some(number);
    pb::WorkingHours {
        day_of_week,
        closed_all_day: closed,
        open_all_day: false,
        open_hour: at(9),
        open_minutes: at(0),
        close_hour: at(17),
        close_minutes: at(0),
    }
}

/// The subset of keys with which other objects refer to an inbox.
pub fn slim(inbox: &pb::InboxSummary) -> Json {
    json!({
        "id": inbox.id,
        "avatar_url": inbox.avatar_url,
        "channel_id": inbox.channel_id,
        "name": inbox.name,
        "channel_type": CHANNEL_TYPE,
        "provider": null,
    })
}

/// The schema of [`slim`].
pub fn slim_schema() -> Schema {
    schema::object()
        .keys(&["id", "channel_id"], &id())
        .keys(&["avatar_url", "name"], &text())
        .key("channel_type", only(CHANNEL_TYPE))
        .key("provider", null())
        .named("SlimInbox")
}

/// The inbox of a contact session: Chatwoot's slim keys together with the thirteen keys of its help article.
pub fn of_session(inbox: &pb::InboxSummary) -> Json {
    let mut json = slim(inbox);
    for key in OF_THE_WIDGET {
        json[key] = Json::Null;
    }
    json["enable_auto_assignment"] = json!(inbox.enable_auto_assignment);
    json["greeting_enabled"] = json!(inbox.greeting_enabled);
    json["greeting_message"] = json!(inbox.greeting_message);
    json
}

/// The schema of [`of_session`].
pub fn of_session_schema() -> Schema {
    slim_schema()
        .keys(&OF_THE_WIDGET, &null())
        .keys(&["enable_auto_assignment", "greeting_enabled"], &flag())
        .key("greeting_message", text().or_null())
        .named("SessionInbox")
}

/// The raw record, as returned by the creation of a contact.
pub fn raw(inbox: &pb::Inbox) -> Json {
    let mut json = json!({
        "id": inbox.id,
        "channel_id": channel(inbox).id,
        "account_id": inbox.account_id,
        "name": inbox.name,
        "created_at": iso(inbox.created_at.as_ref()),
        "updated_at": iso(inbox.updated_at.as_ref()),
        "channel_type": CHANNEL_TYPE,
        "enable_auto_assignment": inbox.enable_auto_assignment,
        "greeting_enabled": inbox.greeting_enabled,
        "greeting_message": inbox.greeting_message,
        "email_address": null,
        "working_hours_enabled": inbox.working_hours_enabled,
        "out_of_office_message": inbox.out_of_office_message,
        "timezone": inbox.timezone,
        "enable_email_collect": inbox.enable_email_collect,
        "csat_survey_enabled": inbox.csat_survey_enabled,
        "allow_messages_after_resolved": inbox.allow_messages_after_resolved,
        "auto_assignment_config": object(inbox.auto_assignment_config.as_ref()),
        "lock_to_single_conversation": inbox.lock_to_single_conversation,
        "portal_id": inbox.portal_id,
        "sender_name_type": sender_name_type(inbox),
        "business_name": inbox.business_name,
        "csat_config": object(inbox.csat_config.as_ref()),
    });
    truncated::mark(&mut json, &inbox.truncated_fields);
    json
}

/// The schema of [`raw`].
pub fn raw_schema() -> Schema {
    truncated::marked(schema::object())
        .keys(&["id", "channel_id", "account_id"], &id())
        .keys(&["name", "timezone"], &text())
        .keys(&["created_at", "updated_at"], &schema::iso().or_null())
        .key("channel_type", only(CHANNEL_TYPE))
        .keys(
            &[
                "enable_auto_assignment",
                "greeting_enabled",
                "working_hours_enabled",
                "enable_email_collect",
                "csat_survey_enabled",
                "allow_messages_after_resolved",
                "lock_to_single_conversation",
            ],
            &flag(),
        )
        .keys(&["greeting_message", "out_of_office_message", "business_name"], &text().or_null())
        .key("email_address", null())
        .keys(&["auto_assignment_config", "csat_config"], &attributes())
        .key("portal_id", id().or_null())
        .key("sender_name_type", sender_name_type_schema())
        .named("InboxRecord")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::agent::keys;

    #[test]
    fn the_full_form_has_the_keys_of_the_contract() {
        let mut api = pb::ApiChannel {
            id: 5,
            identifier: Some("u8Zk".to_owned()),
            ..Default::default()
        };
        let row = |channel| pb::Inbox {
            id: 9,
            timezone: "UTC".to_owned(),
            channel: Some(Channel::ApiChannel(channel)),
            ..Default::default()
        };
        let json = inbox(&row(api.clone()));
        let mut expected = vec![
            "id",
            "avatar_url",
            "channel_id",
            "name",
            "channel_type",
            "greeting_enabled",
            "greeting_message",
            "working_hours_enabled",
            "enable_email_collect",
            "csat_survey_enabled",
            "csat_config",
            "enable_auto_assignment",
            "auto_assignment_config",
            "out_of_office_message",
            "working_hours",
            "timezone",
            "callback_webhook_url",
            "allow_messages_after_resolved",
            "lock_to_single_conversation",
            "sender_name_type",
            "business_name",
            "allowed_domains",
            "widget_color",
            "website_url",
            "hmac_mandatory",
            "attach_unverified_sessions",
            "welcome_title",
            "welcome_tagline",
            "web_widget_script",
            "website_token",
            "selected_feature_flags",
            "reply_time",
            "messaging_service_sid",
            "phone_number",
            "webhook_url",
            "inbox_identifier",
            "additional_attributes",
            "provider",
        ];
        expected.sort_unstable();
        assert_eq!(keys(&json), expected);
        api.hmac_token = Some("h4Vd".to_owned());
        assert_eq!(inbox(&row(api))["hmac_token"], "h4Vd");
    }

    #[test]
    fn a_week_has_seven_days() {
        let changed = pb::WorkingHours {
            day_of_week: 1,
            open_all_day: true,
            open_hour: Some(0),
            ..Default::default()
        };
        let week = week(&[changed]);
        assert_eq!(week.len(), 7);
        assert_eq!(week[0]["closed_all_day"], true);
        assert_eq!(week[0]["open_hour"], Json::Null);
        assert_eq!((&week[1]["open_all_day"], &week[1]["open_hour"]), (&json!(true), &json!(0)));
        assert_eq!(
            week[2],
            json!({"day_of_week": 2, "closed_all_day": false, "open_hour": 9, "open_minutes": 0, "close_hour": 17, "close_minutes": 0, "open_all_day": false})
        );
    }
}
