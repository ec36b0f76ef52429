//! Pages are cut by bytes and continued by their token, and JSON lists keep their row counts.

use std::collections::BTreeSet;

use parley_proto::{
    CannedResponse, ClientSession, ContactNote, CreateCannedResponseRequest, CreateClientConversationRequest, CreateClientMessageRequest,
    CreateContactNoteRequest, CreateLabelRequest, GetClientConversationRequest, GetConversationRequest, Label, ListCannedResponsesRequest,
    ListClientConversationsRequest, ListClientMessagesRequest, ListContactNotesRequest, ListContactsRequest, ListConversationsRequest,
    ListLabelsRequest, ListMessagesRequest, SearchMessagesRequest, canned_responses_service_client::CannedResponsesServiceClient,
    contact_notes_service_client::ContactNotesServiceClient, labels_service_client::LabelsServiceClient,
};
use prost::Message as _;
use serde_json::json;
use tonic::Code;

use super::{RECEIVED, WIDE, contact, large, visitor};
use crate::support::{
    api_fixture::{incoming, outgoing},
    app::TestApp,
    clients::Clients,
    database::Backend,
    on_both,
};

on_both!(
    lists_of_the_largest_rows_are_received,
    without_page_cuts_a_list_cannot_be_received,
    conversation_list_of_a_visitor_is_bounded,
    without_page_cuts_a_visitor_list_cannot_be_received
);

/// Reads a list page by page with the default client and checks each page. Returns all ids, which must be distinct.
macro_rules! pages {
    ($client:expr, $method:ident, $request:expr, $rows:ident) => {{
        let (mut request, mut ids, mut count) = ($request, Vec::new(), 0);
        loop {
            let answer = $client.clone().$method(request.clone()).await;
            let answer = answer.expect(stringify!($method)).into_inner();
            assert!(answer.encoded_len() < RECEIVED);
            assert!(!answer.$rows.is_empty(), "a page makes progress");
            ids.extend(answer.$rows.iter().map(|row| row.id));
            count += 1;
            if answer.next_page_token.is_empty() {
                break;
            }
            request.page_token = answer.next_page_token;
        }
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "no row comes twice");
        (ids, count)
    }};
}

#[allow(clippy::too_many_lines)] // every list in turn
async fn lists_of_the_largest_rows_are_received(backend: Backend) {
    const TALKS: usize = 5;
    let app = TestApp::start(backend).await;
    let (clients, fixture) = (app.clients(), app.fixture());
    let text = WIDE.repeat(150_000);
    let person = fixture.person("Asha").await;
    let mut talks = Vec::new();
    for _ in 0..TALKS {
        let talk = fixture.conversation(&person).await.id;
        fixture.sent(talk, incoming(&text)).await;
        fixture.sent(talk, outgoing(&text)).await;
        talks.push(talk);
    }
    for _ in 0..TALKS {
        fixture.sent(talks[0], outgoing(&text)).await;
    }
    let list = ListConversationsRequest {
        account_id: 1,
        ..ListConversationsRequest::default()
    };
    let (ids, count) = pages!(clients.conversations, list_conversations, list, conversations);
    assert_eq!((ids.len(), count > 1), (TALKS, true));
    for backwards in [true, false] {
        let list = ListMessagesRequest {
            account_id: 1,
            conversation_id: talks[0],
            page_size: 1000,
            after: Some(0).filter(|_| !backwards),
            ..ListMessagesRequest::default()
        };
        let (ids, count) = pages!(clients.messages, list_messages, list, messages);
        assert_eq!((ids.len(), count > 1), (TALKS + 2, true));
    }
    let search = SearchMessagesRequest {
        account_id: 1,
        text: WIDE.repeat(10),
        page_size: 1000,
        ..SearchMessagesRequest::default()
    };
    let (ids, _) = pages!(clients.messages, search_messages, search, messages);
    assert_eq!(ids.len(), TALKS * 3);
    let get = GetConversationRequest {
        account_id: 1,
        conversation_id: talks[0],
    };
    clients.conversations.clone().get_conversation(get).await.expect("one is received");
    let labels = LabelsServiceClient::new(clients.service.clone());
    let notes = ContactNotesServiceClient::new(clients.service.clone());
    let canned = CannedResponsesServiceClient::new(clients.service.clone());
    // Contacts, notes, canned responses and labels, whose lists the JSON API returns with all texts.
    for nth in 0..40 {
        contact(&clients, &format!("c{nth}"), &large(65_000))
            .await
            .expect("within the limits");
    }
    let list = ListContactsRequest {
        account_id: 1,
        page_size: 1000,
        ..ListContactsRequest::default()
    };
    let (ids, count) = pages!(clients.contacts, list_contacts, list, contacts);
    assert_eq!((ids.len(), count > 1), (40, true));
    for nth in 0..30 {
        let request = CreateLabelRequest {
            account_id: 1,
            label: Some(Label {
                title: format!("label-{nth}"),
                description: Some(WIDE.repeat(20_000)),
                ..Label::default()
            }),
            ..CreateLabelRequest::default()
        };
        labels.clone().create_label(request).await.expect("within the limits");
    }
    let list = ListLabelsRequest {
        account_id: 1,
        ..ListLabelsRequest::default()
    };
    let (ids, count) = pages!(labels, list_labels, list, labels);
    assert_eq!((ids.len(), count > 1), (30, true));
    for nth in 0..4 {
        let request = CreateContactNoteRequest {
            account_id: 1,
            contact_id: person.contact,
            contact_note: Some(ContactNote {
                content: WIDE.repeat(20_000),
                ..ContactNote::default()
            }),
            ..CreateContactNoteRequest::default()
        };
        notes.clone().create_contact_note(request).await.expect("within the limits");
        let request = CreateCannedResponseRequest {
            account_id: 1,
            canned_response: Some(CannedResponse {
                short_code: format!("code-{nth}"),
                content: WIDE.repeat(20_000),
                ..CannedResponse::default()
            }),
            ..CreateCannedResponseRequest::default()
        };
        canned.clone().create_canned_response(request).await.expect("within the limits");
    }
    let list = ListContactNotesRequest {
        account_id: 1,
        contact_id: person.contact,
        ..ListContactNotesRequest::default()
    };
    assert_eq!(pages!(notes, list_contact_notes, list, contact_notes).0.len(), 4);
    let list = ListCannedResponsesRequest {
        account_id: 1,
        ..ListCannedResponsesRequest::default()
    };
    assert_eq!(pages!(canned, list_canned_responses, list, canned_responses).0.len(), 4);
    // The JSON API returns Chatwoot's row counts for all of them in one response.
    let http = app.http();
    let messages = format!("/conversations/{}/messages", talks[0]);
    let notes_path = format!("/contacts/{}/notes", person.contact);
    for (path, pointer, rows) in [
        ("/conversations?status=all", "/data/payload", TALKS),
        (messages.as_str(), "/payload", TALKS + 2),
        (&format!("{messages}?after=0"), "/payload", TALKS + 2),
        ("/contacts", "/payload", 15),
        ("/contacts?page=3", "/payload", 10),
        ("/labels", "/payload", 30),
        (notes_path.as_str(), "", 4),
        ("/canned_responses", "", 4),
        (&format!("/search/messages?q={}", WIDE.repeat(4)), "/payload/messages", 15),
        ("/search/contacts?q=example", "/payload/contacts", 15),
    ] {
        let (status, body) = http.ask(path).await;
        let found = body.pointer(pointer).and_then(|rows| rows.as_array()).map(Vec::len);
        assert_eq!((status, found), (200, Some(rows)), "{path}");
    }
    // So does each section of the combined search.
    for (text, section, rows) in [
        (WIDE.repeat(4), "messages", 15),
        (WIDE.repeat(4), "conversations", TALKS),
        ("example".to_owned(), "contacts", 15),
    ] {
        let (status, body) = http.ask(&format!("/search?q={text}")).await;
        assert_eq!(
            (status, body["payload"][section].as_array().map(Vec::len)),
            (200, Some(rows)),
            "{section}"
        );
    }
    let (_, body) = http.ask(&messages).await;
    let ids: Vec<i64> = body["payload"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|row| row["id"].as_i64())
        .collect();
    assert!(
        ids.is_sorted(),
        "the oldest comes first, also when the answer is written page by page: {ids:?}"
    );
    // A caller that asks for a cursor gets a shorter page and the cursor of the next one.
    let (_, body) = http.ask("/conversations?status=all&per_page=25").await;
    assert!(body["data"]["payload"].as_array().expect("a list").len() < TALKS);
    assert_eq!(body["data"]["meta"]["has_more"], json!(true));
}

async fn without_page_cuts_a_list_cannot_be_received(backend: Backend) {
    let app = TestApp::builder(backend).env("PARLEY_FAULT_SWITCH", "page_bytes").start().await;
    let fixture = app.fixture();
    let talk = fixture.talk().await;
    for _ in 0..8 {
        fixture.sent(talk, outgoing(&WIDE.repeat(150_000))).await;
    }
    let list = ListMessagesRequest {
        account_id: 1,
        conversation_id: talk,
        ..ListMessagesRequest::default()
    };
    let refused = app.clients().messages.list_messages(list).await.expect_err("it is too large");
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
}

const TALKS: usize = 3;
const EACH: usize = 8;

/// A visitor with several conversations, each with several of the largest messages.
async fn talkative(app: &TestApp) -> (Clients, ClientSession, Vec<i64>) {
    let (visitors, session) = visitor(app, "m").await;
    let mut talks = Vec::new();
    for _ in 0..TALKS {
        let request = CreateClientConversationRequest {
            session: Some(session.clone()),
            ..CreateClientConversationRequest::default()
        };
        let made = visitors.client.clone().create_client_conversation(request).await.expect("made");
        talks.push(made.into_inner().conversation.expect("always set").id);
    }
    for talk in &talks {
        for nth in 0..EACH {
            let request = CreateClientMessageRequest {
                session: Some(session.clone()),
                conversation_id: *talk,
                content: Some(format!("{nth}{}", WIDE.repeat(149_999))),
                ..CreateClientMessageRequest::default()
            };
            visitors.client.clone().create_client_message(request).await.expect("written");
        }
    }
    (visitors, session, talks)
}

async fn without_page_cuts_a_visitor_list_cannot_be_received(backend: Backend) {
    let app = TestApp::builder(backend).env("PARLEY_FAULT_SWITCH", "page_bytes").start().await;
    let (visitors, session, _) = talkative(&app).await;
    let list = ListClientConversationsRequest {
        session: Some(session),
        ..ListClientConversationsRequest::default()
    };
    let refused = visitors.client.clone().list_client_conversations(list).await;
    assert_eq!(refused.expect_err("it is too large").code(), Code::OutOfRange);
}

async fn conversation_list_of_a_visitor_is_bounded(backend: Backend) {
    let app = TestApp::start(backend).await;
    let (visitors, session, talks) = talkative(&app).await;
    let list = ListClientConversationsRequest {
        session: Some(session.clone()),
        ..ListClientConversationsRequest::default()
    };
    let (ids, _) = pages!(visitors.client, list_client_conversations, list, conversations);
    assert_eq!(ids, talks);
    let list = ListClientMessagesRequest {
        session: Some(session.clone()),
        conversation_id: talks[0],
        ..ListClientMessagesRequest::default()
    };
    assert_eq!(pages!(visitors.client, list_client_messages, list, messages).0.len(), EACH);
    let get = GetClientConversationRequest {
        session: Some(session.clone()),
        conversation_id: talks[0],
    };
    let one = visitors
        .client
        .clone()
        .get_client_conversation(get)
        .await
        .expect("one is received")
        .into_inner();
    let one = one.conversation.expect("always set");
    assert_eq!(one.truncated_fields, ["messages"]);
    assert!(one.messages.last().expect("the newest").content().starts_with('7'));
    // The JSON list has every conversation with its newest message only, which is far less than all texts.
    let path = format!("/public/api/v1/inboxes/{}/contacts/m/conversations", session.inbox_identifier);
    let answer = app.http().with_token("").send("GET", &path, None).await;
    let rows = answer.body.as_array().expect("a list");
    assert_eq!((answer.status, rows.len()), (200, TALKS));
    for row in rows {
        let messages = row["messages"].as_array().expect("a list");
        assert_eq!(messages.len(), 1, "older ones are left out");
        assert!(messages[0]["content"].as_str().expect("a text").starts_with('7'));
    }
    let answer = app
        .http()
        .with_token("")
        .send("GET", &format!("{path}/{}/messages", talks[0]), None)
        .await;
    assert_eq!(answer.body.as_array().map(Vec::len), Some(EACH));
}
