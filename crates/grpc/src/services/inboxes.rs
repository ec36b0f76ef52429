//! Implements `InboxesService`, which manages inboxes and their members.

use std::sync::Arc;

use bytes::Bytes;
use parley_domain::{
    Domain,
    auth::caller::Caller,
    inboxes::{Inboxes, NewInbox, members::InboxMembers},
    joined::{Agent, Inbox},
    kind::SenderNameType,
    people::members::Edit,
    write::call::Call,
};
use parley_eventlog::conversion::{CredentialsShown, FromStored as _, ToProto, inbox_of};
use parley_proto::{self as pb, inboxes_service_server::InboxesService, rpc::WriteRequest};
use parley_types::{
    error::{Result, Rule},
    id::{AccountId, InboxId, UserId},
};
use prost::Message;
use prost_types::Struct;
use serde_json::{Map, Value as Json, json};
use tonic::{Request, Response, Status};

use super::{
    accounts::mask,
    request::{caller, idempotent_call, resource_call},
    response::{resource_response, to_response},
    truncation,
};
use crate::{
    status::OrStatus as _,
    validation::{
        fields::{SHORT_TEXT, Validator, required},
        page,
    },
};

/// Maximum length in characters of a greeting or a similar text.
const TEXT: usize = 10_000;

/// Maximum length of a URL in characters.
const URL: usize = 2048;

/// The fields that an update mask may contain. Fields of the channel are named by their full path.
const FIELDS: [&str; 22] = [
    "name",
    "avatar_url",
    "greeting_enabled",
    "greeting_message",
    "working_hours_enabled",
    "working_hours",
    "out_of_office_message",
    "timezone",
    "enable_email_collect",
    "csat_survey_enabled",
    "csat_config",
    "enable_auto_assignment",
    "auto_assignment_config",
    "allow_messages_after_resolved",
    "lock_to_single_conversation",
    "sender_name_type",
    "business_name",
    "portal_id",
    "api_channel.hmac_mandatory",
    "api_channel.attach_unverified_sessions",
    "api_channel.webhook_url",
    "api_channel.additional_attributes",
];

/// Implements `InboxesService`.
#[derive(Clone, Debug)]
pub struct InboxesApi {
    inboxes: Inboxes,
    members: InboxMembers,
}

impl InboxesApi {
    pub fn new(domain: &Domain) -> Self {
        Self {
            inboxes: domain.inboxes.clone(),
            members: domain.inbox_members.clone(),
        }
    }
}

#[tonic::async_trait]
impl InboxesService for InboxesApi {
    async fn create_inbox(&self, request: Request<pb::CreateInboxRequest>) -> Result<Response<pb::CreateInboxResponse>, Status> {
        let account = AccountId(request.get_ref().account_id);
        caller(&request).or_status()?.administer(account).or_status()?;
        let respond = |inbox: &Arc<Inbox>, cursor: Bytes| pb::CreateInboxResponse {
            inbox: Some(whole(inbox)),
            cursor,
        };
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, account, respond).or_status()?;
        let req = request.into_inner();
        let mut inbox = required("inbox", req.inbox).or_status()?;
        if req.inbox_defaults {
            inbox.enable_auto_assignment = true;
            inbox.enable_email_collect = true;
            inbox.allow_messages_after_resolved = true;
        }
        let mut new = NewInbox::named(&inbox.name);
        fields.within("inbox", |fields| {
            if inbox.channel.is_none() {
                fields.add_violation("channel", Rule::Required, "must be an api_channel");
            }
            for path in FIELDS {
                apply_field(fields, &mut new, &inbox, path);
            }
        });
        fields.finish().or_status()?;
        to_response(self.inboxes.create(call, new).await.or_status()?, respond)
    }

    async fn get_inbox(&self, request: Request<pb::GetInboxRequest>) -> Result<Response<pb::GetInboxResponse>, Status> {
        let caller = caller(&request).or_status()?;
        let req = request.get_ref();
        let account = AccountId(req.account_id);
        let inbox = self.inboxes.get(&caller, account, InboxId(req.inbox_id)).await.or_status()?;
        Ok(Response::new(pb::GetInboxResponse {
            inbox: Some(inbox_of(&inbox, reveal(&caller, account))),
        }))
    }

    async fn list_inboxes(&self, request: Request<pb::ListInboxesRequest>) -> Result<Response<pb::ListInboxesResponse>, Status> {
        let caller = caller(&request).or_status()?;
        let req = request.get_ref();
        let account = AccountId(req.account_id);
        let reveal = reveal(&caller, account);
        let mut fields = Validator::default();
        let page = page::requested(&mut fields, req, 1000);
        fields.finish().or_status()?;
        let found = self.inboxes.list(&caller, account, &page).await.or_status()?;
        Ok(page::response(req, &found, |inbox| inbox_of(inbox, reveal)))
    }

    async fn update_inbox(&self, request: Request<pb::UpdateInboxRequest>) -> Result<Response<pb::UpdateInboxResponse>, Status> {
        let account = AccountId(request.get_ref().account_id);
        caller(&request).or_status()?.write_access(account).or_status()?;
        let respond = |inbox: &Arc<Inbox>, cursor: Bytes| pb::UpdateInboxResponse {
            inbox: Some(whole(inbox)),
            cursor,
        };
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, account, respond).or_status()?;
        let req = request.into_inner();
        let inbox = required("inbox", req.inbox).or_status()?;
        let id = InboxId(inbox.id);
        self.inboxes.authorize_change(&call.caller, account, id).await.or_status()?;
        let paths = mask(&mut fields, req.update_mask);
        for path in paths.iter().filter(|path| !FIELDS.contains(&path.as_str())) {
            fields.unknown_path(path);
        }
        // `apply` runs twice: here to validate the request, and again during the write, on the current state of the inbox.
        let apply = move |fields: &mut Validator, new: &mut NewInbox| paths.iter().for_each(|path| apply_field(fields, new, &inbox, path));
        let mut given = NewInbox::named("");
        fields.within("inbox", |fields| apply(fields, &mut given));
        fields.finish().or_status()?;
        given.check_templates().await.or_status()?;
        to_response(
            self.inboxes
                .update(call, id, move |new| apply(&mut Validator::default(), new))
                .await
                .or_status()?,
            respond,
        )
    }

    async fn delete_inbox(&self, request: Request<pb::DeleteInboxRequest>) -> Result<Response<pb::DeleteInboxResponse>, Status> {
        let req = request.get_ref();
        let mut fields = Validator::default();
        let call = resource_call(&mut fields, &request).or_status()?;
        fields.finish().or_status()?;
        resource_response(self.inboxes.delete(call, InboxId(req.inbox_id)).await.or_status()?).or_status()
    }

    async fn list_inbox_members(
        &self,
        request: Request<pb::ListInboxMembersRequest>,
    ) -> Result<Response<pb::ListInboxMembersResponse>, Status> {
        let req = request.get_ref();
        let mut fields = Validator::default();
        let page = page::requested(&mut fields, req, 1000);
        fields.finish().or_status()?;
        let (account, inbox) = (AccountId(req.account_id), InboxId(req.inbox_id));
        let found = self
            .members
            .list(&*caller(&request).or_status()?, account, inbox, &page)
            .await
            .or_status()?;
        Ok(page::response(req, &found, pb::Agent::from_stored))
    }

    async fn set_inbox_members(
        &self,
        request: Request<pb::SetInboxMembersRequest>,
    ) -> Result<Response<pb::SetInboxMembersResponse>, Status> {
        let req = request.get_ref();
        let respond = |members: &Vec<Agent>, cursor: Bytes| pb::SetInboxMembersResponse {
            members: truncation::agents(members.iter().map(ToProto::to_proto)),
            cursor,
        };
        let (call, users) = members(&request, req.account_id, &req.user_ids, respond).or_status()?;
        let edited = self.members.edit(call, InboxId(req.inbox_id), Edit::Set, users);
        to_response(edited.await.or_status()?, respond)
    }

    async fn add_inbox_members(
        &self,
        request: Request<pb::AddInboxMembersRequest>,
    ) -> Result<Response<pb::AddInboxMembersResponse>, Status> {
        let req = request.get_ref();
        let respond = |members: &Vec<Agent>, cursor: Bytes| pb::AddInboxMembersResponse {
            members: truncation::agents(members.iter().map(ToProto::to_proto)),
            cursor,
        };
        let (call, users) = members(&request, req.account_id, &req.user_ids, respond).or_status()?;
        let edited = self.members.edit(call, InboxId(req.inbox_id), Edit::Add, users);
        to_response(edited.await.or_status()?, respond)
    }

    async fn remove_inbox_members(
        &self,
        request: Request<pb::RemoveInboxMembersRequest>,
    ) -> Result<Response<pb::RemoveInboxMembersResponse>, Status> {
        let req = request.get_ref();
        let respond = |members: &Vec<Agent>, cursor: Bytes| pb::RemoveInboxMembersResponse {
            members: truncation::agents(members.iter().map(ToProto::to_proto)),
            cursor,
        };
        let (call, users) = members(&request, req.account_id, &req.user_ids, respond).or_status()?;
        let edited = self.members.edit(call, InboxId(req.inbox_id), Edit::Remove, users);
        to_response(edited.await.or_status()?, respond)
    }

    async fn list_assignable_agents(
        &self,
        request: Request<pb::ListAssignableAgentsRequest>,
    ) -> Result<Response<pb::ListAssignableAgentsResponse>, Status> {
        let req = request.get_ref();
        let (caller, account) = (caller(&request).or_status()?, AccountId(req.account_id));
        caller.access(account).or_status()?;
        let mut fields = Validator::default();
        fields.count("inbox_ids", req.inbox_ids.len(), 100);
        let page = page::requested(&mut fields, req, 1000);
        fields.finish().or_status()?;
        let inboxes = req.inbox_ids.iter().copied().map(InboxId).collect();
        let found = self.members.list_assignable(&caller, account, &inboxes, &page).await.or_status()?;
        Ok(page::response(req, &found, pb::Agent::from_stored))
    }
}

/// Validates a request to change an inbox's members. Returns the `Call` for the change, and the ids of the users that the request names.
fn members<R: WriteRequest, M: Message + 'static>(
    request: &Request<R>,
    account: i64,
    user_ids: &[i64],
    respond: fn(&Vec<Agent>, Bytes) -> M,
) -> Result<(Call<Vec<Agent>>, Vec<UserId>)> {
    let account = AccountId(account);
    caller(request)?.write_access(account)?;
    let mut fields = Validator::default();
    let call = idempotent_call(&mut fields, request, account, respond)?;
    fields.count("user_ids", user_ids.len(), 1000);
    fields.finish()?;
    Ok((call, user_ids.iter().copied().map(UserId).collect()))
}

fn whole(inbox: &Inbox) -> pb::Inbox {
    inbox_of(inbox, CredentialsShown::Everything)
}

fn reveal(caller: &Caller, account: AccountId) -> CredentialsShown {
    if caller.sees_secrets(account) {
        CredentialsShown::Everything
    } else {
        CredentialsShown::Identifier
    }
}

/// Validates one field of the request and copies it into the new inbox.
fn apply_field(fields: &mut Validator, new: &mut NewInbox, inbox: &pb::Inbox, path: &str) {
    let channel = match &inbox.channel {
        Some(pb::inbox::Channel::ApiChannel(channel)) => channel.clone(),
        None => pb::ApiChannel::default(),
    };
    match path {
        "name" => {
            fields.required_name(path, &inbox.name, SHORT_TEXT);
            new.name.clone_from(&inbox.name);
        }
        "avatar_url" => {
            fields.avatar(path, &inbox.avatar_url, URL);
            new.avatar_url.clone_from(&inbox.avatar_url);
        }
        "greeting_enabled" => new.greeting_enabled = inbox.greeting_enabled,
        "greeting_message" => new.greeting_message = text(fields, path, inbox.greeting_message.as_ref(), TEXT),
        "working_hours_enabled" => new.working_hours_enabled = inbox.working_hours_enabled,
        "working_hours" => working_hours(fields, &mut new.working_hours, &inbox.working_hours),
        "out_of_office_message" => new.out_of_office_message = text(fields, path, inbox.out_of_office_message.as_ref(), TEXT),
        "timezone" => new.timezone = timezone(fields, path, &inbox.timezone),
        "enable_email_collect" => new.enable_email_collect = inbox.enable_email_collect,
        "csat_survey_enabled" => new.csat_survey_enabled = inbox.csat_survey_enabled,
        "csat_config" => new.csat_config = object(fields, path, inbox.csat_config.as_ref()),
        "enable_auto_assignment" => new.enable_auto_assignment = inbox.enable_auto_assignment,
        "auto_assignment_config" => new.auto_assignment_config = object(fields, path, inbox.auto_assignment_config.as_ref()),
        "allow_messages_after_resolved" => new.allow_messages_after_resolved = inbox.allow_messages_after_resolved,
        "lock_to_single_conversation" => new.lock_to_single_conversation = inbox.lock_to_single_conversation,
        "sender_name_type" => {
            let named = fields
                .kind::<pb::SenderNameType>(path, inbox.sender_name_type)
                .and_then(pb::SenderNameType::to_row);
            new.sender_name_type = named.unwrap_or(SenderNameType::Friendly);
        }
        "business_name" => new.business_name = text(fields, path, inbox.business_name.as_ref(), SHORT_TEXT),
        "portal_id" => new.portal_id = inbox.portal_id,
        "api_channel.hmac_mandatory" => new.hmac_mandatory = channel.hmac_mandatory,
        "api_channel.attach_unverified_sessions" => new.attach_unverified_sessions = channel.attach_unverified_sessions.unwrap_or(true),
        "api_channel.webhook_url" => new.webhook_url = text(fields, path, channel.webhook_url.as_ref(), URL),
        "api_channel.additional_attributes" => {
            new.channel_attributes = object(fields, path, channel.additional_attributes.as_ref());
            reply_window(fields, &new.channel_attributes);
        }
        _ => {}
    }
}

fn text(fields: &mut Validator, path: &str, text: Option<&String>, limit: usize) -> Option<String> {
    let text = text?;
    fields.text(path, text, limit);
    Some(text.clone())
}

fn object(fields: &mut Validator, path: &str, object: Option<&Struct>) -> Json {
    Json::Object(fields.attribute_update(path, object))
}

fn timezone(fields: &mut Validator, path: &str, name: &str) -> String {
    if name.is_empty() {
        return "UTC".to_owned();
    }
    if name.parse::<chrono_tz::Tz>().is_err() {
        fields.add_violation(path, Rule::Unknown, "must be an IANA name such as Europe/Lisbon");
    }
    name.to_owned()
}

/// Validates the reply window, a number of hours. A form sends the number as text.
fn reply_window(fields: &mut Validator, attributes: &Json) {
    let window = match attributes.get("agent_reply_time_window") {
        None | Some(Json::Null) => return,
        Some(Json::String(text)) if text.trim().is_empty() => return,
        Some(Json::String(text)) => text.trim().parse().ok(),
        Some(window) => window.as_i64(),
    };
    if window.is_none_or(|hours: i64| hours <= 0) {
        let path = "api_channel.additional_attributes.agent_reply_time_window";
        fields.add_violation(path, Rule::OutOfRange(1), "must be a whole number of hours above 0");
    }
}

/// Replaces the days that the request contains; the other days are unchanged.
fn working_hours(fields: &mut Validator, week: &mut Json, days: &[pb::WorkingHours]) {
    let Json::Array(week) = week else { return };
    for day in days {
        let Some(entry) = usize::try_from(day.day_of_week).ok().and_then(|day| week.get_mut(day)) else {
            fields.add_violation("working_hours.day_of_week", Rule::OutOfRange(6), "must be between 0 (Sunday) and 6");
            continue;
        };
        *entry = Json::Object(day_to_json(fields, day));
    }
}

fn day_to_json(fields: &mut Validator, day: &pb::WorkingHours) -> Map<String, Json> {
    let mut object = Map::new();
    object.insert("day_of_week".to_owned(), json!(day.day_of_week));
    object.insert("closed_all_day".to_owned(), json!(day.closed_all_day));
    object.insert("open_all_day".to_owned(), json!(day.open_all_day));
    let times = [
        ("open_hour", day.open_hour, 23, 0),
        ("open_minutes", day.open_minutes, 59, 0),
        ("close_hour", day.close_hour, 23, 23),
        ("close_minutes", day.close_minutes, 59, 59),
    ];
    for (key, given, limit, all_day) in times {
        let given = if day.open_all_day {
            Some(all_day)
        } else {
            given.filter(|_| !day.closed_all_day)
        };
        let path = format!("working_hours.{key}");
        match given {
            Some(number) if !(0..=limit).contains(&number) => {
                fields.add_violation(&path, Rule::OutOfRange(limit.into()), format!("must be between 0 and {limit}"));
            }
            None if !day.closed_all_day => {
                fields.add_violation(&path, Rule::Required, "must be given unless closed_all_day or open_all_day");
            }
            _ => {}
        }
        object.insert(key.to_owned(), json!(given));
    }
    object
}
