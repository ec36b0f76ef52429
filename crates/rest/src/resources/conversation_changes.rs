//! Changes to a conversation: status, priority, assignee, labels, attributes and read state.

use parley_proto::{self as pb, ConversationPriority, ConversationStatus};

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    errors::ApiError,
    json::{
        self,
        conversation::Conversation,
        json_type::json_type,
        values::{Id, Name, Payload, one_key},
    },
    openapi::describe,
    params::{
        Params,
        attributes::Attributes,
        declaration::{OnOrOff, params},
        fields::ParamReader,
        timestamps::{Iso, Unix},
    },
    resources::conversation_response,
};

params! {
    pub struct Priority { priority: Option<Name<ConversationPriority>> }
    pub struct Labels { labels: Vec<String> }
    struct StatusChange { status: Name<ConversationStatus>, snoozed_until: Unix }
    struct Typing { typing_status: OnOrOff, is_private: bool }
}

/// The routes of changes, except the update, which shares a path with reading the conversation and is registered in `conversations`.
pub fn routes() -> ApiRouter {
    const CONVERSATION: &str = "/api/v1/accounts/{account_id}/conversations/{conversation_id}";
    let one = |path: &str| format!("{CONVERSATION}/{path}");
    ApiRouter::new("Conversations")
        .post(
            &one("toggle_status"),
            toggle_status,
            describe("toggleConversationStatus", "ConversationsService.UpdateConversationStatus")
                .params::<StatusChange>()
                .returns::<Payload<ToggledStatus>>(),
        )
        .post(
            &one("toggle_priority"),
            toggle_priority,
            describe("toggleConversationPriority", "ConversationsService.UpdateConversationPriority").params::<Priority>(),
        )
        .post(
            &one("toggle_typing_status"),
            toggle_typing_status,
            describe("toggleTyping", "ConversationsService.SetTyping").params::<Typing>(),
        )
        .post(
            &one("update_last_seen"),
            update_last_seen,
            describe("markConversationSeen", "ConversationsService.MarkConversationSeen").returns::<Conversation>(),
        )
        .post(
            &one("custom_attributes"),
            set_custom_attributes,
            describe("setConversationAttributes", "ConversationsService.UpdateConversationAttributes")
                .required_body::<Attributes>("custom_attributes")
                .returns::<CustomAttributes<Attributes>>(),
        )
        .get(
            &one("labels"),
            labels,
            describe("listConversationLabels", "ConversationsService.GetConversation").returns::<Payload<Vec<String>>>(),
        )
        .post(
            &one("labels"),
            set_labels,
            describe("setConversationLabels", "ConversationsService.UpdateConversationLabels")
                .params::<Labels>()
                .returns::<Payload<Vec<String>>>(),
        )
}

json_type! {
    #[schemars(inline)]
    struct ToggledStatus(changed: pb::UpdateConversationStatusResponse) with {
        let conversation = changed.conversation.unwrap_or_default();
    } {
        success: Option<bool> = (!changed.handed_off).then_some(true),
        conversation_id: Id = conversation.id.into(),
        current_status: Name<ConversationStatus> = Name(conversation.status()),
        snoozed_until: Option<Iso> = Iso::optional(conversation.snoozed_until),
    }
}

one_key!(CustomAttributes { custom_attributes });

async fn toggle_status(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let sent: StatusChange = call.parse(&params).await?;
    let request = pb::UpdateConversationStatusRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        status: sent.status.unwrap_or_default().into(),
        snoozed_until: sent.snoozed_until,
    };
    let changed = call
        .conversations()
        .update_conversation_status(call.request(request))
        .await?
        .into_inner();
    Ok(json::ok(&Payload {
        payload: ToggledStatus::from(changed),
    }))
}

/// `PATCH /conversations/{id}`, which changes only the priority.
pub async fn update(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let conversation = if fields.is_present("priority") {
        set_priority(&call, &params).await?
    } else {
        unchanged(&call, &fields).await?
    };
    Ok(conversation_response::answer(conversation))
}

/// Sends an update without changes and returns the resulting conversation. This also works for agent bots, which are allowed to update
/// some conversations that they are not allowed to read.
///
/// # Errors
/// Returns any error from the service.
pub async fn unchanged(call: &Call, fields: &ParamReader<'_>) -> Result<Option<pb::Conversation>, ApiError> {
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

async fn toggle_priority(call: Call, params: Params) -> ApiResult {
    set_priority(&call, &params).await?;
    Ok(json::empty())
}

async fn set_priority(call: &Call, params: &Params) -> Result<Option<pb::Conversation>, ApiError> {
    let fields = params.fields();
    let sent: Priority = call.parse(params).await?;
    let request = pb::UpdateConversationPriorityRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        priority: sent.priority.unwrap_or_default().into(),
    };
    let changed = call.conversations().update_conversation_priority(call.request(request)).await?;
    Ok(changed.into_inner().conversation)
}

async fn toggle_typing_status(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let sent = fields.read::<Typing>();
    let typing = match sent.typing_status.as_deref() {
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
        is_private: sent.is_private.unwrap_or(false),
        by_contact: false,
    };
    call.conversations().set_typing(call.request(request)).await?;
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
    let seen = call
        .conversations()
        .mark_conversation_seen(call.request(request))
        .await?
        .into_inner();
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
    let changed = call
        .conversations()
        .update_conversation_attributes(call.request(request))
        .await?
        .into_inner();
    let conversation = changed.conversation.unwrap_or_default();
    Ok(json::ok(&CustomAttributes {
        custom_attributes: Attributes(conversation.custom_attributes),
    }))
}

async fn labels(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let request = pb::GetConversationRequest {
        account_id: fields.account(),
        conversation_id: fields.path_id("conversation_id"),
    };
    let found = call.conversations().get_conversation(call.request(request)).await?.into_inner();
    Ok(json::ok(&Payload {
        payload: found.conversation.unwrap_or_default().labels,
    }))
}

async fn set_labels(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let sent: Labels = call.parse(&params).await?;
    let request = pb::UpdateConversationLabelsRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        labels: sent.labels.unwrap_or_default(),
    };
    let changed = call
        .conversations()
        .update_conversation_labels(call.request(request))
        .await?
        .into_inner();
    Ok(json::ok(&Payload {
        payload: changed.conversation.unwrap_or_default().labels,
    }))
}
