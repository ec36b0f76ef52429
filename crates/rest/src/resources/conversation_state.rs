//! Muting conversations and marking them as unread; their transcripts, attachments and deletion.

use axum::http::StatusCode;
use parley_proto as pb;
use serde_json::json;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    errors::ApiError,
    json,
    lists::{
        pagination::{self, PageWindow},
        rows,
    },
    openapi::{
        describe,
        schema::{integer, list, object, text},
    },
    params::Params,
    resources::conversation_response,
};

/// Attachments per page.
const ATTACHMENTS: i32 = 100;

/// The routes of this module, except the deletion, which shares a path with reading the conversation.
pub fn routes() -> ApiRouter {
    const CONVERSATION: &str = "/api/v1/accounts/{account_id}/conversations/{conversation_id}";
    ApiRouter::new("Conversations")
        .post(
            &format!("{CONVERSATION}/mute"),
            mute,
            describe("muteConversation", "ConversationsService.MuteConversation"),
        )
        .post(
            &format!("{CONVERSATION}/unmute"),
            unmute,
            describe("unmuteConversation", "ConversationsService.UnmuteConversation"),
        )
        .post(
            &format!("{CONVERSATION}/unread"),
            unread,
            describe("markConversationUnread", "ConversationsService.MarkConversationUnread").returns(json::conversation::schema()),
        )
        .post(
            &format!("{CONVERSATION}/transcript"),
            transcript,
            describe("sendTranscript", "ConversationsService.SendTranscript").required_body("email", text()),
        )
        .get(
            &format!("{CONVERSATION}/attachments"),
            attachments,
            pagination::page_params(describe(
                "listConversationAttachments",
                "ConversationsService.ListConversationAttachments",
            ))
            .returns(
                object()
                    .key("meta", pagination::meta_schema(object().key("total_count", integer())))
                    .key("payload", list(json::message::listed_attachment_schema())),
            ),
        )
}

async fn mute(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let request = pb::MuteConversationRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
    };
    call.send(request).await?;
    Ok(json::empty())
}

async fn unmute(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let request = pb::UnmuteConversationRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
    };
    call.send(request).await?;
    Ok(json::empty())
}

async fn unread(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let request = pb::MarkConversationUnreadRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
    };
    let marked = call.send(request).await?;
    Ok(conversation_response::answer(marked.conversation))
}

async fn attachments(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let window = PageWindow::read(&mut fields, ATTACHMENTS);
    let request = pb::ListConversationAttachmentsRequest {
        account_id: fields.account(),
        conversation_id: fields.path_id("conversation_id"),
        page_size: window.size,
        page_token: window.token.clone(),
        skip: window.skip,
    };
    call.authorize_error(request.account_id, fields.finish()).await?;
    let found = call.send(request.clone()).await?;
    let rows = found.attachments.iter().take(window.rows);
    let payload: Vec<_> = rows.map(json::message::listed_attachment).collect();
    let mut meta = json!({ "total_count": found.total_size });
    window.write_meta(&mut meta, &found.next_page_token);
    let frame = |rows| json!({ "meta": meta, "payload": rows });
    let first = (payload, window.cut(found.next_page_token));
    Ok(rows::paginated(first, window.rows, frame, move |page_token, size| {
        let request = pb::ListConversationAttachmentsRequest {
            page_token,
            page_size: size.try_into().unwrap_or(ATTACHMENTS),
            skip: 0,
            ..request.clone()
        };
        let page = call.send(request);
        async move {
            let page = page.await?;
            let rows = page.attachments.iter().map(json::message::listed_attachment);
            Ok((rows.collect(), page.next_page_token))
        }
    }))
}

async fn transcript(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let request = pb::SendTranscriptRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        email: fields.text("email").unwrap_or_default(),
    };
    let missing = ApiError::error(StatusCode::UNPROCESSABLE_ENTITY, "email param missing");
    let given = if request.email.trim().is_empty() { Err(missing) } else { Ok(()) };
    call.authorize_error(request.account_id, given).await?;
    call.authorize_error(request.account_id, fields.finish()).await?;
    call.send(request).await?;
    Ok(json::empty())
}

/// `DELETE /conversations/{id}`.
pub async fn delete(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let request = pb::DeleteConversationRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
    };
    call.send(request).await?;
    Ok(json::empty())
}
