//! The messages of a conversation.

use axum::{http::StatusCode, response::Response};
use parley_proto as pb;
use parley_proto::MessageStatus;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    errors::ApiError,
    json::{
        self,
        conversation::MessageListMeta,
        message::Message,
        values::{Name, Named},
    },
    lists::{
        pagination::{self, PageMeta, PageWindow},
        rows::{self, Rows},
    },
    openapi::describe,
    params::{Params, declaration::params, fields::ParamReader, message_draft::MessageParams, uploads::ParamsWithFiles},
};

params! {
    struct MessageUpdate { status: Name<MessageStatus> as Option<MessageStatus> = status, external_error: String }
}

pub fn routes() -> ApiRouter {
    const MESSAGES: &str = "/api/v1/accounts/{account_id}/conversations/{conversation_id}/messages";
    const MESSAGE: &str = "/api/v1/accounts/{account_id}/conversations/{conversation_id}/messages/{message_id}";
    ApiRouter::new("Messages")
        .get(
            MESSAGES,
            list,
            pagination::cursor_params(describe("listMessages", "MessagesService.ListMessages"))
                .query::<i64>("before")
                .query::<i64>("after")
                .query::<bool>("filter_internal_messages")
                .returns::<MessageList>(),
        )
        .post(
            MESSAGES,
            create,
            describe("createMessage", "MessagesService.CreateMessage")
                .params::<MessageParams>()
                .returns::<Message>(),
        )
        .update(
            MESSAGE,
            update,
            describe("updateMessage", "MessagesService.UpdateMessage")
                .params::<MessageUpdate>()
                .returns::<Message>(),
        )
        .post(
            &format!("{MESSAGE}/retry"),
            retry,
            describe("retryMessage", "MessagesService.RetryMessage")
                .fails_with(StatusCode::UNPROCESSABLE_ENTITY, "There is no such message.")
                .returns::<Message>(),
        )
        .delete(
            MESSAGE,
            delete,
            describe("deleteMessage", "MessagesService.DeleteMessage").returns::<Message>(),
        )
}

/// A page of messages with the state of their conversation.
#[derive(Serialize, JsonSchema)]
struct MessageList {
    meta: PageMeta<MessageListMeta>,
    payload: Rows<Message>,
}

async fn list(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let window = PageWindow::unnumbered(&mut fields, 0);
    // A value that is not a number counts as 0, as in Chatwoot.
    let bound = |key| fields.has_value(key).then(|| fields.integer(key).unwrap_or(0));
    let request = pb::ListMessagesRequest {
        account_id: fields.account(),
        conversation_id: fields.path_id("conversation_id"),
        before: bound("before"),
        after: bound("after"),
        public_only: fields.has_value("filter_internal_messages"),
        page_size: window.size,
        page_token: window.token.clone(),
    };
    call.authorize_error(request.account_id, fields.finish()).await?;
    let list = call.send(request.clone()).await?;
    let meta = PageMeta {
        meta: MessageListMeta::from(list.conversation.unwrap_or_default()),
        cursor: window.cursor(&list.next_page_token),
    };
    // The default page sizes of the service.
    let limit = match (request.page_size, request.after, request.before) {
        (0, Some(_), Some(_)) => 1000,
        (0, Some(_), None) => 100,
        (0, None, _) => 20,
        (size, ..) => size.try_into().unwrap_or(1),
    };
    let rows: Vec<_> = list.messages.into_iter().map(Message::from).collect();
    let first = (rows, window.cut(list.next_page_token));
    let forward = request.after.is_some();
    let frame = move |payload| MessageList { meta, payload };
    let fetch = move |page_token, size: usize| {
        let request = pb::ListMessagesRequest {
            page_token,
            page_size: size.try_into().unwrap_or(1),
            ..request.clone()
        };
        let page = call.send(request);
        async move {
            let page = page.await?;
            Ok((page.messages.into_iter().map(Message::from).collect(), page.next_page_token))
        }
    };
    if forward {
        Ok(rows::paginated(first, limit, frame, fetch))
    } else {
        rows::backwards(first, limit, frame, fetch).await
    }
}

async fn create(call: Call, ParamsWithFiles(params): ParamsWithFiles) -> ApiResult {
    let mut fields = params.fields();
    let sent = fields.read::<MessageParams>();
    call.authorize_error(fields.account(), fields.finish_message()).await?;
    let request = pb::CreateMessageRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        message: Some(sent.into_draft()),
    };
    let made = call.send(request).await;
    let made = made.map_err(|status| ApiError::from_message(&status))?;
    Ok(answer(made.message))
}

fn answer(message: Option<pb::Message>) -> Response {
    json::ok(&Message::from(message.unwrap_or_default()))
}

async fn update(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let sent = fields.read::<MessageUpdate>();
    let Some(status) = sent.status else {
        // A missing or unknown status changes nothing.
        return read(&call, &fields).await;
    };
    let request = pb::UpdateMessageRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        message_id: fields.path_id("message_id"),
        status: status.into(),
        external_error: sent.external_error,
        content_attributes: None,
    };
    call.authorize_error(request.account_id, fields.finish()).await?;
    let changed = call.send(request).await;
    let changed = changed.map_err(|status| ApiError::from_message_status(&status))?;
    Ok(answer(changed.message))
}

fn status(fields: &mut ParamReader<'_>, key: &str) -> Option<MessageStatus> {
    let name = fields.raw(key)?.as_str()?;
    let known = MessageStatus::NAMES.iter().find(|(known, _)| *known == name);
    known.map(|(_, status)| *status)
}

async fn read(call: &Call, fields: &ParamReader<'_>) -> ApiResult {
    let request = pb::GetMessageRequest {
        account_id: fields.account(),
        conversation_id: fields.path_id("conversation_id"),
        message_id: fields.path_id("message_id"),
    };
    let found = call.send(request).await?;
    Ok(answer(found.message))
}

async fn delete(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let request = pb::DeleteMessageRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        message_id: fields.path_id("message_id"),
    };
    let deleted = call.send(request).await?;
    Ok(answer(deleted.message))
}

/// As in Chatwoot, an unknown message gets 422, an unknown conversation 404.
async fn retry(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let request = pb::RetryMessageRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        message_id: fields.path_id("message_id"),
    };
    let id = request.message_id;
    let sent = call.send(request).await;
    let sent = sent.map_err(|status| ApiError::from_retry(&status, id))?;
    Ok(answer(sent.message))
}
