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
        Params,
        attributes::Attributes,
        declaration::Nested,
        fields::ParamReader,
        message_draft::{self, MessageParams},
        timestamps::{self, Iso},
        uploads::ParamsWithFiles,
    },
    resources::{
        conversation_changes,
        conversation_response::{answer, read},
        conversation_state,
    },
};

pub fn routes() -> ApiRouter {
    const CONVERSATIONS: &str = "/api/v1/accounts/{account_id}/conversations";
    const CONVERSATION: &str = "/api/v1/accounts/{account_id}/conversations/{conversation_id}";
    ApiRouter::new("Conversations")
        .post(
            CONVERSATIONS,
            create,
            describe("createConversation", "ConversationsService.CreateConversation")
                .body::<Id>("inbox_id")
                .body::<Id>("contact_id")
                .body::<String>("source_id")
                .body::<Name<ConversationStatus>>("status")
                .body::<Iso>("snoozed_until")
                .bodies::<Id>(&["assignee_id", "team_id"])
                .body::<Name<ConversationPriority>>("priority")
                .bodies::<Attributes>(&["additional_attributes", "custom_attributes"])
                .body::<bool>("hmac_verified")
                .body::<Nested<MessageParams>>("message")
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
                .body::<Option<Name<ConversationPriority>>>("priority")
                .returns::<Conversation>(),
        )
        .delete(
            CONVERSATION,
            conversation_state::delete,
            describe("deleteConversation", "ConversationsService.DeleteConversation").caller(Caller::Administrator),
        )
}

async fn create(call: Call, ParamsWithFiles(params): ParamsWithFiles) -> ApiResult {
    let mut fields = params.fields();
    let message = fields.inside("message").map(|mut inner| {
        let draft = message_draft::read(&mut inner);
        fields.join(inner);
        draft
    });
    let request = pb::CreateConversationRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        inbox_id: fields.id("inbox_id"),
        contact_id: fields.id("contact_id"),
        source_id: fields.text("source_id"),
        status: fields.choice::<ConversationStatus>("status").unwrap_or_default().into(),
        snoozed_until: fields.time("snoozed_until", timestamps::from_iso),
        assignee_id: fields.id("assignee_id"),
        team_id: fields.id("team_id"),
        priority: fields.choice::<ConversationPriority>("priority").unwrap_or_default().into(),
        additional_attributes: additional_attributes(&mut fields),
        custom_attributes: fields.object_or_default("custom_attributes"),
        hmac_verified: fields.flag("hmac_verified").unwrap_or(false),
        message,
    };
    call.authorize_error(request.account_id, fields.finish()).await?;
    let made = call.send(request).await?;
    Ok(answer(made.conversation))
}

/// The additional attributes. A `referer` that is not a URL becomes null.
fn additional_attributes(fields: &mut ParamReader<'_>) -> Option<Struct> {
    let mut attributes = fields.object_or_default("additional_attributes")?;
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
            object(additional_attributes(&mut params.fields()).as_ref())
        };
        assert_eq!(
            sent(json!({"referer": "https://shop.example.org/a"}))["referer"],
            "https://shop.example.org/a"
        );
        assert_eq!(sent(json!({"referer": "nowhere", "n": 1})), json!({"referer": null, "n": 1}));
        assert_eq!(sent(json!("text")), json!({}));
    }
}
