//! Text search: messages, conversations that contain them, and contacts.

use std::{collections::HashMap, sync::Arc};

use axum::response::Response;
use parley_proto::{self as pb, MessageType};
use prost::Message as _;
use serde_json::{Value as Json, json};

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
        schema::{Schema, integer, list as list_of, object, text, within},
    },
    params::{
        Params,
        fields::Fields,
        narrowing::{self, Narrowing},
    },
    resources::conversation_list,
};

/// Results per section in a search over everything.
const SECTION: i32 = 15;
/// Maximum messages of a page of conversations that one search returns.
const LINES: i32 = 1000;
/// Maximum searches for the messages of a page; each scans up to 20,000 messages.
const ROUNDS: usize = 10;

/// Bytes of a page's messages after which no further search is made.
const LINE_BYTES: usize = 4 * 1024 * 1024;

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
    let asked = |id, rpc| paging::taken(about(id, rpc).query("q", text()));
    let told = |section| found(&[section]).optional("meta", paging::told(object()));
    let told_found = |section| found(&[section]).optional("meta", paging::told_found(object()));
    Door::new("Search")
        .get(
            "/api/v1/accounts/{account_id}/conversations/search",
            conversations_of_messages,
            paging::taken(conversation_list::filtered(about(
                "searchConversations",
                "ConversationsService.ListConversations",
            )))
            .answers(
                object()
                    .key("meta", paging::told_found(json::conversation::counts_without_assigned_schema()))
                    .key("payload", list_of(json::search::conversation_schema())),
            ),
        )
        .get(
            SEARCH,
            everything,
            narrowing::of_messages(about("search", ""))
                .query("q", text())
                .query("page", integer())
                .answers(found(&[contacts.clone(), conversations.clone(), messages.clone()])),
        )
        .get(
            &format!("{SEARCH}/contacts"),
            contacts_alone,
            asked("searchForContacts", "ContactsService.SearchContacts").answers(told(contacts)),
        )
        .get(
            &format!("{SEARCH}/conversations"),
            conversations_alone,
            narrowing::of_conversations(asked("searchForConversations", "ConversationsService.ListConversations"))
                .answers(told_found(conversations)),
        )
        .get(
            &format!("{SEARCH}/messages"),
            messages_alone,
            narrowing::of_messages(asked("searchForMessages", "MessagesService.SearchMessages")).answers(told_found(messages)),
        )
}

async fn conversations_of_messages(call: Call, params: Params) -> Answer {
    let (found, window, request) = conversation_list::find(&call, &params, true).await?;
    let mut meta = json::conversation::counts_without_assigned(found.counts.as_ref());
    window.tell_found(&mut meta, &found.next_page_token, found.complete);
    let wanted = params.fields().text("q").unwrap_or_default().trim().to_owned();
    let shown = with_lines(&call, &found.conversations, &wanted).await?;
    let frame = |rows| json!({ "meta": meta, "payload": rows });
    let call = Arc::new(call);
    Ok(rows::go_on(
        (shown, window.cut(found.next_page_token)),
        window.rows,
        frame,
        move |page_token, size| {
            let request = pb::ListConversationsRequest {
                page_token,
                page_size: size.try_into().unwrap_or(SECTION),
                skip: 0,
                with_counts: false,
                ..request.clone()
            };
            let (call, wanted) = (Arc::clone(&call), wanted.clone());
            async move {
                let page = call.conversations().list_conversations(call.request(request)).await?.into_inner();
                Ok((with_lines(&call, &page.conversations, &wanted).await?, page.next_page_token))
            }
        },
    ))
}

/// Adds the matching messages to conversations.
async fn with_lines(call: &Call, conversations: &[pb::Conversation], text: &str) -> Result<Vec<Json>, Failure> {
    let Some(account_id) = conversations.first().map(|conversation| conversation.account_id) else {
        return Ok(Vec::new());
    };
    let lines = lines(call, account_id, conversations, text).await?;
    let mut request = pb::ListInboxesRequest {
        account_id,
        page_size: 1000,
        ..Default::default()
    };
    let mut inboxes = Vec::new();
    loop {
        let page = call.inboxes().list_inboxes(call.request(request.clone())).await?.into_inner();
        let wanted = |inbox: &pb::Inbox| conversations.iter().any(|conversation| conversation.inbox_id == inbox.id);
        inboxes.extend(page.inboxes.into_iter().filter(wanted));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let show = |conversation: &pb::Conversation| {
        let inbox = inboxes.iter().find(|inbox| inbox.id == conversation.inbox_id);
        let lines = lines.get(&conversation.id).map(Vec::as_slice).unwrap_or_default();
        json::search::conversation(conversation, inbox, lines.iter().rev())
    };
    Ok(conversations.iter().map(show).collect())
}

/// Finds the matching messages of conversations, by conversation, newest first. Requests further pages while a conversation has none, up to
/// [`ROUNDS`] and [`LINE_BYTES`].
async fn lines(
    call: &Call,
    account_id: i64,
    conversations: &[pb::Conversation],
    text: &str,
) -> Result<HashMap<i64, Vec<pb::Message>>, Failure> {
    let mut lines: HashMap<i64, Vec<pb::Message>> = HashMap::new();
    let mut request = pb::SearchMessagesRequest {
        account_id,
        text: text.to_owned(),
        page_size: LINES,
        conversation_ids: conversations.iter().map(|conversation| conversation.id).collect(),
        types: vec![MessageType::Incoming.into(), MessageType::Outgoing.into()],
        ..Default::default()
    };
    if text.is_empty() {
        return Ok(lines);
    }
    let mut bytes = 0;
    for _ in 0..ROUNDS {
        let found = call.messages().search_messages(call.request(request.clone())).await?.into_inner();
        bytes += found.encoded_len();
        for message in found.messages {
            lines.entry(message.conversation_id).or_default().push(message);
        }
        let none_is_without = request.conversation_ids.iter().all(|id| lines.contains_key(id));
        if found.next_page_token.is_empty() || none_is_without || bytes > LINE_BYTES {
            break;
        }
        request.page_token = found.next_page_token;
    }
    Ok(lines)
}

/// A parsed search request.
#[derive(Clone)]
struct Asked {
    account_id: i64,
    /// Empty if nothing is to be searched.
    text: String,
    narrowing: Narrowing,
    window: Window,
}

/// The results of a section, with their pagination.
#[derive(Default)]
struct Found {
    rows: Vec<Json>,
    next: String,
    /// Whether all messages were searched; `None` for a section that does not search messages.
    complete: Option<bool>,
}

async fn asked(call: &Call, params: &Params, window: fn(&mut Fields<'_>, i32) -> Window) -> Result<Asked, Failure> {
    let mut fields = params.fields();
    let account_id = fields.account();
    let mut text = fields.text("q").unwrap_or_default().trim().to_owned();
    let narrowing = Narrowing::read(&mut fields);
    let window = window(&mut fields, SECTION);
    call.admit(account_id, fields.verdict()).await?;
    if window.rows == 0 {
        text.clear();
    }
    if text.is_empty() {
        call.enter(account_id).await?;
    }
    Ok(Asked {
        account_id,
        text,
        narrowing,
        window,
    })
}

async fn contacts(call: &Call, asked: &Asked) -> Result<Found, Failure> {
    if asked.text.is_empty() {
        return Ok(Found::default());
    }
    let request = pb::SearchContactsRequest {
        account_id: asked.account_id,
        query: asked.text.clone(),
        page_size: asked.window.size,
        page_token: asked.window.token.clone(),
        skip: asked.window.skip,
        ..Default::default()
    };
    let found = call.contacts().search_contacts(call.request(request)).await?.into_inner();
    Ok(Found {
        rows: found.contacts.iter().map(json::search::contact).collect(),
        next: found.next_page_token,
        complete: None,
    })
}

async fn conversations(call: &Call, asked: &Asked) -> Result<Found, Failure> {
    if asked.text.is_empty() {
        return Ok(Found::default());
    }
    let request = pb::ListConversationsRequest {
        account_id: asked.account_id,
        text: asked.text.clone(),
        inbox_ids: asked.narrowing.inbox_ids.clone(),
        contact_id: asked.narrowing.contact_id,
        order_by: "-created_at".to_owned(),
        page_size: asked.window.size,
        page_token: asked.window.token.clone(),
        skip: asked.window.skip,
        ..Default::default()
    };
    let found = call.conversations().list_conversations(call.request(request)).await?.into_inner();
    Ok(Found {
        rows: with_lines(call, &found.conversations, &asked.text).await?,
        next: found.next_page_token,
        complete: Some(found.complete),
    })
}

async fn messages(call: &Call, asked: &Asked) -> Result<Found, Failure> {
    if asked.text.is_empty() {
        return Ok(Found::default());
    }
    let mut request = pb::SearchMessagesRequest {
        account_id: asked.account_id,
        text: asked.text.clone(),
        page_size: asked.window.size,
        page_token: asked.window.token.clone(),
        skip: asked.window.skip,
        ..Default::default()
    };
    asked.narrowing.apply(&mut request);
    let found = call.messages().search_messages(call.request(request)).await?.into_inner();
    Ok(Found {
        rows: found.messages.iter().map(json::search::message).collect(),
        next: found.next_page_token,
        complete: Some(found.complete),
    })
}

/// Responds with one section, with pagination metadata if the client asked for it.
fn answer<R>(section: &'static str, found: Found, asked: &Asked, fetch: impl FnMut(Asked) -> R + Send + 'static) -> Response
where
    R: Future<Output = Result<Found, Failure>> + Send + 'static,
{
    let window = &asked.window;
    let mut whole = json!({ "payload": {} });
    if window.is_told() {
        let mut meta = json!({});
        match found.complete {
            Some(complete) => window.tell_found(&mut meta, &found.next, complete),
            None => window.tell(&mut meta, &found.next),
        }
        whole["meta"] = meta;
    }
    let frame = move |rows| {
        whole["payload"][section] = rows;
        whole
    };
    rows::sections([self::section(found, asked, fetch)], |[rows]| frame(rows))
}

/// The rows of a section. Continues with further pages if the service has cut the first by bytes.
fn section<R>(found: Found, asked: &Asked, mut fetch: impl FnMut(Asked) -> R + Send + 'static) -> rows::Section
where
    R: Future<Output = Result<Found, Failure>> + Send + 'static,
{
    let asked = asked.clone();
    let first = (found.rows, asked.window.cut(found.next));
    rows::Section::new(first, asked.window.rows, move |token, size| {
        let page = fetch(Asked {
            window: asked.window.page(token, size),
            ..asked.clone()
        });
        async move {
            let found = page.await?;
            Ok((found.rows, found.next))
        }
    })
}

async fn everything(call: Call, params: Params) -> Answer {
    let asked = asked(&call, &params, |fields, usual| Window::numbered(fields, usual)).await?;
    let people = contacts(&call, &asked).await?;
    let talks = conversations(&call, &asked).await?;
    let texts = messages(&call, &asked).await?;
    let call = Arc::new(call);
    let [for_people, for_talks, for_texts] = [Arc::clone(&call), Arc::clone(&call), call];
    let sections = [
        section(people, &asked, move |asked| {
            let call = Arc::clone(&for_people);
            async move { contacts(&call, &asked).await }
        }),
        section(talks, &asked, move |asked| {
            let call = Arc::clone(&for_talks);
            async move { conversations(&call, &asked).await }
        }),
        section(texts, &asked, move |asked| {
            let call = Arc::clone(&for_texts);
            async move { messages(&call, &asked).await }
        }),
    ];
    Ok(rows::sections(
        sections,
        |[contacts, conversations, messages]| json!({ "payload": { "contacts": contacts, "conversations": conversations, "messages": messages } }),
    ))
}

async fn contacts_alone(call: Call, params: Params) -> Answer {
    let asked = asked(&call, &params, Window::read).await?;
    let found = contacts(&call, &asked).await?;
    let call = Arc::new(call);
    Ok(answer("contacts", found, &asked, move |asked| {
        let call = Arc::clone(&call);
        async move { contacts(&call, &asked).await }
    }))
}

async fn conversations_alone(call: Call, params: Params) -> Answer {
    let asked = asked(&call, &params, Window::read).await?;
    let found = conversations(&call, &asked).await?;
    let call = Arc::new(call);
    Ok(answer("conversations", found, &asked, move |asked| {
        let call = Arc::clone(&call);
        async move { conversations(&call, &asked).await }
    }))
}

async fn messages_alone(call: Call, params: Params) -> Answer {
    let asked = asked(&call, &params, Window::read).await?;
    let found = messages(&call, &asked).await?;
    let call = Arc::new(call);
    Ok(answer("messages", found, &asked, move |asked| {
        let call = Arc::clone(&call);
        async move { messages(&call, &asked).await }
    }))
}
