//! Finding things by a piece of text: messages, the conversations that hold them, and contacts.

use std::collections::HashMap;

use axum::response::Response;
use serde_json::{Map, Value as Json, json};

use super::{
    Answer,
    call::Call,
    conversation_list,
    door::Door,
    error::Failure,
    fields::Fields,
    json,
    openapi::{
        about,
        schema::{Schema, integer, list as list_of, object, text, within},
    },
    paging,
    params::Params,
};
use crate::pb::{self, MessageType};

/// How many a section of the search over everything shows.
const SECTION: i32 = 15;
/// The most messages that are shown with the conversations of a page.
const LINES: i32 = 1000;
/// The most that the service leaves out before a page.
const FARTHEST: i64 = 1_000_000;

/// The routes of this file.
pub fn routes() -> Door {
    const SEARCH: &str = "/api/v1/accounts/{account_id}/search";
    let found = |sections: &[(&'static str, Schema)]| {
        let payload = sections
            .iter()
            .fold(object(), |all, (key, shape)| all.key(key, list_of(shape.clone())));
        within("payload", payload)
    };
    let (contacts, conversations, messages) = (
        ("contacts", json::search::contact_schema()),
        ("conversations", json::search::conversation_schema()),
        ("messages", json::search::message_schema()),
    );
    let asked = |id, summary, rpc| about(id, summary, rpc).query("q", text()).query("page", integer());
    Door::new("Search")
        .get(
            "/api/v1/accounts/{account_id}/conversations/search",
            conversations_of_messages,
            paging::taken(conversation_list::filtered(about(
                "searchConversations",
                "Finds conversations by the text of their messages",
                "ConversationsService.ListConversations",
            )))
            .answers(
                object()
                    .key("meta", paging::told(json::search::counts_schema()))
                    .key("payload", list_of(json::search::conversation_schema())),
            ),
        )
        .get(
            SEARCH,
            everything,
            asked("search", "Finds contacts, conversations and messages, 15 of each a page", "").answers(found(&[
                contacts.clone(),
                conversations.clone(),
                messages.clone(),
            ])),
        )
        .get(
            &format!("{SEARCH}/contacts"),
            contacts_alone,
            asked("searchForContacts", "Finds contacts, 15 a page", "ContactsService.SearchContacts").answers(found(&[contacts])),
        )
        .get(
            &format!("{SEARCH}/conversations"),
            conversations_alone,
            asked(
                "searchForConversations",
                "Finds conversations by the text of their messages, 15 a page",
                "ConversationsService.ListConversations",
            )
            .answers(found(&[conversations])),
        )
        .get(
            &format!("{SEARCH}/messages"),
            messages_alone,
            asked("searchForMessages", "Finds messages, 15 a page", "MessagesService.SearchMessages").answers(found(&[messages])),
        )
}

async fn conversations_of_messages(call: Call, params: Params) -> Answer {
    let (found, window) = conversation_list::find(&call, &params, true).await?;
    let mut meta = json::search::counts(found.counts.as_ref());
    window.tell(&mut meta, &found.next_page_token);
    let wanted = params.fields().text("q").unwrap_or_default().trim().to_owned();
    Ok(json::ok(&json!({
        "meta": meta,
        "payload": with_lines(&call, &found.conversations, &wanted).await?,
    })))
}

/// The conversations, each with its messages that hold the text.
async fn with_lines(call: &Call, conversations: &[pb::Conversation], text: &str) -> Result<Vec<Json>, Failure> {
    let Some(account_id) = conversations.first().map(|conversation| conversation.account_id) else {
        return Ok(Vec::new());
    };
    let mut lines: HashMap<i64, Vec<pb::Message>> = HashMap::new();
    if !text.is_empty() {
        let request = pb::SearchMessagesRequest {
            account_id,
            text: text.to_owned(),
            page_size: LINES,
            conversation_ids: conversations.iter().map(|conversation| conversation.id).collect(),
            types: vec![MessageType::Incoming.into(), MessageType::Outgoing.into()],
            ..Default::default()
        };
        let found = call.messages().search_messages(call.request(request)).await?.into_inner();
        for message in found.messages {
            lines.entry(message.conversation_id).or_default().push(message);
        }
    }
    let request = pb::ListInboxesRequest {
        account_id,
        page_size: 1000,
        ..Default::default()
    };
    let inboxes = call.inboxes().list_inboxes(call.request(request)).await?.into_inner().inboxes;
    let show = |conversation: &pb::Conversation| {
        let inbox = inboxes.iter().find(|inbox| inbox.id == conversation.inbox_id);
        let lines = lines.get(&conversation.id).map(Vec::as_slice).unwrap_or_default();
        json::search::conversation(conversation, inbox, lines.iter().rev())
    };
    Ok(conversations.iter().map(show).collect())
}

/// What is searched for; none if there is nothing to search for.
struct Asked {
    account_id: i64,
    text: String,
    skip: i32,
}

async fn asked(call: &Call, fields: &mut Fields<'_>) -> Result<Option<Asked>, Failure> {
    let account_id = fields.account();
    let text = fields.text("q").unwrap_or_default().trim().to_owned();
    call.admit(account_id, fields.verdict()).await?;
    let skip = (fields.page() - 1).saturating_mul(i64::from(SECTION));
    let skip = i32::try_from(skip).ok().filter(|skip| i64::from(*skip) <= FARTHEST);
    match skip {
        Some(skip) if !text.is_empty() => Ok(Some(Asked { account_id, text, skip })),
        _ => {
            call.enter(account_id).await?;
            Ok(None)
        }
    }
}

async fn contacts(call: &Call, asked: &Asked) -> Result<Json, Failure> {
    let request = pb::SearchContactsRequest {
        account_id: asked.account_id,
        query: asked.text.clone(),
        page_size: SECTION,
        skip: asked.skip,
        ..Default::default()
    };
    let found = call.contacts().search_contacts(call.request(request)).await?.into_inner();
    Ok(found.contacts.iter().map(json::search::contact).collect())
}

async fn conversations(call: &Call, asked: &Asked) -> Result<Json, Failure> {
    let request = pb::ListConversationsRequest {
        account_id: asked.account_id,
        text: asked.text.clone(),
        order_by: "-created_at".to_owned(),
        page_size: SECTION,
        skip: asked.skip,
        ..Default::default()
    };
    let found = call.conversations().list_conversations(call.request(request)).await?.into_inner();
    Ok(with_lines(call, &found.conversations, &asked.text).await?.into())
}

async fn messages(call: &Call, asked: &Asked) -> Result<Json, Failure> {
    let request = pb::SearchMessagesRequest {
        account_id: asked.account_id,
        text: asked.text.clone(),
        page_size: SECTION,
        skip: asked.skip,
        ..Default::default()
    };
    let found = call.messages().search_messages(call.request(request)).await?.into_inner();
    Ok(found.messages.iter().map(json::search::message).collect())
}

fn answer(sections: impl IntoIterator<Item = (&'static str, Json)>) -> Response {
    let payload: Map<String, Json> = sections.into_iter().map(|(key, found)| (key.to_owned(), found)).collect();
    json::ok(&json!({ "payload": payload }))
}

async fn everything(call: Call, params: Params) -> Answer {
    let asked = asked(&call, &mut params.fields()).await?;
    let (mut people, mut talks, mut texts) = (json!([]), json!([]), json!([]));
    if let Some(asked) = asked {
        people = contacts(&call, &asked).await?;
        talks = conversations(&call, &asked).await?;
        texts = messages(&call, &asked).await?;
    }
    Ok(answer([("contacts", people), ("conversations", talks), ("messages", texts)]))
}

async fn contacts_alone(call: Call, params: Params) -> Answer {
    let found = match asked(&call, &mut params.fields()).await? {
        Some(asked) => contacts(&call, &asked).await?,
        None => json!([]),
    };
    Ok(answer([("contacts", found)]))
}

async fn conversations_alone(call: Call, params: Params) -> Answer {
    let found = match asked(&call, &mut params.fields()).await? {
        Some(asked) => conversations(&call, &asked).await?,
        None => json!([]),
    };
    Ok(answer([("conversations", found)]))
}

async fn messages_alone(call: Call, params: Params) -> Answer {
    let found = match asked(&call, &mut params.fields()).await? {
        Some(asked) => messages(&call, &asked).await?,
        None => json!([]),
    };
    Ok(answer([("messages", found)]))
}
