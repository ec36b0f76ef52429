//! Searching messages and conversations by text.

use std::collections::BTreeSet;

use parley_proto::{
    DeleteContactRequest, DeleteMessageRequest, ListConversationsRequest, MessageType, Role, SearchMessagesRequest, SearchMessagesResponse,
};
use serde_json::json;

use crate::support::{
    api_fixture::{ApiFixture, note},
    app::TestApp,
    clients::Clients,
    database::Backend,
    fault::assert_bad_fields,
    office, on_both,
};

on_both!(
    substring_of_a_message_is_found,
    pages_contain_each_message_once,
    filters_narrow_a_search_and_agents_search_their_inboxes,
    deleted_messages_are_not_found,
    json_api_finds_conversations_and_messages,
    lagging_index_catches_up,
    incomplete_search_is_reported
);

fn search(text: &str) -> SearchMessagesRequest {
    SearchMessagesRequest {
        account_id: 1,
        text: text.to_owned(),
        ..SearchMessagesRequest::default()
    }
}

async fn found(clients: &Clients, request: SearchMessagesRequest) -> SearchMessagesResponse {
    let answer = clients
        .messages
        .clone()
        .search_messages(request)
        .await
        .expect("the search is answered");
    answer.into_inner()
}

async fn texts(clients: &Clients, request: SearchMessagesRequest) -> Vec<String> {
    let found = found(clients, request).await.messages.into_iter();
    found.filter_map(|message| message.content).collect()
}

async fn substring_of_a_message_is_found(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    for text in ["The parcel is LATE", "50% \"off\"_today", "Äpfel und ÖL", "платёж ОПЛАТА", "ab"] {
        fixture.hear(conversation, text).await;
    }
    for (text, wanted) in [
        ("arce", "The parcel is LATE"),
        ("late", "The parcel is LATE"),
        ("0% \"o", "50% \"off\"_today"),
        ("\"_t", "50% \"off\"_today"),
        ("äPFEL", "Äpfel und ÖL"),
        ("öl", "Äpfel und ÖL"),
        ("оплата", "платёж ОПЛАТА"),
        ("AB", "ab"),
    ] {
        let answer = found(&fixture.clients, search(text)).await;
        let found: Vec<_> = answer.messages.iter().filter_map(|message| message.content.as_deref()).collect();
        assert_eq!((found, answer.complete), (vec![wanted], true), "{text}");
    }
    for text in ["parcels", "50%off", "a_b", "elt"] {
        assert!(texts(&fixture.clients, search(text)).await.is_empty(), "{text}");
    }
    let refused = fixture.clients.messages.clone().search_messages(search("")).await;
    assert_bad_fields(refused, &["text: REQUIRED"]);
}

async fn pages_contain_each_message_once(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let mut wanted = BTreeSet::new();
    for number in 0..7 {
        wanted.insert(fixture.hear(conversation, &format!("needle {number}")).await.id);
        fixture.hear(conversation, "hay").await;
    }
    for text in ["needle", "ne"] {
        let mut request = SearchMessagesRequest {
            page_size: 3,
            ..search(text)
        };
        let mut seen = Vec::new();
        loop {
            let page = found(&fixture.clients, request.clone()).await;
            seen.extend(page.messages.iter().map(|message| message.id));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        assert!(seen.is_sorted_by(|a, b| a > b), "the newest first: {seen:?}");
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), wanted);
    }
    let skipped = SearchMessagesRequest {
        skip: 5,
        ..search("needle")
    };
    assert_eq!(texts(&fixture.clients, skipped).await, ["needle 1", "needle 0"]);
}

async fn filters_narrow_a_search_and_agents_search_their_inboxes(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let fixture = app.fixture();
    let other = office::inbox(&fixture.clients, 1, "Second").await;
    let there = ApiFixture::new(fixture.clients.clone(), 1, other);
    let (here, away) = (fixture.talk().await, there.talk().await);
    fixture.hear(here, "needle here").await;
    fixture.sent(here, note("needle noted")).await;
    there.hear(away, "needle away").await;
    let in_inbox = SearchMessagesRequest {
        inbox_ids: vec![other],
        ..search("needle")
    };
    assert_eq!(texts(&fixture.clients, in_inbox).await, ["needle away"]);
    let in_conversation = SearchMessagesRequest {
        conversation_ids: vec![here],
        ..search("needle")
    };
    assert_eq!(texts(&fixture.clients, in_conversation).await, ["needle noted", "needle here"]);
    let incoming = SearchMessagesRequest {
        types: vec![MessageType::Incoming.into()],
        ..search("needle")
    };
    assert_eq!(texts(&fixture.clients, incoming).await, ["needle away", "needle here"]);

    let agent = office::worker(&app, 1, Role::Agent, "Mina").await;
    office::set_members(&fixture.clients, 1, other, &[agent.user]).await;
    assert_eq!(texts(&agent.clients, search("needle")).await, ["needle away"]);

    let strangers = office::other_account(&app, "Other").await;
    let theirs = strangers.talk().await;
    strangers.hear(theirs, "needle elsewhere").await;
    let request = SearchMessagesRequest {
        account_id: strangers.account,
        ..search("needle")
    };
    assert_eq!(texts(&strangers.clients, request).await, ["needle elsewhere"]);
    assert_eq!(texts(&fixture.clients, search("elsewhere")).await, Vec::<String>::new());
}

async fn deleted_messages_are_not_found(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let person = fixture.person("Asha Rao").await;
    let conversation = fixture.conversation(&person).await.id;
    let taken_back = fixture.hear(conversation, "needle taken back").await;
    fixture.hear(conversation, "needle kept").await;
    assert_eq!(texts(&fixture.clients, search("needle")).await.len(), 2);
    let delete = DeleteMessageRequest {
        account_id: 1,
        conversation_id: conversation,
        message_id: taken_back.id,
        ..DeleteMessageRequest::default()
    };
    fixture
        .clients
        .messages
        .clone()
        .delete_message(delete)
        .await
        .expect("it is taken back");
    assert_eq!(texts(&fixture.clients, search("needle")).await, ["needle kept"]);
    assert_eq!(texts(&fixture.clients, search("was deleted")).await, ["This message was deleted"]);
    let request = DeleteContactRequest {
        account_id: 1,
        contact_id: person.contact,
        ..DeleteContactRequest::default()
    };
    fixture
        .clients
        .contacts
        .clone()
        .delete_contact(request)
        .await
        .expect("the contact goes");
    assert!(texts(&fixture.clients, search("needle")).await.is_empty());
}

async fn json_api_finds_conversations_and_messages(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let (one, two) = (fixture.talk().await, fixture.talk().await);
    let said = fixture.hear(one, "refund please").await;
    fixture.sent(one, note("Refund it")).await;
    fixture.hear(two, "hello").await;
    let http = app.http();
    let (status, body) = http.ask("/conversations/search?q=REFUND").await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["meta"], json!({"mine_count": 0, "unassigned_count": 1, "all_count": 1}));
    assert_eq!(body["payload"].as_array().map(Vec::len), Some(1));
    let found = &body["payload"][0];
    assert_eq!((&found["id"], &found["contact"]["name"]), (&json!(one), &json!("Asha Rao")));
    assert_eq!(found["inbox"]["channel_type"], "Channel::Api");
    assert_eq!(
        found["messages"][0],
        json!({"content": "refund please", "id": said.id, "sender_name": "Asha Rao", "message_type": 0,
            "created_at": said.created_at.expect("always set").seconds})
    );
    assert_eq!(found["messages"].as_array().map(Vec::len), Some(2));

    fixture.hear(two, "my refund, too").await;
    let first = http.ask("/conversations/search?q=refund&per_page=1").await.1;
    assert_eq!(first["meta"]["all_count"], 2);
    let next = first["meta"]["next_cursor"].as_str().expect("there is another");
    let second = http
        .ask(&format!("/conversations/search?q=refund&per_page=1&cursor={next}"))
        .await
        .1;
    assert_eq!(
        second["meta"],
        json!({"mine_count": null, "unassigned_count": null, "all_count": null, "has_more": false, "next_cursor": null, "complete": true})
    );
    http.post("/contacts", &json!({"name": "Refund Desk", "email": "desk@example.org"}))
        .await;
    for (section, wanted) in [("messages", 3), ("conversations", 2), ("contacts", 1)] {
        let (mut seen, mut cursor) = (0, String::new());
        loop {
            let path = format!("/search/{section}?q=refund&per_page=1&cursor={cursor}");
            let (status, body) = http.ask(&path).await;
            assert_eq!(status, 200, "{body}");
            seen += body["payload"][section].as_array().map_or(0, Vec::len);
            assert_eq!(body["meta"].get("complete").is_some(), section != "contacts", "{body}");
            match body["meta"]["next_cursor"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => break,
            }
        }
        assert_eq!(seen, wanted, "{section}");
    }
    // Message lists ignore page numbers.
    let (_, listed) = http.ask(&format!("/conversations/{one}/messages?page=9999999&per_page=2")).await;
    assert_eq!(listed["payload"].as_array().map(Vec::len), Some(2));

    let (status, body) = http.ask("/search?q=refund").await;
    assert_eq!(status, 200, "{body}");
    let lengths = ["contacts", "conversations", "messages"].map(|key| body["payload"][key].as_array().map(Vec::len));
    assert_eq!(lengths, [Some(1), Some(2), Some(3)]);
    let (_, body) = http.ask("/search/messages?q=refund&page=2").await;
    assert_eq!(body, json!({"payload": {"messages": []}}));
    let (_, body) = http.ask("/search/conversations?q=hello").await;
    assert_eq!(body["payload"]["conversations"][0]["id"], two);
    let (_, body) = http.ask("/search/messages").await;
    assert_eq!(body, json!({"payload": {"messages": []}}));

    for (text, wanted) in [("refund", vec![two, one]), ("he", vec![two]), ("100%", vec![]), ("re_und", vec![])] {
        let request = ListConversationsRequest {
            account_id: 1,
            text: text.to_owned(),
            ..ListConversationsRequest::default()
        };
        let list = fixture
            .clients
            .conversations
            .clone()
            .list_conversations(request)
            .await
            .expect("a list");
        let ids: Vec<_> = list.into_inner().conversations.iter().map(|conversation| conversation.id).collect();
        assert_eq!(ids, wanted, "{text}");
    }
}

/// The index takes 500 messages per batch, so catching up needs several batches, and a crash in between must not change the result.
async fn lagging_index_catches_up(backend: Backend) {
    let mut app = TestApp::builder(backend)
        .env("PARLEY_LIMITS_MESSAGES_PER_CONVERSATION_PER_MINUTE", "0")
        .start()
        .await;
    let conversation = app.fixture().talk().await;
    for round in 0..3 {
        let fixture = app.fixture();
        let batch = |first: i64| parley_proto::BatchCreateMessagesRequest {
            account_id: 1,
            messages: (first..first + 400)
                .map(|number| parley_proto::BatchMessage {
                    conversation_id: conversation,
                    message: Some(crate::support::api_fixture::incoming(&format!("needle <{number}>"))),
                })
                .collect(),
            ..parley_proto::BatchCreateMessagesRequest::default()
        };
        let mut client = fixture.clients.messages.clone();
        client.batch_create_messages(batch(round * 400)).await.expect("they are taken");
        app.crash_and_restart().await;
    }
    let fixture = app.fixture();
    for number in [0, 399, 400, 777, 1199] {
        let text = format!("<{number}>");
        assert_eq!(texts(&fixture.clients, search(&text)).await, [format!("needle {text}")]);
    }
    let all = SearchMessagesRequest {
        page_size: 1000,
        ..search("needle")
    };
    assert_eq!(found(&fixture.clients, all).await.messages.len(), 1000);
}

/// A search that stopped early says so.
async fn incomplete_search_is_reported(backend: Backend) {
    let mut app = TestApp::builder(backend)
        .env("PARLEY_LIMITS_MESSAGES_PER_CONVERSATION_PER_MINUTE", "0")
        .start()
        .await;
    let (buried, fresh) = (app.fixture().talk().await, app.fixture().talk().await);
    app.fixture().hear(buried, "needle").await;
    let complete = async |app: &TestApp, text: &str| {
        let (status, body) = app.http().ask(&format!("/conversations/search?q={text}&cursor=")).await;
        assert_eq!(status, 200, "{body}");
        (body["meta"]["complete"].clone(), body["payload"].clone())
    };
    assert_eq!(complete(&app, "ne").await.0, true);
    let batch = |_| parley_proto::BatchMessage {
        conversation_id: fresh,
        message: Some(crate::support::api_fixture::incoming("hay")),
    };
    let request = parley_proto::BatchCreateMessagesRequest {
        account_id: 1,
        messages: (0..500).map(batch).collect(),
        ..parley_proto::BatchCreateMessagesRequest::default()
    };
    let mut client = app.clients().messages;
    for _ in 0..41 {
        client.batch_create_messages(request.clone()).await.expect("they are taken");
    }
    // A text of two characters is searched in the newest messages only, one of three in all of them.
    assert_eq!(complete(&app, "ne").await, (json!(false), json!([])));
    app.restart().await;
    let mut told = complete(&app, "needle").await;
    for _ in 0..3 {
        if told.0 == false {
            told = complete(&app, "needle").await;
        }
    }
    assert_eq!((told.0, &told.1[0]["messages"][0]["content"]), (json!(true), &json!("needle")));
}
