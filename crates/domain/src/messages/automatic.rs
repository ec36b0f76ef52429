//! Automatic messages: the greeting, the out-of-office message and the satisfaction survey. Each is stored in the same write as the message
//! or status change that triggers it.
//!
//! The greeting depends on whether an agent has replied and whether an automatic message has been sent. The conversation row stores the
//! time of the last reply and of the last automatic message, so no earlier messages have to be read.

use chrono::{DateTime, Datelike, NaiveDate, Timelike};
use chrono_tz::Tz;
use parley_storage::{
    entity::{
        conversation, inbox,
        kind::{ContentType, MessageType},
        message,
    },
    joined::Conversation,
};
use parley_types::{error::Result, time::Micros};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect};
use serde_json::{Value as Json, json};

use crate::{
    messages::{
        append,
        liquid::{self, dry_run::render_texts},
        new_message::NewMessage,
    },
    write::{Write, WriteSet},
};

/// An agent who replied within this time counts as available, even outside of the working hours.
const LATELY: std::time::Duration = std::time::Duration::from_mins(5);

/// The message text for a satisfaction survey if the inbox does not configure one, as in Chatwoot.
const SURVEY: &str = "Please rate the conversation";

/// Returns whether the inbox's automatic reply to an incoming message (greeting or out-of-office message) might contain Liquid tags.
pub fn has_template(inbox: &inbox::Model) -> bool {
    let is_template = |on: bool, text: &Option<String>| on && text.as_deref().is_some_and(liquid::is_template);
    is_template(inbox.greeting_enabled, &inbox.greeting_message) || is_template(inbox.working_hours_enabled, &inbox.out_of_office_message)
}

/// Adds the automatic reply to an incoming message: the out-of-office message if it applies, otherwise the greeting. Blocked contacts
/// receive neither.
pub fn answer(set: &mut WriteSet, conversation: &mut Conversation) {
    let inbox = &conversation.inbox.row;
    if !inbox.working_hours_enabled && !inbox.greeting_enabled || conversation.contact.row.blocked {
        return;
    }
    let text = out_of_office(inbox, &conversation.row, set.at).or_else(|| greeting(inbox, &conversation.row));
    if let Some(text) = text.map(str::to_owned) {
        append::add_template(set, conversation, template(text, ContentType::Text, json!({})));
    }
}

fn greeting<'i>(inbox: &'i inbox::Model, conversation: &conversation::Model) -> Option<&'i str> {
    let first = conversation.last_reply_at.is_none() && conversation.last_template_at.is_none();
    let text = inbox.greeting_message.as_deref().filter(|text| !text.trim().is_empty());
    text.filter(|_| inbox.greeting_enabled && first)
}

fn out_of_office<'i>(inbox: &'i inbox::Model, conversation: &conversation::Model, at: Micros) -> Option<&'i str> {
    let text = inbox.out_of_office_message.as_deref().filter(|text| !text.trim().is_empty())?;
    let there = conversation.last_reply_at.is_some_and(|replied| replied > at.minus(LATELY));
    let sent_at = conversation
        .last_template_at
        .is_some_and(|sent_at| day(&inbox.timezone, sent_at) == day(&inbox.timezone, at));
    let closed = inbox.working_hours_enabled && closed(&inbox.working_hours, &inbox.timezone, at);
    (closed && !there && !sent_at).then_some(text)
}

fn template(content: String, content_type: ContentType, content_attributes: Json) -> NewMessage {
    NewMessage {
        content_type,
        content_attributes,
        ..NewMessage::text(MessageType::Template, content)
    }
}

fn local(timezone: &str, at: Micros) -> DateTime<Tz> {
    let zone = timezone.parse().unwrap_or(Tz::UTC);
    DateTime::from_timestamp_micros(at.0).unwrap_or_default().with_timezone(&zone)
}

fn day(timezone: &str, at: Micros) -> NaiveDate {
    local(timezone, at).date_naive()
}

/// Returns whether a time is outside of the working hours. `week` has one entry per day, starting with Sunday, in the inbox's time zone.
/// The closing time itself still counts as open.
fn closed(week: &Json, timezone: &str, at: Micros) -> bool {
    let now = local(timezone, at);
    let Some(day) = week.get(now.weekday().num_days_from_sunday() as usize) else {
        return false;
    };
    let flag = |key: &str| day.get(key).and_then(Json::as_bool).unwrap_or(false);
    if flag("closed_all_day") || flag("open_all_day") {
        return flag("closed_all_day");
    }
    let number = |key: &str| day.get(key).and_then(Json::as_u64).unwrap_or(0);
    let seconds = |hour: &str, minutes: &str| (number(hour) * 60 + number(minutes)) * 60;
    let now = u64::from(now.num_seconds_from_midnight());
    !(seconds("open_hour", "open_minutes")..=seconds("close_hour", "close_minutes")).contains(&now)
}

/// Adds the satisfaction survey to a conversation that was resolved, at most once per conversation.
///
/// # Errors
/// [`Error::Database`](parley_types::error::Error::Database) or [`Error::Unavailable`](parley_types::error::Error::Unavailable) if the
/// query fails.
pub async fn survey(write: &mut Write, conversation: &mut Conversation) -> Result<()> {
    let inbox = &conversation.inbox.row;
    if !inbox.csat_survey_enabled || !wanted(&inbox.csat_config, &conversation.labels) {
        return Ok(());
    }
    let asked = message::Entity::find()
        .select_only()
        .column(message::Column::Id)
        .filter(message::Column::AccountId.eq(conversation.row.account_id))
        .filter(message::Column::ConversationId.eq(conversation.row.id))
        .filter(message::Column::ContentType.eq(ContentType::InputCsat))
        .limit(1)
        .into_tuple::<i64>()
        .one(&write.txn)
        .await?;
    if asked.is_some() {
        return Ok(());
    }
    let setting = |key: &str| {
        let text = inbox.csat_config.get(key).and_then(Json::as_str);
        text.filter(|text| !text.trim().is_empty())
    };
    let attributes = json!({ "display_type": setting("display_type").unwrap_or("emoji") });
    let text = setting("message").unwrap_or(SURVEY).to_owned();
    let survey = template(text, ContentType::InputCsat, attributes);
    if survey.is_template() {
        render_texts(write, |set| {
            append::add_template(set, &mut conversation.clone(), survey.clone());
        })
        .await;
    }
    append::add_template(&mut write.set, conversation, survey);
    Ok(())
}

/// Returns whether the inbox's label rule allows a survey for a conversation with these labels. A rule that names no labels always allows
/// it.
fn wanted(config: &Json, labels: &[String]) -> bool {
    let rule = config.get("survey_rules");
    let named = rule.and_then(|rule| rule.get("values")).and_then(Json::as_array);
    let Some(named) = named.filter(|named| !named.is_empty()) else {
        return true;
    };
    let any = named
        .iter()
        .filter_map(Json::as_str)
        .any(|name| labels.iter().any(|label| label == name));
    let without = rule.and_then(|rule| rule.get("operator")).and_then(Json::as_str) == Some("does_not_contain");
    any != without
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Micros {
        Micros(DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros())
    }

    fn week() -> Json {
        let day = json!({"closed_all_day": false, "open_all_day": false, "open_hour": 2, "open_minutes": 30, "close_hour": 17, "close_minutes": 0});
        let mut week = vec![day; 7];
        week[1] = json!({"closed_all_day": true});
        week[2] = json!({"open_all_day": true, "closed_all_day": false});
        Json::Array(week)
    }

    #[test]
    fn business_hours_follow_local_time() {
        let week = week();
        let cases = [
            // Sunday, clocks go forward in Berlin: 02:00 becomes 03:00, so the opening time 02:30 does not exist, and 01:59 is before it.
            ("2026-03-29T00:59:59Z", "Europe/Berlin", true),
            ("2026-03-29T01:00:00Z", "Europe/Berlin", false),
            // Sunday, clocks go back: 02:30 occurs twice, and the office is open after both.
            ("2026-10-25T00:30:00Z", "Europe/Berlin", false),
            ("2026-10-25T01:29:59Z", "Europe/Berlin", true),
            ("2026-10-25T01:30:00Z", "Europe/Berlin", false),
            // The closing time itself.
            ("2026-10-25T16:00:00Z", "Europe/Berlin", false),
            ("2026-10-25T16:00:01Z", "Europe/Berlin", true),
            // Monday is closed and Tuesday is open; the time zone decides which day it is.
            ("2026-11-23T12:00:00Z", "UTC", true),
            ("2026-11-23T23:30:00Z", "Asia/Kolkata", false),
            ("2026-11-24T03:00:00Z", "America/New_York", true),
            // An unknown time zone counts as UTC.
            ("2026-11-23T12:00:00Z", "Mars/Olympus", true),
        ];
        for (time, zone, expected) in cases {
            assert_eq!(closed(&week, zone, at(time)), expected, "{time} in {zone}");
        }
        assert!(!closed(&json!([]), "UTC", at("2026-11-23T12:00:00Z")));
    }

    #[test]
    fn survey_rules_match_labels() {
        let labels = ["vip".to_owned()];
        let rule = |operator: &str, value: &str| json!({"survey_rules": {"operator": operator, "values": [value]}});
        assert!(wanted(&json!({}), &labels));
        assert!(wanted(&json!({"survey_rules": {"operator": "contains", "values": []}}), &labels));
        assert!(wanted(&rule("contains", "vip"), &labels));
        assert!(!wanted(&rule("contains", "lead"), &labels));
        assert!(!wanted(&rule("does_not_contain", "vip"), &labels));
        assert!(wanted(&rule("does_not_contain", "lead"), &labels));
    }
}
