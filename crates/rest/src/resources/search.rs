//! Text search: messages, conversations that contain them, and contacts.

use std::{collections::HashMap, sync::Arc};

use axum::response::Response;
use parley_proto::{self as pb, MessageType};
use prost::Message as _;
use serde_json::{Value as Json, json};

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
        schema::{Schema, integer, list as list_of, object, text, within},
    },
    params::{
        Params,
        fields::ParamReader,
        search_scope::{self, SearchScope},
    },
    resources::conversation_list,
};

/// Results per section in a search over everything.
const SECTION: i32 = 15;
/// Maximum messages of a page of conversations that one search returns.
const MAX_MESSAGES: i32 = 1000;
/// Maximum searches for the messages of a page; each scans up to 20,000 messages.
const MAX_SEARCHES: usize = 10;

/// Bytes of a page's messages after which no further search is made.
const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

pub fn routes() -> ApiRouter {
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
    let section_route = |id, rpc| pagination::page_params(describe(id, rpc).query("q", text()));
    let with_meta = |section| found(&[section]).optional("meta", pagination::meta_schema(object()));
    let with_search_meta = |section| found(&[section]).optional("meta", pagination::search_meta_schema(object()));
    ApiRouter::new("Search")
        .get(
            "/api/v1/accounts/{account_id}/conversations/search",
            conversations_of_messages,
            pagination::page_params(conversation_list::filtered(describe(
                "searchConversations",
                "ConversationsService.ListConversations",
            )))
            .returns(
                object()
                    .key(
                        "meta",
                        pagination::search_meta_schema(json::conversation::counts_without_assigned_schema()),
                    )
                    .key("payload", list_of(json::search::conversation_schema())),
            ),
        )
        .get(
            SEARCH,
            search_all,
            search_scope::of_messages(describe("search", ""))
                .query("q", text())
                .query("page", integer())
                .returns(found(&[contacts.clone(), conversations.clone(), messages.clone()])),
        )
        .get(
            &format!("{SEARCH}/contacts"),
            contacts_section,
            section_route("searchForContacts", "ContactsService.SearchContacts").returns(with_meta(contacts)),
        )
        .get(
            &format!("{SEARCH}/conversations"),
            conversations_section,
            search_scope::of_conversations(section_route("searchForConversations", "ConversationsService.ListConversations"))
                .returns(with_search_meta(conversations)),
        )
        .get(
            &format!("{SEARCH}/messages"),
            messages_section,
            search_scope::of_messages(section_route("searchForMessages", "MessagesService.SearchMessages"))
                .returns(with_search_meta(messages)),
        )
}

async fn conversations_of_messages(call: Call, params: Params) -> ApiResult {
    let (found, window, request) = conversation_list::find(&call, &params, true).await?;
    let mut meta = json::conversation::counts_without_assigned(found.counts.as_ref());
    window.write_search_meta(&mut meta, &found.next_page_token, found.complete);
    let text = params.fields().text("q").unwrap_or_default().trim().to_owned();
    let rows = with_messages(&call, &found.conversations, &text).await?;
    let frame = |rows| json!({ "meta": meta, "payload": rows });
    let call = Arc::new(call);
    Ok(rows::paginated(
        (rows, window.cut(found.next_page_token)),
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
            let (call, text) = (Arc::clone(&call), text.clone());
            async move {
                let page = call.send(request).await?;
                Ok((with_messages(&call, &page.conversations, &text).await?, page.next_page_token))
            }
        },
    ))
}

/// Adds the matching messages to conversations.
async fn with_messages(call: &Call, conversations: &[pb::Conversation], text: &str) -> Result<Vec<Json>, ApiError> {
    let Some(account_id) = conversations.first().map(|conversation| conversation.account_id) else {
        return Ok(Vec::new());
    };
    let matching_messages = matching_messages(call, account_id, conversations, text).await?;
    let mut request = pb::ListInboxesRequest {
        account_id,
        page_size: 1000,
        ..Default::default()
    };
    let mut inboxes = Vec::new();
    loop {
        let page = call.send(request.clone()).await?;
        let is_used = |inbox: &pb::Inbox| conversations.iter().any(|conversation| conversation.inbox_id == inbox.id);
        inboxes.extend(page.inboxes.into_iter().filter(is_used));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let show = |conversation: &pb::Conversation| {
        let inbox = inboxes.iter().find(|inbox| inbox.id == conversation.inbox_id);
        let matching_messages = matching_messages.get(&conversation.id).map(Vec::as_slice).unwrap_or_default();
        json::search::conversation(conversation, inbox, matching_messages.iter().rev())
    };
    Ok(conversations.iter().map(show).collect())
}

/// Finds the matching messages of conversations, by conversation, newest first. Requests further pages while a conversation has none, up to
/// [`MAX_SEARCHES`] and [`MAX_MESSAGE_BYTES`].
async fn matching_messages(
    call: &Call,
    account_id: i64,
    conversations: &[pb::Conversation],
    text: &str,
) -> Result<HashMap<i64, Vec<pb::Message>>, ApiError> {
    let mut matching_messages: HashMap<i64, Vec<pb::Message>> = HashMap::new();
    let mut request = pb::SearchMessagesRequest {
        account_id,
        text: text.to_owned(),
        page_size: MAX_MESSAGES,
        conversation_ids: conversations.iter().map(|conversation| conversation.id).collect(),
        types: vec![MessageType::Incoming.into(), MessageType::Outgoing.into()],
        ..Default::default()
    };
    if text.is_empty() {
        return Ok(matching_messages);
    }
    let mut bytes = 0;
    for _ in 0..MAX_SEARCHES {
        let found = call.send(request.clone()).await?;
        bytes += found.encoded_len();
        for message in found.messages {
            matching_messages.entry(message.conversation_id).or_default().push(message);
        }
        let none_is_without = request.conversation_ids.iter().all(|id| matching_messages.contains_key(id));
        if found.next_page_token.is_empty() || none_is_without || bytes > MAX_MESSAGE_BYTES {
            break;
        }
        request.page_token = found.next_page_token;
    }
    Ok(matching_messages)
}

/// A parsed search request.
#[derive(Clone)]
struct SearchRequest {
    account_id: i64,
    /// Empty if nothing is to be searched.
    text: String,
    scope: SearchScope,
    window: PageWindow,
}

/// The results of a section, with their pagination.
#[derive(Default)]
struct SectionResult {
    rows: Vec<Json>,
    next: String,
    /// Whether all messages were searched; `None` for a section that does not search messages.
    complete: Option<bool>,
}

async fn parse_search(
    call: &Call,
    params: &Params,
    window: fn(&mut ParamReader<'_>, i32) -> PageWindow,
) -> Result<SearchRequest, ApiError> {
    let mut fields = params.fields();
    let account_id = fields.account();
    let mut text = fields.text("q").unwrap_or_default().trim().to_owned();
    let scope = SearchScope::read(&mut fields);
    let window = window(&mut fields, SECTION);
    call.authorize_error(account_id, fields.finish()).await?;
    if window.rows == 0 {
        text.clear();
    }
    if text.is_empty() {
        call.authorize(account_id).await?;
    }
    Ok(SearchRequest {
        account_id,
        text,
        scope,
        window,
    })
}

async fn contacts(call: &Call, search: &SearchRequest) -> Result<SectionResult, ApiError> {
    if search.text.is_empty() {
        return Ok(SectionResult::default());
    }
    let request = pb::SearchContactsRequest {
        account_id: search.account_id,
        query: search.text.clone(),
        page_size: search.window.size,
        page_token: search.window.token.clone(),
        skip: search.window.skip,
        ..Default::default()
    };
    let found = call.send(request).await?;
    Ok(SectionResult {
        rows: found.contacts.iter().map(json::search::contact).collect(),
        next: found.next_page_token,
        complete: None,
    })
}

async fn conversations(call: &Call, search: &SearchRequest) -> Result<SectionResult, ApiError> {
    if search.text.is_empty() {
        return Ok(SectionResult::default());
    }
    let request = pb::ListConversationsRequest {
        account_id: search.account_id,
        text: search.text.clone(),
        inbox_ids: search.scope.inbox_ids.clone(),
        contact_id: search.scope.contact_id,
        order_by: "-created_at".to_owned(),
        page_size: search.window.size,
        page_token: search.window.token.clone(),
        skip: search.window.skip,
        ..Default::default()
    };
    let found = call.send(request).await?;
    Ok(SectionResult {
        rows: with_messages(call, &found.conversations, &search.text).await?,
        next: found.next_page_token,
        complete: Some(found.complete),
    })
}

async fn messages(call: &Call, search: &SearchRequest) -> Result<SectionResult, ApiError> {
    if search.text.is_empty() {
        return Ok(SectionResult::default());
    }
    let mut request = pb::SearchMessagesRequest {
        account_id: search.account_id,
        text: search.text.clone(),
        page_size: search.window.size,
        page_token: search.window.token.clone(),
        skip: search.window.skip,
        ..Default::default()
    };
    search.scope.apply(&mut request);
    let found = call.send(request).await?;
    Ok(SectionResult {
        rows: found.messages.iter().map(json::search::message).collect(),
        next: found.next_page_token,
        complete: Some(found.complete),
    })
}

/// Responds with one section, with pagination metadata if the client asked for it.
fn answer<R>(
    section: &'static str,
    found: SectionResult,
    search: &SearchRequest,
    fetch: impl FnMut(SearchRequest) -> R + Send + 'static,
) -> Response
where
    R: Future<Output = Result<SectionResult, ApiError>> + Send + 'static,
{
    let window = &search.window;
    let mut whole = json!({ "payload": {} });
    if window.has_cursor_meta() {
        let mut meta = json!({});
        match found.complete {
            Some(complete) => window.write_search_meta(&mut meta, &found.next, complete),
            None => window.write_meta(&mut meta, &found.next),
        }
        whole["meta"] = meta;
    }
    let frame = move |rows| {
        whole["payload"][section] = rows;
        whole
    };
    rows::sections([self::section(found, search, fetch)], |[rows]| frame(rows))
}

/// The rows of a section. Continues with further pages if the service has cut the first by bytes.
fn section<R>(found: SectionResult, search: &SearchRequest, mut fetch: impl FnMut(SearchRequest) -> R + Send + 'static) -> rows::Section
where
    R: Future<Output = Result<SectionResult, ApiError>> + Send + 'static,
{
    let search = search.clone();
    let first = (found.rows, search.window.cut(found.next));
    rows::Section::new(first, search.window.rows, move |token, size| {
        let page = fetch(SearchRequest {
            window: search.window.page(token, size),
            ..search.clone()
        });
        async move {
            let found = page.await?;
            Ok((found.rows, found.next))
        }
    })
}

async fn search_all(call: Call, params: Params) -> ApiResult {
    let search = parse_search(&call, &params, |fields, usual| PageWindow::numbered(fields, usual)).await?;
    let found_contacts = contacts(&call, &search).await?;
    let found_conversations = conversations(&call, &search).await?;
    let found_messages = messages(&call, &search).await?;
    let call = Arc::new(call);
    let [for_contacts, for_conversations, for_messages] = [Arc::clone(&call), Arc::clone(&call), call];
    let sections = [
        section(found_contacts, &search, move |search| {
            let call = Arc::clone(&for_contacts);
            async move { contacts(&call, &search).await }
        }),
        section(found_conversations, &search, move |search| {
            let call = Arc::clone(&for_conversations);
            async move { conversations(&call, &search).await }
        }),
        section(found_messages, &search, move |search| {
            let call = Arc::clone(&for_messages);
            async move { messages(&call, &search).await }
        }),
    ];
    Ok(rows::sections(
        sections,
        |[contacts, conversations, messages]| json!({ "payload": { "contacts": contacts, "conversations": conversations, "messages": messages } }),
    ))
}

async fn contacts_section(call: Call, params: Params) -> ApiResult {
    let search = parse_search(&call, &params, PageWindow::read).await?;
    let found = contacts(&call, &search).await?;
    let call = Arc::new(call);
    Ok(answer("contacts", found, &search, move |search| {
        let call = Arc::clone(&call);
        async move { contacts(&call, &search).await }
    }))
}

async fn conversations_section(call: Call, params: Params) -> ApiResult {
    let search = parse_search(&call, &params, PageWindow::read).await?;
    let found = conversations(&call, &search).await?;
    let call = Arc::new(call);
    Ok(answer("conversations", found, &search, move |search| {
        let call = Arc::clone(&call);
        async move { conversations(&call, &search).await }
    }))
}

async fn messages_section(call: Call, params: Params) -> ApiResult {
    let search = parse_search(&call, &params, PageWindow::read).await?;
    let found = messages(&call, &search).await?;
    let call = Arc::new(call);
    Ok(answer("messages", found, &search, move |search| {
        let call = Arc::clone(&call);
        async move { messages(&call, &search).await }
    }))
}
