//! The JSON representation of inboxes in four formats: full, slim, as part of a contact session, and the raw record.

use parley_proto::{self as pb, SenderNameType, inbox::Channel};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    json_type::json_type,
    values::{Id, Name, Named, constant},
};
use crate::params::{attributes::Attributes, timestamps::Iso};

constant!(pub ChannelType, "Channel::Api");

impl Named for SenderNameType {
    const NAMES: &'static [(&'static str, Self)] = &[("friendly", Self::Friendly), ("professional", Self::Professional)];
}

// Keys of an inbox that are always null here, because only channels other than the API channel use them.
#[derive(Default, Serialize, JsonSchema)]
#[schemars(inline)]
struct OtherChannels {
    allowed_domains: (),
    callback_webhook_url: (),
    messaging_service_sid: (),
    phone_number: (),
    provider: (),
    reply_time: (),
    selected_feature_flags: (),
    web_widget_script: (),
    website_token: (),
    website_url: (),
    welcome_tagline: (),
    welcome_title: (),
    widget_color: (),
}

json_type! {
    // Fields that the full format and the raw record have in common.
    #[schemars(inline)]
    struct Settings(inbox: pb::Inbox, channel_id: i64) {
        id: Id = inbox.id.into(),
        channel_id: Id = channel_id.into(),
        channel_type: ChannelType = ChannelType,
        greeting_enabled: bool = inbox.greeting_enabled,
        working_hours_enabled: bool = inbox.working_hours_enabled,
        enable_email_collect: bool = inbox.enable_email_collect,
        csat_survey_enabled: bool = inbox.csat_survey_enabled,
        enable_auto_assignment: bool = inbox.enable_auto_assignment,
        allow_messages_after_resolved: bool = inbox.allow_messages_after_resolved,
        lock_to_single_conversation: bool = inbox.lock_to_single_conversation,
        sender_name_type: Name<SenderNameType> = Name(inbox.sender_name_type()),
        name: String = inbox.name,
        greeting_message: Option<String> = inbox.greeting_message,
        csat_config: Attributes = inbox.csat_config.into(),
        /// Settings for automatic assignment.
        auto_assignment_config: Attributes = inbox.auto_assignment_config.into(),
        out_of_office_message: Option<String> = inbox.out_of_office_message,
        timezone: String = inbox.timezone,
        business_name: Option<String> = inbox.business_name,
    }
}

/// Takes the API channel out of an inbox. Returns an empty channel if the inbox has none.
fn take_channel(inbox: &mut pb::Inbox) -> pb::ApiChannel {
    match inbox.channel.take() {
        Some(Channel::ApiChannel(channel)) => channel,
        None => pb::ApiChannel::default(),
    }
}

json_type! {
    /// An inbox with an API channel. Keys of other channels are null.
    pub struct Inbox(mut inbox: pb::Inbox) with {
        let channel = take_channel(&mut inbox);
        let truncated_fields = [&inbox.truncated_fields[..], &channel.truncated_fields[..]].concat();
    } {
        avatar_url: String = std::mem::take(&mut inbox.avatar_url),
        working_hours: Vec<WorkingHours> = week(&inbox.working_hours),
        #[serde(flatten)]
        settings: Settings = Settings::new(inbox, channel.id),
        #[serde(flatten)]
        other_channels: OtherChannels = OtherChannels::default(),
        hmac_mandatory: bool = channel.hmac_mandatory,
        attach_unverified_sessions: bool = channel.attach_unverified_sessions.unwrap_or(true),
        webhook_url: Option<String> = channel.webhook_url,
        #[schemars(required)]
        inbox_identifier: Option<String> = channel.identifier,
        /// Settings of the API channel, such as `agent_reply_time_window` in hours.
        additional_attributes: Attributes = channel.additional_attributes.into(),
        #[serde(skip_serializing_if = "Option::is_none")] #[schemars(required)]
        hmac_token: Option<String> = channel.hmac_token,
    }
    truncated_fields = truncated_fields;
}

json_type! {
    // The fields of an inbox's working hours on one day.
    #[schemars(inline)]
    pub struct Day(day: pb::WorkingHours) {
        day_of_week: i64 = day.day_of_week.into(),
        closed_all_day: bool = day.closed_all_day,
        open_all_day: bool = day.open_all_day,
        open_hour: Option<i64> = day.open_hour.map(i64::from),
        open_minutes: Option<i64> = day.open_minutes.map(i64::from),
        close_hour: Option<i64> = day.close_hour.map(i64::from),
        close_minutes: Option<i64> = day.close_minutes.map(i64::from),
    }
}

json_type! {
    /// Working hours of an inbox on one day of the week.
    struct WorkingHours(hours: pb::WorkingHours) {
        #[serde(flatten)]
        day: Day = hours.into(),
    }
}

/// Returns the working hours of all seven days, starting on Sunday. A day that is missing from `hours` has the default hours of a new
/// inbox.
fn week(hours: &[pb::WorkingHours]) -> Vec<WorkingHours> {
    let known = |day| hours.iter().find(|hours| hours.day_of_week == day).copied();
    (0..7).map(|day| known(day).unwrap_or_else(|| default_day(day)).into()).collect()
}

/// Returns the default working hours of a day: closed on weekends, otherwise 9:00 to 17:00.
fn default_day(day_of_week: i32) -> pb::WorkingHours {
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

json_type! {
    /// An inbox with its most important keys.
    pub struct SlimInbox(inbox: pb::InboxSummary) {
        id: Id = inbox.id.into(),
        avatar_url: String = inbox.avatar_url,
        channel_id: Id = inbox.channel_id.into(),
        name: String = inbox.name,
        channel_type: ChannelType = ChannelType,
        provider: () = (),
    }
}

json_type! {
    /// An inbox with the keys that it has as part of a contact session.
    // The keys are Chatwoot's slim keys plus the thirteen keys in its help article. The keys that are always null apply only to website
    // widgets.
    pub struct SessionInbox(mut inbox: pb::InboxSummary) {
        website_url: () = (),
        widget_color: () = (),
        website_token: () = (),
        web_widget_script: () = (),
        welcome_title: () = (),
        welcome_tagline: () = (),
        enable_auto_assignment: bool = inbox.enable_auto_assignment,
        greeting_enabled: bool = inbox.greeting_enabled,
        greeting_message: Option<String> = inbox.greeting_message.take(),
        #[serde(flatten)]
        inbox: SlimInbox = inbox.into(),
    }
}

json_type! {
    /// The raw record of an inbox, with times in ISO 8601.
    pub struct InboxRecord(mut inbox: pb::Inbox) with {
        let channel_id = take_channel(&mut inbox).id;
        let truncated_fields = std::mem::take(&mut inbox.truncated_fields);
    } {
        account_id: Id = inbox.account_id.into(),
        created_at: Option<Iso> = Iso::optional(inbox.created_at),
        updated_at: Option<Iso> = Iso::optional(inbox.updated_at),
        email_address: () = (),
        portal_id: Option<Id> = inbox.portal_id.map(Id),
        #[serde(flatten)]
        settings: Settings = Settings::new(inbox, channel_id),
    }
    truncated_fields = truncated_fields;
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::json::test_json::{keys, to_json};

    #[test]
    fn full_inbox_has_the_contract_keys() {
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
        let json = to_json(&Inbox::from(row(api.clone())));
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
        assert_eq!(to_json(&Inbox::from(row(api)))["hmac_token"], "h4Vd");
    }

    #[test]
    fn missing_days_have_default_working_hours() {
        let changed = pb::WorkingHours {
            day_of_week: 1,
            open_all_day: true,
            open_hour: Some(0),
            ..Default::default()
        };
        let week: Vec<Json> = week(&[changed]).iter().map(to_json).collect();
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
