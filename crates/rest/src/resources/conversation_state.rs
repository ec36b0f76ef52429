//! Muting conversations and marking them as unread; their transcripts, attachments and deletion.

use axum::http::StatusCode;
use parley_proto as pb;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    errors::ApiError,
    json::{
        self,
        attachment::ListedAttachment,
        conversation::Conversation,
        values::{List, one_key},
    },
    lists::{
        pagination::{self, PageMeta, PageWindow},
        rows,
    },
    openapi::describe,
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
            describe("markConversationUnread", "ConversationsService.MarkConversationUnread").returns::<Conversation>(),
        )
        .post(
            &format!("{CONVERSATION}/transcript"),
            transcript,
            describe("sendTranscript", "ConversationsService.SendTranscript").required_body::<String>("email"),
        )
        .get(
            &format!("{CONVERSATION}/attachments"),
            attachments,
            pagination::page_params(describe(
                "listConversationAttachments",
                "ConversationsService.ListConversationAttachments",
            ))
            .returns::<List<PageMeta<AttachmentCount<i64>>, Vec<ListedAttachment>>>(),
        )
}

async fn mute(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let request = pb::MuteConversationRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
    };
    call.conversations().mute_conversation(call.request(request)).await?;
    Ok(json::empty())
}

async fn unmute(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let request = pb::UnmuteConversationRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
    };
    call.conversations().unmute_conversation(call.request(request)).await?;
    Ok(json::empty())
}

async fn unread(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let request = pb::MarkConversationUnreadRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
    };
    let marked = call.conversations().mark_conversation_unread(call.request(request)).await?;
    Ok(conversation_response::answer(marked.into_inner().conversation))
}

one_key!(AttachmentCount { total_count });

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
    let found = call
        .conversations()
        .list_conversation_attachments(call.request(request.clone()))
        .await?
        .into_inner();
    let rows = found.attachments.into_iter().take(window.rows);
    let payload: Vec<_> = rows.map(ListedAttachment::from).collect();
    let meta = PageMeta {
        meta: AttachmentCount {
            total_count: found.total_size,
        },
        cursor: window.cursor(&found.next_page_token),
    };
    let frame = |payload| List { meta, payload };
    let first = (payload, window.cut(found.next_page_token));
    Ok(rows::paginated(first, window.rows, frame, move |page_token, size| {
        let request = pb::ListConversationAttachmentsRequest {
            page_token,
            page_size: size.try_into().unwrap_or(ATTACHMENTS),
            skip: 0,
            ..request.clone()
        };
        let (mut client, request) = (call.conversations(), call.request(request));
        async move {
            let page = client.list_conversation_attachments(request).await?.into_inner();
            let rows = page.attachments.into_iter().map(ListedAttachment::from);
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
    call.conversations().send_transcript(call.request(request)).await?;
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
    call.conversations().delete_conversation(call.request(request)).await?;
    Ok(json::empty())
}
