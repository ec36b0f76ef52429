//! Responses with a single conversation.

use axum::response::Response;
use parley_proto as pb;

use crate::{
    ApiResult,
    call::Call,
    json::{self, conversation::Conversation},
    params::fields::ParamReader,
};

/// Reads the conversation in the path.
///
/// # Errors
/// Returns any error from the service.
pub async fn read(call: &Call, fields: &ParamReader<'_>) -> ApiResult {
    let request = pb::GetConversationRequest {
        account_id: fields.account(),
        conversation_id: fields.path_id("conversation_id"),
    };
    let found = call.send(request).await?;
    Ok(answer(found.conversation))
}

/// A 200 response with the conversation.
pub fn answer(conversation: Option<pb::Conversation>) -> Response {
    json::ok(&Conversation::from(conversation.unwrap_or_default()))
}
