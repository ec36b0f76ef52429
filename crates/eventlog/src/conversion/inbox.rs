//! Conversion of inboxes, with the credentials that the receiver may see.

use parley_proto::{
    self as pb, inbox,
    value::{AttributeMaps, timestamp},
};
use parley_storage::joined;
use serde_json::Value as Json;

use super::FromStored;

/// Which credentials are included when an inbox is converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialsShown {
    /// No credentials, as in events.
    Nothing,
    /// The public identifier, for agents.
    Identifier,
    /// The public identifier and the key that signs contact identifiers, for administrators.
    Everything,
}

/// Converts an inbox, with the credentials that `reveal` allows.
pub fn inbox_of(inbox: &joined::Inbox, reveal: CredentialsShown) -> pb::Inbox {
    let (row, channel) = (&inbox.row, &inbox.channel);
    let days = row.working_hours.as_array().map(Vec::as_slice).unwrap_or_default();
    let (mut maps, mut of_channel) = (AttributeMaps::default(), AttributeMaps::default());
    pb::Inbox {
        id: row.id.0,
        account_id: row.account_id.0,
        name: row.name.clone(),
        avatar_url: row.avatar_url.clone(),
        greeting_enabled: row.greeting_enabled,
        greeting_message: row.greeting_message.clone(),
        working_hours_enabled: row.working_hours_enabled,
        working_hours: days.iter().map(working_hours).collect(),
        out_of_office_message: row.out_of_office_message.clone(),
        timezone: row.timezone.clone(),
        enable_email_collect: row.enable_email_collect,
        csat_survey_enabled: row.csat_survey_enabled,
        csat_config: maps.structure("csat_config", &row.csat_config),
        enable_auto_assignment: row.enable_auto_assignment,
        auto_assignment_config: maps.structure("auto_assignment_config", &row.auto_assignment_config),
        allow_messages_after_resolved: row.allow_messages_after_resolved,
        lock_to_single_conversation: row.lock_to_single_conversation,
        sender_name_type: pb::SenderNameType::from(row.sender_name_type).into(),
        business_name: row.business_name.clone(),
        portal_id: row.portal_id,
        agent_bot_id: row.agent_bot_id.map(i64::from),
        agent_bot_active: row.agent_bot_active,
        channel: Some(inbox::Channel::ApiChannel(pb::ApiChannel {
            id: channel.id.0,
            identifier: (reveal != CredentialsShown::Nothing).then(|| channel.identifier.clone()),
            hmac_token: (reveal == CredentialsShown::Everything).then(|| channel.hmac_token.clone()),
            hmac_mandatory: channel.hmac_mandatory,
            attach_unverified_sessions: Some(channel.attach_unverified_sessions),
            webhook_url: channel.webhook_url.clone(),
            additional_attributes: of_channel.structure("additional_attributes", &channel.additional_attributes),
            truncated_fields: of_channel.truncated(),
        })),
        created_at: Some(timestamp(row.created_at)),
        updated_at: Some(timestamp(row.updated_at)),
        version: row.version.to_wire(),
        truncated_fields: maps.truncated(),
    }
}

fn working_hours(day: &Json) -> pb::WorkingHours {
    let number = |key: &str| day.get(key).and_then(Json::as_i64).and_then(|n| i32::try_from(n).ok());
    let flag = |key: &str| day.get(key).and_then(Json::as_bool).unwrap_or_default();
    pb::WorkingHours {
        day_of_week: number("day_of_week").unwrap_or_default(),
        closed_all_day: flag("closed_all_day"),
        open_all_day: flag("open_all_day"),
        open_hour: number("open_hour"),
        open_minutes: number("open_minutes"),
        close_hour: number("close_hour"),
        close_minutes: number("close_minutes"),
    }
}

impl FromStored<&joined::Inbox> for pb::InboxSummary {
    fn from_stored(inbox: &joined::Inbox) -> Self {
        let row = &inbox.row;
        Self {
            id: row.id.0,
            name: row.name.clone(),
            avatar_url: row.avatar_url.clone(),
            channel_id: row.channel_id.0,
            greeting_enabled: row.greeting_enabled,
            greeting_message: row.greeting_message.clone(),
            enable_auto_assignment: row.enable_auto_assignment,
        }
    }
}
