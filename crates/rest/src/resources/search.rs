//! Text search: messages, conversations that contain them, and contacts.

use std::{collections::HashMap, sync::Arc};

use axum::response::Response;
use parley_proto::{self as pb, MessageType};
use prost::Message as _;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    errors::ApiError,
    json::{
        conversation::Counts,
        search::{FoundContact, FoundConversation, FoundMessage},
        values::{List, Payload, one_key},
    },
    lists::{
        pagination::{self, Cursor, PageMeta, PageWindow, SearchCursor},
        rows::{self, Rows},
    },
    openapi::describe,
    params::{
        Params,
        fields::ParamReader,
        search_scope::{self, SearchScope},
    },
    resources::conversation_list,
};

/// Results per section in a search over everything.
const SECTION: i32 = 15;
/// Maximum messages that one search returns for a page of conversations.
const MAX_MESSAGES: i32 = 1000;
/// Maximum searches for messages per page of conversations; each search scans up to 20,000 messages.
const MAX_SEARCHES: usize = 10;

/// Once the messages found for a page of conversations exceed this number of bytes, no further search is made.
const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

pub fn routes() -> ApiRouter {
    const SEARCH: &str = "/api/v1/accounts/{account_id}/search";
    let section_route = |id, rpc| pagination::page_params(describe(id, rpc).query::<String>("q"));
    ApiRouter::new("Search")
        .get(
            "/api/v1/accounts/{account_id}/conversations/search",
            conversations_of_messages,
            pagination::page_params(conversation_list::filtered(describe(
                "searchConversations",
                "ConversationsService.ListConversations",
            )))
            .returns::<List<PageMeta<Counts, SearchCursor>, Vec<FoundConversation>>>(),
        )
        .get(
            SEARCH,
            search_all,
            search_scope::of_messages(describe("search", ""))
                .query::<String>("q")
                .query::<i64>("page")
                .returns::<Payload<AllFound>>(),
        )
        .get(
            &format!("{SEARCH}/contacts"),
            contacts_section,
            section_route("searchForContacts", "ContactsService.SearchContacts")
                .returns::<FoundSection<FoundContacts<Vec<FoundContact>>, Cursor>>(),
        )
        .get(
            &format!("{SEARCH}/conversations"),
            conversations_section,
            search_scope::of_conversations(section_route("searchForConversations", "ConversationsService.ListConversations"))
                .returns::<FoundSection<FoundConversations<Vec<FoundConversation>>, SearchCursor>>(),
        )
        .get(
            &format!("{SEARCH}/messages"),
            messages_section,
            search_scope::of_messages(section_route("searchForMessages", "MessagesService.SearchMessages"))
                .returns::<FoundSection<FoundMessages<Vec<FoundMessage>>, SearchCursor>>(),
        )
}

// The results of a section, with where it continues: a [`Cursor`] or a [`SearchCursor`].
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct FoundSection<P, C> {
    payload: P,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    meta: Option<C>,
}

one_key!(FoundContacts { contacts });

one_key!(FoundConversations { conversations });

one_key!(FoundMessages { messages });

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct AllFound {
    contacts: Rows<FoundContact>,
    conversations: Rows<FoundConversation>,
    messages: Rows<FoundMessage>,
}

async fn conversations_of_messages(call: Call, params: Params) -> ApiResult {
    let (found, window, request) = conversation_list::find(&call, &params, true).await?;
    let meta = PageMeta {
        meta: Counts::from(found.counts),
        cursor: window.search_cursor(&found.next_page_token, Some(found.complete)),
    };
    let text = params.fields().text("q").unwrap_or_default().trim().to_owned();
    let rows = with_messages(&call, found.conversations, &text).await?;
    let frame = |payload| List { meta, payload };
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
                let page = call.conversations().list_conversations(call.request(request)).await?.into_inner();
                Ok((with_messages(&call, page.conversations, &text).await?, page.next_page_token))
            }
        },
    ))
}

/// Adds the matching messages to conversations.
async fn with_messages(call: &Call, conversations: Vec<pb::Conversation>, text: &str) -> Result<Vec<FoundConversation>, ApiError> {
    let Some(account_id) = conversations.first().map(|conversation| conversation.account_id) else {
        return Ok(Vec::new());
    };
    let mut matching_messages = matching_messages(call, account_id, &conversations, text).await?;
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
    let show = |conversation: pb::Conversation| {
        let inbox = inboxes.iter().find(|inbox| inbox.id == conversation.inbox_id);
        let mut messages = matching_messages.remove(&conversation.id).unwrap_or_default();
        messages.reverse();
        FoundConversation::new(conversation, inbox, messages)
    };
    Ok(conversations.into_iter().map(show).collect())
}

/// Finds the matching messages of the given conversations, and returns them by conversation, newest first. Requests further pages of
/// messages until each conversation has one, up to [`MAX_SEARCHES`] and [`MAX_MESSAGE_BYTES`].
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
    /// The text to search for; if it is empty, nothing is searched.
    text: String,
    scope: SearchScope,
    window: PageWindow,
}

/// The results of a section, with their pagination.
struct SectionResult<T> {
    rows: Vec<T>,
    next: String,
    /// Whether all messages were searched; `None` for a section that does not search messages.
    complete: Option<bool>,
}

impl<T> SectionResult<T> {
    fn empty() -> Self {
        Self {
            rows: Vec::new(),
            next: String::new(),
            complete: None,
        }
    }
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

async fn contacts(call: &Call, search: &SearchRequest) -> Result<SectionResult<FoundContact>, ApiError> {
    if search.text.is_empty() {
        return Ok(SectionResult::empty());
    }
    let request = pb::SearchContactsRequest {
        account_id: search.account_id,
        query: search.text.clone(),
        page_size: search.window.size,
        page_token: search.window.token.clone(),
        skip: search.window.skip,
        ..Default::default()
    };
    let found = call.contacts().search_contacts(call.request(request)).await?.into_inner();
    Ok(SectionResult {
        rows: found.contacts.into_iter().map(FoundContact::from).collect(),
        next: found.next_page_token,
        complete: None,
    })
}

async fn conversations(call: &Call, search: &SearchRequest) -> Result<SectionResult<FoundConversation>, ApiError> {
    if search.text.is_empty() {
        return Ok(SectionResult::empty());
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
    let found = call.conversations().list_conversations(call.request(request)).await?.into_inner();
    Ok(SectionResult {
        rows: with_messages(call, found.conversations, &search.text).await?,
        next: found.next_page_token,
        complete: Some(found.complete),
    })
}

async fn messages(call: &Call, search: &SearchRequest) -> Result<SectionResult<FoundMessage>, ApiError> {
    if search.text.is_empty() {
        return Ok(SectionResult::empty());
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
        rows: found.messages.into_iter().map(FoundMessage::from).collect(),
        next: found.next_page_token,
        complete: Some(found.complete),
    })
}

/// Responds with one section, with pagination metadata if the client asked for it.
fn answer<T, P, C, R>(
    found: SectionResult<T>,
    search: &SearchRequest,
    cursor: Option<C>,
    payload: fn(Rows<T>) -> P,
    fetch: impl FnMut(SearchRequest) -> R + Send + 'static,
) -> Response
where
    T: Serialize + Send + 'static,
    P: Serialize,
    C: Serialize,
    R: Future<Output = Result<SectionResult<T>, ApiError>> + Send + 'static,
{
    rows::sections([section(found, search, fetch)], |[position]| FoundSection {
        payload: payload(position.rows()),
        meta: cursor,
    })
}

/// The rows of a section. Continues with further pages if the service has cut the first by bytes.
fn section<T, R>(
    found: SectionResult<T>,
    search: &SearchRequest,
    mut fetch: impl FnMut(SearchRequest) -> R + Send + 'static,
) -> rows::Section
where
    T: Serialize + Send + 'static,
    R: Future<Output = Result<SectionResult<T>, ApiError>> + Send + 'static,
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
    Ok(rows::sections(sections, |[contacts, conversations, messages]| Payload {
        payload: AllFound {
            contacts: contacts.rows(),
            conversations: conversations.rows(),
            messages: messages.rows(),
        },
    }))
}

async fn contacts_section(call: Call, params: Params) -> ApiResult {
    let search = parse_search(&call, &params, PageWindow::read).await?;
    let found = contacts(&call, &search).await?;
    let cursor = search.window.cursor(&found.next);
    let call = Arc::new(call);
    let payload = |contacts| FoundContacts { contacts };
    Ok(answer(found, &search, cursor, payload, move |search| {
        let call = Arc::clone(&call);
        async move { contacts(&call, &search).await }
    }))
}

async fn conversations_section(call: Call, params: Params) -> ApiResult {
    let search = parse_search(&call, &params, PageWindow::read).await?;
    let found = conversations(&call, &search).await?;
    let cursor = search.window.search_cursor(&found.next, found.complete);
    let call = Arc::new(call);
    let payload = |conversations| FoundConversations { conversations };
    Ok(answer(found, &search, cursor, payload, move |search| {
        let call = Arc::clone(&call);
        async move { conversations(&call, &search).await }
    }))
}

async fn messages_section(call: Call, params: Params) -> ApiResult {
    let search = parse_search(&call, &params, PageWindow::read).await?;
    let found = messages(&call, &search).await?;
    let cursor = search.window.search_cursor(&found.next, found.complete);
    let call = Arc::new(call);
    let payload = |messages| FoundMessages { messages };
    Ok(answer(found, &search, cursor, payload, move |search| {
        let call = Arc::clone(&call);
        async move { messages(&call, &search).await }
    }))
}
