//! The messages of a conversation.

use axum::{http::StatusCode, response::Response};
use parley_proto as pb;
use serde_json::Value as Json;

use crate::{
    Answer,
    call::Call,
    door::Door,
    errors::Failure,
    json::{self, message::STATUSES},
    lists::{
        paging::{self, Window},
        rows,
    },
    openapi::{
        about,
        schema::{flag, integer, names, text},
    },
    params::{Params, draft, fields::Fields, uploads::WithFiles},
};

pub fn routes() -> Door {
    const MESSAGES: &str = "/api/v1/accounts/{account_id}/conversations/{conversation_id}/messages";
    const MESSAGE: &str = "/api/v1/accounts/{account_id}/conversations/{conversation_id}/messages/{message_id}";
    let shape = json::message::schema;
    let made = about("createMessage", "MessagesService.CreateMessage").answers(shape());
    Door::new("Messages")
        .get(
            MESSAGES,
            list,
            paging::taken_unnumbered(about("listMessages", "MessagesService.ListMessages"))
                .query("before", integer())
                .query("after", integer())
                .query("filter_internal_messages", flag())
                .answers(json::conversation::messages_schema()),
        )
        .post(
            MESSAGES,
            create,
            draft::keys().into_iter().fold(made, |about, (key, shape)| about.body(key, shape)),
        )
        .update(
            MESSAGE,
            update,
            about("updateMessage", "MessagesService.UpdateMessage")
                .body("status", names(&STATUSES))
                .body("external_error", text())
                .answers(shape()),
        )
        .post(
            &format!("{MESSAGE}/retry"),
            retry,
            about("retryMessage", "MessagesService.RetryMessage")
                .refuses(StatusCode::UNPROCESSABLE_ENTITY, "There is no such message.")
                .answers(shape()),
        )
        .delete(
            MESSAGE,
            delete,
            about("deleteMessage", "MessagesService.DeleteMessage").answers(shape()),
        )
}

async fn list(call: Call, params: Params) -> Answer {
    let mut fields = params.fields();
    let window = Window::unnumbered(&mut fields, 0);
    // A value that is not a number counts as 0, as in Chatwoot.
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
    let list = call.messages().list_messages(call.request(request.clone())).await?.into_inner();
    let mut messages = json::conversation::messages(&list);
    window.tell(&mut messages["meta"], &list.next_page_token);
    // The default page sizes of the service.
    let limit = match (request.page_size, request.after, request.before) {
        (0, Some(_), Some(_)) => 1000,
        (0, Some(_), None) => 100,
        (0, None, _) => 20,
        (size, ..) => size.try_into().unwrap_or(1),
    };
    let Json::Array(shown) = messages["payload"].take() else {
        return Ok(json::ok(&messages));
    };
    let first = (shown, window.cut(list.next_page_token));
    let forward = request.after.is_some();
    let frame = move |rows| {
        messages["payload"] = rows;
        messages
    };
    let fetch = move |page_token, size: usize| {
        let request = pb::ListMessagesRequest {
            page_token,
            page_size: size.try_into().unwrap_or(1),
            ..request.clone()
        };
        let (mut client, request) = (call.messages(), call.request(request));
        async move {
            let page = client.list_messages(request).await?.into_inner();
            Ok((page.messages.iter().map(json::message::message).collect(), page.next_page_token))
        }
    };
    if forward {
        Ok(rows::go_on(first, limit, frame, fetch))
    } else {
        rows::backwards(first, limit, frame, fetch).await
    }
}

async fn create(call: Call, WithFiles(params): WithFiles) -> Answer {
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
        // A missing or unknown status changes nothing.
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

/// As in Chatwoot, an unknown message gets 422, an unknown conversation 404.
async fn retry(call: Call, params: Params) -> Answer {
    let fields = params.fields();
    let request = pb::RetryMessageRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        message_id: fields.path_id("message_id"),
    };
    let id = request.message_id;
    let sent = call.messages().retry_message(call.request(request)).await;
    let sent = sent.map_err(|status| Failure::of_retry(&status, id))?.into_inner();
    Ok(answer(sent.message))
}
