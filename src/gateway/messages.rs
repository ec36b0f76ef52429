//! Messages of a conversation.

use axum::{Router, response::Response, routing::get};
use tonic::service::Routes;

use super::{
    Answer, Path as _,
    call::Call,
    draft,
    error::Failure,
    fields::Fields,
    json::{self, message::STATUSES},
    paging::Window,
    params::Params,
};
use crate::pb;

/// The routes of this file.
pub fn routes() -> Router<Routes> {
    const MESSAGES: &str = "/api/v1/accounts/{account_id}/conversations/{conversation_id}/messages";
    Router::new().path(MESSAGES, get(list).post(create)).path(
        &format!("{MESSAGES}/{{message_id}}"),
        axum::routing::put(update).patch(update).delete(delete),
    )
}

async fn list(call: Call, params: Params) -> Answer {
    let mut fields = params.fields();
    let window = Window::read(&mut fields, 0);
    // What is no number counts as 0, as it does in the product.
    let bound = |key| fields.filled(key).then(|| fields.integer(key).unwrap_or(0));
    let request = pb::ListMessagesRequest {
        account_id: fields.account(),
        conversation_id: fields.path_id("conversation_id"),
        before: bound("before"),
        after: bound("after"),
        public_only: fields.filled("filter_internal_messages"),
        page_size: window.size,
        page_token: window.token.clone(),
    };
    call.admit(request.account_id, fields.verdict()).await?;
    let list = call.messages().list_messages(call.request(request)).await?.into_inner();
    let mut messages = json::conversation::messages(&list);
    window.tell(&mut messages["meta"], &list.next_page_token);
    Ok(json::ok(&messages))
}

async fn create(call: Call, params: Params) -> Answer {
    let mut fields = params.fields();
    let request = pb::CreateMessageRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        message: Some(draft::read(&mut fields)),
    };
    call.admit(request.account_id, fields.message_verdict()).await?;
    let made = call.messages().create_message(call.request(request)).await;
    let made = made.map_err(|status| Failure::of_message(&status))?.into_inner();
    Ok(answer(made.message))
}

fn answer(message: Option<pb::Message>) -> Response {
    json::ok(&json::message::message(&message.unwrap_or_default()))
}

async fn update(call: Call, params: Params) -> Answer {
    let mut fields = params.fields();
    let Some(status) = status(&fields) else {
        // An unknown status changes nothing, and neither does none.
        return read(&call, &fields).await;
    };
    let request = pb::UpdateMessageRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        message_id: fields.path_id("message_id"),
        status: status.into(),
        external_error: fields.text("external_error"),
        content_attributes: None,
    };
    call.admit(request.account_id, fields.verdict()).await?;
    let changed = call.messages().update_message(call.request(request)).await;
    let changed = changed.map_err(|status| Failure::of_message_status(&status))?.into_inner();
    Ok(answer(changed.message))
}

fn status(fields: &Fields<'_>) -> Option<pb::MessageStatus> {
    let name = fields.raw("status")?.as_str()?;
    STATUSES.iter().find(|(known, _)| *known == name).map(|(_, status)| *status)
}

async fn read(call: &Call, fields: &Fields<'_>) -> Answer {
    let request = pb::GetMessageRequest {
        account_id: fields.account(),
        conversation_id: fields.path_id("conversation_id"),
        message_id: fields.path_id("message_id"),
    };
    let found = call.messages().get_message(call.request(request)).await?.into_inner();
    Ok(answer(found.message))
}

async fn delete(call: Call, params: Params) -> Answer {
    let fields = params.fields();
    let request = pb::DeleteMessageRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        message_id: fields.path_id("message_id"),
    };
    let deleted = call.messages().delete_message(call.request(request)).await?.into_inner();
    Ok(answer(deleted.message))
}
