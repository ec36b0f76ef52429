//! Lists are paged: all pages together are the complete list, without duplicates.

use parley_proto::{
    ConversationPriority, ListContactsRequest, ListConversationsRequest, ListMembersRequest, ListMessagesRequest,
    UpdateConversationPriorityRequest,
};
use prost_types::value::Kind;
use tonic::Code;

use crate::{
    contacts::attributes,
    support::{
        api_fixture::{ApiFixture, incoming},
        app::TestApp,
        database::Backend,
        fault::{assert_refused, refused},
        on_both,
    },
};

on_both!(
    pages_of_contacts_are_complete,
    pages_of_conversations_are_complete,
    pages_by_priority_and_waiting_time_are_in_order,
    pages_of_messages_are_complete,
    page_token_is_bound_to_its_request
);

/// Reads all pages of a given size. `page` returns the ids of one page and the next token.
async fn pages(size: i32, mut page: impl AsyncFnMut(i32, String) -> (Vec<i64>, String)) -> Vec<Vec<i64>> {
    let (mut pages, mut token) = (Vec::new(), String::new());
    loop {
        let (ids, next) = page(size, token).await;
        assert!(
            ids.len() <= usize::try_from(size).expect("positive"),
            "no page holds more than was asked for"
        );
        assert!(!ids.is_empty() || next.is_empty(), "an empty page is the last one");
        pages.push(ids);
        if next.is_empty() {
            return pages;
        }
        token = next;
        assert!(pages.len() < 100, "the pages do not end");
    }
}

async fn named_people(fixture: &ApiFixture, count: usize) -> Vec<i64> {
    let mut ids = Vec::new();
    for index in 0..count {
        let request = parley_proto::CreateContactRequest {
            account_id: 1,
            // Many contacts share a name, so that the order needs more than the name.
            name: format!("name {}", index % 3),
            email: Some(format!("person{index}@example.org")),
            additional_attributes: (index % 5 > 0)
                .then(|| attributes(&[("city", Kind::StringValue(["Graz", "Wels"][index % 2].to_owned()))])),
            ..parley_proto::CreateContactRequest::default()
        };
        let answer = fixture
            .clients
            .contacts
            .clone()
            .create_contact(request)
            .await
            .expect("made")
            .into_inner();
        ids.push(answer.contact.expect("always set").id);
    }
    ids
}

async fn pages_of_contacts_are_complete(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let ids = named_people(&fixture, 23).await;
    for order in [
        "",
        "name",
        "-name",
        "email",
        "-created_at",
        "city",
        "-city",
        "city,-name",
        "-city,name,-email",
        "last_activity_at",
        "-company",
    ] {
        let mut whole: Option<Vec<i64>> = None;
        for size in [1, 7, 23, 24, 1_000] {
            let read = pages(size, async |page_size, page_token| {
                let request = ListContactsRequest {
                    account_id: 1,
                    page_size,
                    page_token,
                    order_by: order.to_owned(),
                    ..ListContactsRequest::default()
                };
                let answer = fixture
                    .clients
                    .contacts
                    .clone()
                    .list_contacts(request)
                    .await
                    .expect("listed")
                    .into_inner();
                (answer.contacts.iter().map(|contact| contact.id).collect(), answer.next_page_token)
            })
            .await
            .concat();
            let mut sorted = read.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, ids, "all of them, each once, by {order:?} in pages of {size}");
            let expected = whole.get_or_insert_with(|| read.clone());
            assert_eq!(&read, expected, "the size of a page does not change the order {order:?}");
        }
        if order.is_empty() {
            assert_eq!(whole.as_ref(), Some(&ids), "by id");
        }
    }
}

/// All conversations in an order, read in pages of a given size.
async fn conversations(fixture: &ApiFixture, order: &str, size: i32) -> Vec<i64> {
    pages(size, async |page_size, page_token| {
        let request = ListConversationsRequest {
            account_id: 1,
            page_size,
            page_token,
            order_by: order.to_owned(),
            ..ListConversationsRequest::default()
        };
        let answer = fixture.clients.conversations.clone().list_conversations(request).await;
        let answer = answer.expect("listed").into_inner();
        (
            answer.conversations.iter().map(|conversation| conversation.id).collect(),
            answer.next_page_token,
        )
    })
    .await
    .concat()
}

async fn pages_of_conversations_are_complete(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let person = fixture.person("Asha").await;
    for _ in 0..11 {
        fixture.conversation(&person).await;
    }
    for order in ["", "created_at", "-created_at", "priority", "-waiting_since", "last_activity_at"] {
        let mut read = conversations(&fixture, order, 4).await;
        read.sort_unstable();
        assert_eq!(read, (1..=11).collect::<Vec<i64>>(), "all of them, each once, by {order:?}");
    }
}

/// Conversations with a priority come first, and so do those that are waiting.
async fn pages_by_priority_and_waiting_time_are_in_order(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let person = fixture.person("Asha").await;
    for _ in 0..9 {
        fixture.conversation(&person).await;
    }
    for (conversation_id, priority) in [
        (2, ConversationPriority::Low),
        (3, ConversationPriority::Urgent),
        (5, ConversationPriority::Low),
        (8, ConversationPriority::High),
    ] {
        let request = UpdateConversationPriorityRequest {
            account_id: 1,
            conversation_id,
            priority: priority.into(),
            ..UpdateConversationPriorityRequest::default()
        };
        let changed = fixture.clients.conversations.clone().update_conversation_priority(request).await;
        changed.expect("it has one");
    }
    // A conversation waits from its first message until an agent replies, and again from the contact's next message on.
    for conversation in [1, 4, 6, 7] {
        fixture.say(conversation, "an answer").await;
    }
    for conversation in [6, 1, 9] {
        fixture.hear(conversation, "still waiting").await;
    }
    for (order, ids) in [
        ("priority", [2, 5, 8, 3, 1, 4, 6, 7, 9]),
        ("-priority", [3, 8, 5, 2, 9, 7, 6, 4, 1]),
        ("waiting_since", [2, 3, 5, 8, 9, 6, 1, 4, 7]),
        ("-waiting_since", [1, 6, 9, 8, 5, 3, 2, 7, 4]),
    ] {
        for size in [1, 4, 20] {
            assert_eq!(conversations(&fixture, order, size).await, ids, "by {order} in pages of {size}");
        }
    }
}

async fn pages_of_messages_are_complete(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation_id = fixture.talk().await;
    let mut ids = Vec::new();
    for _ in 0..17 {
        ids.push(fixture.sent(conversation_id, incoming("hello")).await.0.id);
    }
    let read = async |after: Option<i64>| {
        pages(5, async |page_size, page_token| {
            let request = ListMessagesRequest {
                account_id: 1,
                conversation_id,
                page_size,
                page_token,
                after,
                ..ListMessagesRequest::default()
            };
            let answer = fixture
                .clients
                .messages
                .clone()
                .list_messages(request)
                .await
                .expect("listed")
                .into_inner();
            (answer.messages.iter().map(|message| message.id).collect(), answer.next_page_token)
        })
        .await
    };
    let mut older = read(None).await;
    older.reverse();
    assert_eq!(older.concat(), ids, "page after page towards the oldest, each oldest first");
    assert_eq!(read(Some(ids[2])).await.concat(), ids[3..], "with after towards the newest");
}

async fn page_token_is_bound_to_its_request(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    named_people(&fixture, 3).await;
    let list = async |page_token: &str, order_by: &str, page_size: i32| {
        let request = ListContactsRequest {
            account_id: 1,
            page_size,
            page_token: page_token.to_owned(),
            order_by: order_by.to_owned(),
            ..ListContactsRequest::default()
        };
        fixture.clients.contacts.clone().list_contacts(request).await
    };
    let first = list("", "name", 2).await.expect("listed").into_inner();
    let other_order = refused(list(&first.next_page_token, "email", 2).await);
    assert_eq!(
        (other_order.code, other_order.fields.len()),
        (Code::InvalidArgument, 1),
        "{other_order:?}"
    );
    let fault = assert_refused(list("no token", "", 2).await, Code::InvalidArgument, "INVALID_FIELD");
    assert!(fault.fields.contains("page_token: INVALID"), "{fault:?}");
    for size in [-1, 1_001] {
        let fault = assert_refused(list("", "", size).await, Code::InvalidArgument, "INVALID_FIELD");
        assert!(fault.fields.contains("page_size: OUT_OF_RANGE"), "{size}: {fault:?}");
    }
    let fault = assert_refused(list("", "colour", 1).await, Code::InvalidArgument, "INVALID_FIELD");
    assert!(
        fault.fields.contains("order_by: INVALID") || fault.fields.contains("order_by: UNKNOWN"),
        "{fault:?}"
    );
    let members = ListMembersRequest {
        account_id: 1,
        ..ListMembersRequest::default()
    };
    let members = fixture
        .clients
        .accounts
        .clone()
        .list_members(members)
        .await
        .expect("listed")
        .into_inner();
    assert_eq!((members.agents.len(), members.next_page_token.as_str()), (1, ""));
}
