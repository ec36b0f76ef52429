//! Changes to a conversation: status, priority, assignee, labels, attributes and read state.

use parley_proto::{self as pb, ConversationPriority};
use serde_json::{Value as Json, json};

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    errors::ApiError,
    json::{
        self,
        conversation::{PRIORITIES, STATUSES},
    },
    openapi::{
        describe,
        schema::{Schema, attributes, choice, flag, id, iso, list, names, object, text, unix, within},
    },
    params::{Params, fields::ParamReader, timestamps},
    resources::conversation_response,
};

/// The routes of changes, except the update, which shares a path with reading the conversation and is registered in `conversations`.
pub fn routes() -> ApiRouter {
    const CONVERSATION: &str = "/api/v1/accounts/{account_id}/conversations/{conversation_id}";
    let one = |path: &str| format!("{CONVERSATION}/{path}");
    let of_labels = || within("payload", list(text()));
    ApiRouter::new("Conversations")
        .post(
            &one("toggle_status"),
            toggle_status,
            describe("toggleConversationStatus", "ConversationsService.UpdateConversationStatus")
                .body("status", names(&STATUSES))
                .body("snoozed_until", unix())
                .returns(within("payload", toggle_status_schema())),
        )
        .post(
            &one("toggle_priority"),
            toggle_priority,
            describe("toggleConversationPriority", "ConversationsService.UpdateConversationPriority")
                .body("priority", names(&PRIORITIES).or_null()),
        )
        .post(
            &one("toggle_typing_status"),
            toggle_typing_status,
            describe("toggleTyping", "ConversationsService.SetTyping")
                .body("typing_status", choice(&["on", "off"]))
                .body("is_private", flag()),
        )
        .post(
            &one("update_last_seen"),
            update_last_seen,
            describe("markConversationSeen", "ConversationsService.MarkConversationSeen").returns(json::conversation::schema()),
        )
        .post(
            &one("custom_attributes"),
            set_custom_attributes,
            describe("setConversationAttributes", "ConversationsService.UpdateConversationAttributes")
                .required_body("custom_attributes", attributes())
                .returns(within("custom_attributes", attributes())),
        )
        .get(
            &one("labels"),
            labels,
            describe("listConversationLabels", "ConversationsService.GetConversation").returns(of_labels()),
        )
        .post(
            &one("labels"),
            set_labels,
            describe("setConversationLabels", "ConversationsService.UpdateConversationLabels")
                .body("labels", list(text()))
                .returns(of_labels()),
        )
}

/// The schema of the response of [`toggle_status`].
fn toggle_status_schema() -> Schema {
    object()
        .key("success", flag().or_null())
        .key("conversation_id", id())
        .key("current_status", names(&STATUSES))
        .key("snoozed_until", iso().or_null())
}

async fn toggle_status(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let request = pb::UpdateConversationStatusRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        status: fields.choice("status", &STATUSES).unwrap_or_default().into(),
        snoozed_until: fields.time("snoozed_until", timestamps::from_unix),
    };
    call.authorize_error(request.account_id, fields.finish()).await?;
    let changed = call.send(request).await?;
    let conversation = changed.conversation.clone().unwrap_or_default();
    Ok(json::ok(&json!({ "payload": {
        "success": if changed.handed_off { Json::Null } else { json!(true) },
        "conversation_id": conversation.id,
        "current_status": json::conversation::status(&conversation),
        "snoozed_until": timestamps::iso(conversation.snoozed_until.as_ref()),
    } })))
}

/// `PATCH /conversations/{id}`, which changes only the priority.
pub async fn update(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    if !fields.is_present("priority") {
        return Ok(conversation_response::answer(unchanged(&call, &fields).await?));
    }
    let conversation = set_priority(&call, &mut fields).await?;
    Ok(conversation_response::answer(conversation))
}

/// Returns the conversation in the path by an update without changes: agent bots may update conversations that they may not read.
///
/// # Errors
/// Returns the error of the service.
pub async fn unchanged(call: &Call, fields: &ParamReader<'_>) -> Result<Option<pb::Conversation>, ApiError> {
    let request = pb::UpdateConversationAttributesRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        custom_attributes: None,
        additional_attributes: None,
    };
    let same = call.send(request).await?;
    Ok(same.conversation)
}

async fn toggle_priority(call: Call, params: Params) -> ApiResult {
    set_priority(&call, &mut params.fields()).await?;
    Ok(json::empty())
}

async fn set_priority(call: &Call, fields: &mut ParamReader<'_>) -> Result<Option<pb::Conversation>, ApiError> {
    let priority: ConversationPriority = fields.choice("priority", &PRIORITIES).unwrap_or_default();
    let request = pb::UpdateConversationPriorityRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        priority: priority.into(),
    };
    call.authorize_error(request.account_id, fields.finish()).await?;
    let changed = call.send(request).await?;
    Ok(changed.conversation)
}

async fn toggle_typing_status(call: Call, params: Params) -> ApiResult {
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
    call.send(request).await?;
    Ok(json::empty())
}

async fn update_last_seen(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let request = pb::MarkConversationSeenRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        by_contact: false,
    };
    let seen = call.send(request).await?;
    Ok(conversation_response::answer(seen.conversation))
}

async fn set_custom_attributes(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let account_id = fields.account();
    let attributes = fields.object_or_default("custom_attributes");
    call.authorize_error(account_id, fields.finish()).await?;
    if attributes.is_none() {
        call.authorize_error(account_id, Err(ApiError::missing("custom_attributes")))
            .await?;
    }
    let request = pb::UpdateConversationAttributesRequest {
        account_id,
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        custom_attributes: attributes,
        additional_attributes: None,
    };
    let changed = call.send(request).await?;
    let conversation = changed.conversation.unwrap_or_default();
    let attributes = crate::params::attributes::object(conversation.custom_attributes.as_ref());
    Ok(json::ok(&json!({ "custom_attributes": attributes })))
}

async fn labels(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let request = pb::GetConversationRequest {
        account_id: fields.account(),
        conversation_id: fields.path_id("conversation_id"),
    };
    let found = call.send(request).await?;
    Ok(json::ok(&json!({ "payload": found.conversation.unwrap_or_default().labels })))
}

async fn set_labels(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let request = pb::UpdateConversationLabelsRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        labels: fields.texts("labels").unwrap_or_default(),
    };
    call.authorize_error(request.account_id, fields.finish()).await?;
    let changed = call.send(request).await?;
    Ok(json::ok(&json!({ "payload": changed.conversation.unwrap_or_default().labels })))
}
