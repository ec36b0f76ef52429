//! Changes to a conversation: status, priority, assignee, labels, attributes and read state.

use parley_proto::{self as pb, ConversationPriority};
use serde_json::{Value as Json, json};

use crate::{
    Answer,
    call::Call,
    door::Door,
    errors::Failure,
    json::{
        self,
        conversation::{PRIORITIES, STATUSES},
    },
    openapi::{
        about,
        schema::{Schema, attributes, choice, flag, id, iso, list, names, object, text, unix, within},
    },
    params::{Params, fields::Fields, timestamps},
    resources::conversation_response,
};

/// The routes of changes, except the update, which shares a path with reading the conversation and is registered in `conversations`.
pub fn routes() -> Door {
    const CONVERSATION: &str = "/api/v1/accounts/{account_id}/conversations/{conversation_id}";
    let one = |path: &str| format!("{CONVERSATION}/{path}");
    let of_labels = || within("payload", list(text()));
    Door::new("Conversations")
        .post(
            &one("toggle_status"),
            toggle_status,
            about("toggleConversationStatus", "ConversationsService.UpdateConversationStatus")
                .body("status", names(&STATUSES))
                .body("snoozed_until", unix())
                .answers(within("payload", toggled())),
        )
        .post(
            &one("toggle_priority"),
            toggle_priority,
            about("toggleConversationPriority", "ConversationsService.UpdateConversationPriority")
                .body("priority", names(&PRIORITIES).or_null()),
        )
        .post(
            &one("toggle_typing_status"),
            toggle_typing_status,
            about("toggleTyping", "ConversationsService.SetTyping")
                .body("typing_status", choice(&["on", "off"]))
                .body("is_private", flag()),
        )
        .post(
            &one("update_last_seen"),
            update_last_seen,
            about("markConversationSeen", "ConversationsService.MarkConversationSeen").answers(json::conversation::schema()),
        )
        .post(
            &one("custom_attributes"),
            set_custom_attributes,
            about("setConversationAttributes", "ConversationsService.UpdateConversationAttributes")
                .needs("custom_attributes", attributes())
                .answers(within("custom_attributes", attributes())),
        )
        .get(
            &one("labels"),
            labels,
            about("listConversationLabels", "ConversationsService.GetConversation").answers(of_labels()),
        )
        .post(
            &one("labels"),
            set_labels,
            about("setConversationLabels", "ConversationsService.UpdateConversationLabels")
                .body("labels", list(text()))
                .answers(of_labels()),
        )
}

/// The schema of the response of [`toggle_status`].
fn toggled() -> Schema {
    object()
        .key("success", flag().or_null())
        .key("conversation_id", id())
        .key("current_status", names(&STATUSES))
        .key("snoozed_until", iso().or_null())
}

async fn toggle_status(call: Call, params: Params) -> Answer {
    let mut fields = params.fields();
    let request = pb::UpdateConversationStatusRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        status: fields.choice("status", &STATUSES).unwrap_or_default().into(),
        snoozed_until: fields.time("snoozed_until", timestamps::from_unix),
    };
    call.admit(request.account_id, fields.verdict()).await?;
    let changed = call
        .conversations()
        .update_conversation_status(call.request(request))
        .await?
        .into_inner();
    let conversation = changed.conversation.clone().unwrap_or_default();
    Ok(json::ok(&json!({ "payload": {
        "success": if changed.handed_off { Json::Null } else { json!(true) },
        "conversation_id": conversation.id,
        "current_status": json::conversation::status(&conversation),
        "snoozed_until": timestamps::iso(conversation.snoozed_until.as_ref()),
    } })))
}

/// `PATCH /conversations/{id}`, which changes only the priority.
pub async fn update(call: Call, params: Params) -> Answer {
    let mut fields = params.fields();
    if !fields.given("priority") {
        return Ok(conversation_response::answer(unchanged(&call, &fields).await?));
    }
    let conversation = set_priority(&call, &mut fields).await?;
    Ok(conversation_response::answer(conversation))
}

/// Returns the conversation in the path by an update without changes: agent bots may update conversations that they may not read.
///
/// # Errors
/// Returns the error of the service.
pub async fn unchanged(call: &Call, fields: &Fields<'_>) -> Result<Option<pb::Conversation>, Failure> {
    let request = pb::UpdateConversationAttributesRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        custom_attributes: None,
        additional_attributes: None,
    };
    let same = call.conversations().update_conversation_attributes(call.request(request)).await?;
    Ok(same.into_inner().conversation)
}

async fn toggle_priority(call: Call, params: Params) -> Answer {
    set_priority(&call, &mut params.fields()).await?;
    Ok(json::empty())
}

async fn set_priority(call: &Call, fields: &mut Fields<'_>) -> Result<Option<pb::Conversation>, Failure> {
    let priority: ConversationPriority = fields.choice("priority", &PRIORITIES).unwrap_or_default();
    let request = pb::UpdateConversationPriorityRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        priority: priority.into(),
    };
    call.admit(request.account_id, fields.verdict()).await?;
    let changed = call.conversations().update_conversation_priority(call.request(request)).await?;
    Ok(changed.into_inner().conversation)
}

async fn toggle_typing_status(call: Call, params: Params) -> Answer {
    let mut fields = params.fields();
    let typing = match fields.text("typing_status").as_deref() {
        Some("on") => true,
        Some("off") => false,
        // Any other value has no effect, but the caller must have access to the conversation.
        _ => {
            conversation_response::read(&call, &fields).await?;
            return Ok(json::empty());
        }
    };
    let request = pb::SetTypingRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        typing,
        is_private: fields.flag("is_private").unwrap_or(false),
        by_contact: false,
    };
    call.conversations().set_typing(call.request(request)).await?;
    Ok(json::empty())
}

async fn update_last_seen(call: Call, params: Params) -> Answer {
    let fields = params.fields();
    let request = pb::MarkConversationSeenRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        by_contact: false,
    };
    let seen = call
        .conversations()
        .mark_conversation_seen(call.request(request))
        .await?
        .into_inner();
    Ok(conversation_response::answer(seen.conversation))
}

async fn set_custom_attributes(call: Call, params: Params) -> Answer {
    let mut fields = params.fields();
    let account_id = fields.account();
    let attributes = fields.object_or_empty("custom_attributes");
    call.admit(account_id, fields.verdict()).await?;
    if attributes.is_none() {
        call.admit(account_id, Err(Failure::missing("custom_attributes"))).await?;
    }
    let request = pb::UpdateConversationAttributesRequest {
        account_id,
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        custom_attributes: attributes,
        additional_attributes: None,
    };
    let changed = call
        .conversations()
        .update_conversation_attributes(call.request(request))
        .await?
        .into_inner();
    let conversation = changed.conversation.unwrap_or_default();
    let attributes = crate::params::attributes::object(conversation.custom_attributes.as_ref());
    Ok(json::ok(&json!({ "custom_attributes": attributes })))
}

async fn labels(call: Call, params: Params) -> Answer {
    let fields = params.fields();
    let request = pb::GetConversationRequest {
        account_id: fields.account(),
        conversation_id: fields.path_id("conversation_id"),
    };
    let found = call.conversations().get_conversation(call.request(request)).await?.into_inner();
    Ok(json::ok(&json!({ "payload": found.conversation.unwrap_or_default().labels })))
}

async fn set_labels(call: Call, params: Params) -> Answer {
    let mut fields = params.fields();
    let request = pb::UpdateConversationLabelsRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        labels: fields.texts("labels").unwrap_or_default(),
    };
    call.admit(request.account_id, fields.verdict()).await?;
    let changed = call
        .conversations()
        .update_conversation_labels(call.request(request))
        .await?
        .into_inner();
    Ok(json::ok(&json!({ "payload": changed.conversation.unwrap_or_default().labels })))
}
