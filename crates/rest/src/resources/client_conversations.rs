//! Conversations and messages of the client API.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::response::Response;
use parley_proto as pb;
use prost::Message as _;
use serde_json::Map;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    json::{
        self,
        client::{ClientConversation, ClientMessage},
        values::Any,
    },
    lists::rows,
    params::{
        Params,
        attributes::Attributes,
        declaration::{OnOrOff, params},
        fields::ParamReader,
        message_draft::upload_ids,
        uploads::ParamsWithFiles,
    },
    resources::client::{CONTACTS, client_route, refused, session},
};

/// Maximum conversations in one response: Chatwoot does not paginate them.
const CONVERSATIONS: usize = 1000;

/// Messages in one response.
const MESSAGES: usize = 20;

/// Once a response exceeds this number of bytes, its remaining conversations are listed without messages.
const MESSAGE_BYTES: usize = 8 * 1024 * 1024;

params! {
    struct NewConversation { custom_attributes: Attributes }
    struct Typing { typing_status: OnOrOff }
    struct NewMessage { content: Option<String>, echo_id: Option<String>, attachments: Vec<String> as Vec<String> = upload_ids }
}

pub fn routes() -> ApiRouter {
    let all = format!("{CONTACTS}/{{contact_identifier}}/conversations");
    let one = format!("{all}/{{conversation_id}}");
    ApiRouter::new("Client side")
        .get(
            &all,
            list,
            client_route("listClientConversations", "ClientService.ListClientConversations").returns::<Vec<ClientConversation>>(),
        )
        .post(
            &all,
            create,
            client_route("createClientConversation", "ClientService.CreateClientConversation")
                .params::<NewConversation>()
                .returns::<ClientConversation>(),
        )
        .get(
            &one,
            show,
            client_route("showClientConversation", "ClientService.GetClientConversation").returns::<ClientConversation>(),
        )
        .post(
            &format!("{one}/toggle_status"),
            resolve,
            client_route("resolveClientConversation", "ClientService.ResolveClientConversation").returns::<ClientConversation>(),
        )
        .post(
            &format!("{one}/toggle_typing"),
            toggle_typing,
            client_route("toggleClientTyping", "ClientService.SetClientTyping")
                .params::<Typing>()
                .reads(),
        )
        .post(
            &format!("{one}/update_last_seen"),
            mark_seen,
            client_route("markClientConversationSeen", "ClientService.MarkClientConversationSeen"),
        )
        .get(
            &format!("{one}/messages"),
            messages,
            client_route("listClientMessages", "ClientService.ListClientMessages")
                .query::<i64>("before")
                .returns::<Vec<ClientMessage>>(),
        )
        .post(
            &format!("{one}/messages"),
            write,
            client_route("createClientMessage", "ClientService.CreateClientMessage")
                .params::<NewMessage>()
                .returns::<ClientMessage>(),
        )
        .update(
            &format!("{one}/messages/{{message_id}}"),
            submit,
            client_route("updateClientMessage", "ClientService.UpdateClientMessage")
                .body::<Any>("submitted_values")
                .returns::<ClientMessage>(),
        )
}

fn answer(conversation: Option<pb::ClientConversation>) -> Response {
    json::ok(&ClientConversation::from(conversation.unwrap_or_default()))
}

fn message_response(message: Option<pb::Message>) -> Response {
    json::ok(&ClientMessage::from(message.unwrap_or_default()))
}

fn conversation(fields: &ParamReader<'_>) -> i64 {
    fields.path_id("conversation_id")
}

async fn list(call: Call, params: Params) -> ApiResult {
    let session = session(&mut params.fields());
    let written = Arc::new(AtomicUsize::new(0));
    let fetch = move |page_token, size: usize| {
        let request = pb::ListClientConversationsRequest {
            session: Some(session.clone()),
            page_size: size.min(100).try_into().unwrap_or_default(),
            page_token,
            without_messages: written.load(Ordering::Relaxed) > MESSAGE_BYTES,
        };
        let (mut client, request) = (call.client(), call.request(request));
        let written = Arc::clone(&written);
        async move {
            let page = client.list_client_conversations(request).await.map_err(refused)?.into_inner();
            written.fetch_add(page.encoded_len(), Ordering::Relaxed);
            let rows = page.conversations.into_iter().map(ClientConversation::from);
            Ok((rows.collect(), page.next_page_token))
        }
    };
    let first = fetch(String::new(), CONVERSATIONS).await?;
    Ok(rows::paginated(first, CONVERSATIONS, |rows| rows, fetch))
}

async fn create(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let sent: NewConversation = fields.parse()?;
    let request = pb::CreateClientConversationRequest {
        session: Some(session(&mut fields)),
        request_id: call.request_id(),
        custom_attributes: sent.custom_attributes,
    };
    let made = call.client().create_client_conversation(call.request(request)).await;
    Ok(answer(made.map_err(refused)?.into_inner().conversation))
}

async fn show(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let request = pb::GetClientConversationRequest {
        session: Some(session(&mut fields)),
        conversation_id: conversation(&fields),
    };
    let found = call.client().get_client_conversation(call.request(request)).await;
    Ok(answer(found.map_err(refused)?.into_inner().conversation))
}

/// Only resolves a conversation, although the path is `toggle_status`.
async fn resolve(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let request = pb::ResolveClientConversationRequest {
        session: Some(session(&mut fields)),
        request_id: call.request_id(),
        conversation_id: conversation(&fields),
    };
    let resolved = call.client().resolve_client_conversation(call.request(request)).await;
    Ok(answer(resolved.map_err(refused)?.into_inner().conversation))
}

async fn toggle_typing(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let typing = match fields.read::<Typing>().typing_status.as_deref() {
        Some("on") => true,
        Some("off") => false,
        // Any other value has no effect, but the conversation must exist and belong to the session.
        _ => {
            let request = pb::ListClientMessagesRequest {
                session: Some(session(&mut fields)),
                conversation_id: conversation(&fields),
                page_size: 1,
                ..Default::default()
            };
            call.client().list_client_messages(call.request(request)).await.map_err(refused)?;
            return Ok(json::empty());
        }
    };
    let request = pb::SetClientTypingRequest {
        session: Some(session(&mut fields)),
        request_id: String::new(),
        conversation_id: conversation(&fields),
        typing,
    };
    call.client().set_client_typing(call.request(request)).await.map_err(refused)?;
    Ok(json::empty())
}

async fn mark_seen(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let request = pb::MarkClientConversationSeenRequest {
        session: Some(session(&mut fields)),
        request_id: call.request_id(),
        conversation_id: conversation(&fields),
    };
    let looked = call.client().mark_client_conversation_seen(call.request(request)).await;
    looked.map_err(refused)?;
    Ok(json::empty())
}

async fn messages(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let request = pb::ListClientMessagesRequest {
        session: Some(session(&mut fields)),
        conversation_id: conversation(&fields),
        // A value that is not a number counts as 0, as in Chatwoot.
        before: fields.has_value("before").then(|| fields.integer("before").unwrap_or(0)),
        ..Default::default()
    };
    let fetch = move |page_token, size: usize| {
        let request = pb::ListClientMessagesRequest {
            page_token,
            page_size: size.try_into().unwrap_or_default(),
            ..request.clone()
        };
        let (mut client, request) = (call.client(), call.request(request));
        async move {
            let page = client.list_client_messages(request).await.map_err(refused)?.into_inner();
            Ok((page.messages.into_iter().map(ClientMessage::from).collect(), page.next_page_token))
        }
    };
    let first = fetch(String::new(), MESSAGES).await?;
    rows::backwards(first, MESSAGES, |rows| rows, fetch).await
}

async fn write(call: Call, ParamsWithFiles(params): ParamsWithFiles) -> ApiResult {
    let mut fields = params.fields();
    let sent: NewMessage = fields.parse()?;
    let request = pb::CreateClientMessageRequest {
        session: Some(session(&mut fields)),
        request_id: call.request_id(),
        conversation_id: conversation(&fields),
        content: sent.content,
        echo_id: sent.echo_id,
        upload_ids: sent.attachments,
    };
    let made = call.client().create_client_message(call.request(request)).await;
    Ok(message_response(made.map_err(refused)?.into_inner().message))
}

async fn submit(call: Call, params: Params) -> ApiResult {
    const KEY: &str = "submitted_values";
    let mut fields = params.fields();
    let given = Map::from_iter([(KEY.to_owned(), fields.raw(KEY).cloned().unwrap_or_default())]);
    let inexact = fields.inexact_inside(KEY);
    let submitted = fields.exact_attributes(KEY, &given, inexact);
    let request = pb::UpdateClientMessageRequest {
        session: Some(session(&mut fields)),
        request_id: call.request_id(),
        conversation_id: conversation(&fields),
        message_id: fields.path_id("message_id"),
        submitted_values: submitted.and_then(|mut submitted| submitted.fields.remove(KEY)),
    };
    fields.finish()?;
    let changed = call.client().update_client_message(call.request(request)).await;
    Ok(message_response(changed.map_err(refused)?.into_inner().message))
}
