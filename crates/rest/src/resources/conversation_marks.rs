//! Muting conversations and marking them as unread; their transcripts, attachments and deletion.

use axum::http::StatusCode;
use parley_proto as pb;
use serde_json::json;

use crate::{
    Answer,
    call::Call,
    door::Door,
    errors::Failure,
    json,
    lists::{
        paging::{self, Window},
        rows,
    },
    openapi::{
        about,
        schema::{integer, list, object, text},
    },
    params::Params,
    resources::conversation_response,
};

/// Attachments per page.
const ATTACHMENTS: i32 = 100;

/// The routes of this module, except the deletion, which shares a path with reading the conversation.
pub fn routes() -> Door {
    const CONVERSATION: &str = "/api/v1/accounts/{account_id}/conversations/{conversation_id}";
    Door::new("Conversations")
        .post(
            &format!("{CONVERSATION}/mute"),
            mute,
            about("muteConversation", "ConversationsService.MuteConversation"),
        )
        .post(
            &format!("{CONVERSATION}/unmute"),
            unmute,
            about("unmuteConversation", "ConversationsService.UnmuteConversation"),
        )
        .post(
            &format!("{CONVERSATION}/unread"),
            unread,
            about("markConversationUnread", "ConversationsService.MarkConversationUnread").answers(json::conversation::schema()),
        )
        .post(
            &format!("{CONVERSATION}/transcript"),
            transcript,
            about("sendTranscript", "ConversationsService.SendTranscript").needs("email", text()),
        )
        .get(
            &format!("{CONVERSATION}/attachments"),
            attachments,
            paging::taken(about(
                "listConversationAttachments",
                "ConversationsService.ListConversationAttachments",
            ))
            .answers(
                object()
                    .key("meta", paging::told(object().key("total_count", integer())))
                    .key("payload", list(json::message::listed_attachment_schema())),
            ),
        )
}

async fn mute(call: Call, params: Params) -> Answer {
    let fields = params.fields();
    let request = pb::MuteConversationRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
    };
    call.conversations().mute_conversation(call.request(request)).await?;
    Ok(json::empty())
}

async fn unmute(call: Call, params: Params) -> Answer {
    let fields = params.fields();
    let request = pb::UnmuteConversationRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
    };
    call.conversations().unmute_conversation(call.request(request)).await?;
    Ok(json::empty())
}

async fn unread(call: Call, params: Params) -> Answer {
    let fields = params.fields();
    let request = pb::MarkConversationUnreadRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
    };
    let marked = call.conversations().mark_conversation_unread(call.request(request)).await?;
    Ok(conversation_response::answer(marked.into_inner().conversation))
}

async fn attachments(call: Call, params: Params) -> Answer {
    let mut fields = params.fields();
    let window = Window::read(&mut fields, ATTACHMENTS);
    let request = pb::ListConversationAttachmentsRequest {
        account_id: fields.account(),
        conversation_id: fields.path_id("conversation_id"),
        page_size: window.size,
        page_token: window.token.clone(),
        skip: window.skip,
    };
    call.admit(request.account_id, fields.verdict()).await?;
    let found = call
        .conversations()
        .list_conversation_attachments(call.request(request.clone()))
        .await?
        .into_inner();
    let shown = found.attachments.iter().take(window.rows);
    let payload: Vec<_> = shown.map(json::message::listed_attachment).collect();
    let mut meta = json!({ "total_count": found.total_size });
    window.tell(&mut meta, &found.next_page_token);
    let frame = |rows| json!({ "meta": meta, "payload": rows });
    let first = (payload, window.cut(found.next_page_token));
    Ok(rows::go_on(first, window.rows, frame, move |page_token, size| {
        let request = pb::ListConversationAttachmentsRequest {
            page_token,
            page_size: size.try_into().unwrap_or(ATTACHMENTS),
            skip: 0,
            ..request.clone()
        };
        let (mut client, request) = (call.conversations(), call.request(request));
        async move {
            let page = client.list_conversation_attachments(request).await?.into_inner();
            let shown = page.attachments.iter().map(json::message::listed_attachment);
            Ok((shown.collect(), page.next_page_token))
        }
    }))
}

async fn transcript(call: Call, params: Params) -> Answer {
    let mut fields = params.fields();
    let request = pb::SendTranscriptRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        email: fields.text("email").unwrap_or_default(),
    };
    let missing = Failure::error(StatusCode::UNPROCESSABLE_ENTITY, "email param missing");
    let given = if request.email.trim().is_empty() { Err(missing) } else { Ok(()) };
    call.admit(request.account_id, given).await?;
    call.admit(request.account_id, fields.verdict()).await?;
    call.conversations().send_transcript(call.request(request)).await?;
    Ok(json::empty())
}

/// `DELETE /conversations/{id}`.
pub async fn delete(call: Call, params: Params) -> Answer {
    let fields = params.fields();
    let request = pb::DeleteConversationRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
    };
    call.conversations().delete_conversation(call.request(request)).await?;
    Ok(json::empty())
}
