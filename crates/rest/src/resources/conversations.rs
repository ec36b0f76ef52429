//! Creating and reading conversations.

use axum::http::Uri;
use parley_proto as pb;
use parley_proto::{ConversationPriority, ConversationStatus};
use prost_types::{Struct, Value, value::Kind};

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    json::{
        conversation::Conversation,
        values::{Id, Name},
    },
    openapi::{Caller, describe},
    params::{
        Params, attributes::Attributes, declaration::Nested, declaration::params, fields::ParamReader, message_draft::MessageParams,
        timestamps::Iso, uploads::ParamsWithFiles,
    },
    resources::{
        conversation_changes::{self, Priority},
        conversation_response::{answer, read},
        conversation_state,
    },
};

params! {
    struct NewConversation {
        message: Nested<MessageParams>,
        inbox_id: Id, contact_id: Id, source_id: String,
        status: Name<ConversationStatus>, snoozed_until: Iso,
        assignee_id: Id, team_id: Id,
        priority: Name<ConversationPriority>,
        additional_attributes: Attributes as Option<Struct> = additional_attributes,
        custom_attributes: Attributes as Option<Struct> = ParamReader::object_or_default,
        hmac_verified: bool,
    }
}

pub fn routes() -> ApiRouter {
    const CONVERSATIONS: &str = "/api/v1/accounts/{account_id}/conversations";
    const CONVERSATION: &str = "/api/v1/accounts/{account_id}/conversations/{conversation_id}";
    ApiRouter::new("Conversations")
        .post(
            CONVERSATIONS,
            create,
            describe("createConversation", "ConversationsService.CreateConversation")
                .params::<NewConversation>()
                .returns::<Conversation>(),
        )
        .get(
            CONVERSATION,
            show,
            describe("showConversation", "ConversationsService.GetConversation").returns::<Conversation>(),
        )
        .update(
            CONVERSATION,
            conversation_changes::update,
            describe("updateConversation", "ConversationsService.UpdateConversationPriority")
                .params::<Priority>()
                .returns::<Conversation>(),
        )
        .delete(
            CONVERSATION,
            conversation_state::delete,
            describe("deleteConversation", "ConversationsService.DeleteConversation").caller(Caller::Administrator),
        )
}

async fn create(call: Call, ParamsWithFiles(params): ParamsWithFiles) -> ApiResult {
    let sent: NewConversation = call.parse(&params).await?;
    let request = pb::CreateConversationRequest {
        account_id: params.fields().account(),
        request_id: call.request_id(),
        inbox_id: sent.inbox_id,
        contact_id: sent.contact_id,
        source_id: sent.source_id,
        status: sent.status.unwrap_or_default().into(),
        snoozed_until: sent.snoozed_until,
        assignee_id: sent.assignee_id,
        team_id: sent.team_id,
        priority: sent.priority.unwrap_or_default().into(),
        additional_attributes: sent.additional_attributes,
        custom_attributes: sent.custom_attributes,
        hmac_verified: sent.hmac_verified.unwrap_or(false),
        message: sent.message.map(MessageParams::into_draft),
    };
    let made = call.send(request).await?;
    Ok(answer(made.conversation))
}

/// The additional attributes. A `referer` that is not a URL becomes null.
fn additional_attributes(fields: &mut ParamReader<'_>, key: &str) -> Option<Struct> {
    let mut attributes = fields.object_or_default(key)?;
    if let Some(referer) = attributes.fields.get_mut("referer") {
        let is_url = match &referer.kind {
            Some(Kind::StringValue(text)) => text.parse::<Uri>().is_ok_and(|uri| uri.scheme().is_some() && uri.host().is_some()),
            _ => false,
        };
        if !is_url {
            *referer = Value {
                kind: Some(Kind::NullValue(0)),
            };
        }
    }
    Some(attributes)
}

async fn show(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    read(&call, &fields).await
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::params::attributes::object;

    #[test]
    fn a_referer_is_a_url_or_nothing() {
        let sent = |attributes: Json| {
            let params = Params {
                map: [("additional_attributes".to_owned(), attributes)].into_iter().collect(),
                ..Default::default()
            };
            object(additional_attributes(&mut params.fields(), "additional_attributes").as_ref())
        };
        assert_eq!(
            sent(json!({"referer": "https://shop.example.org/a"}))["referer"],
            "https://shop.example.org/a"
        );
        assert_eq!(sent(json!({"referer": "nowhere", "n": 1})), json!({"referer": null, "n": 1}));
        assert_eq!(sent(json!("text")), json!({}));
    }
}
