//! Conversations: creation, lookup and lists.

use parley_proto::{
    ApiChannel, Contact, Conversation, ConversationStatus, CreateContactRequest, CreateConversationRequest, CreateConversationResponse,
    CreateInboxRequest, GetConversationRequest, Inbox, ListConversationsRequest, ListConversationsResponse, UpdateContactRequest,
    UpdateConversationStatusRequest, inbox::Channel,
};
use prost_types::FieldMask;
use tonic::{Code, Status};

use crate::support::{
    api_fixture::{ApiFixture, incoming},
    app::TestApp,
    database::Backend,
    fault::{assert_bad_fields, assert_refused},
    on_both,
    reader::log_info,
};

on_both!(
    conversation_numbers_are_dense_from_one,
    session_is_found_by_source_id_or_created,
    locked_inbox_has_one_conversation_per_session,
    conversation_and_first_message_are_created_atomically,
    conversation_of_a_blocked_contact_starts_resolved,
    conversations_are_filtered_and_sorted
);

async fn create(fixture: &ApiFixture, request: CreateConversationRequest) -> Result<CreateConversationResponse, Status> {
    let request = CreateConversationRequest { account_id: 1, ..request };
    Ok(fixture
        .clients
        .conversations
        .clone()
        .create_conversation(request)
        .await?
        .into_inner())
}

async fn get(fixture: &ApiFixture, conversation_id: i64) -> Conversation {
    let request = GetConversationRequest {
        account_id: 1,
        conversation_id,
    };
    let answer = fixture
        .clients
        .conversations
        .clone()
        .get_conversation(request)
        .await
        .expect("it is there");
    answer.into_inner().conversation.expect("always set")
}

async fn list(fixture: &ApiFixture, request: ListConversationsRequest) -> ListConversationsResponse {
    let request = ListConversationsRequest { account_id: 1, ..request };
    fixture
        .clients
        .conversations
        .clone()
        .list_conversations(request)
        .await
        .expect("they are listed")
        .into_inner()
}

async fn resolve(fixture: &ApiFixture, conversation_id: i64) -> Conversation {
    let request = UpdateConversationStatusRequest {
        account_id: 1,
        conversation_id,
        status: ConversationStatus::Resolved.into(),
        ..UpdateConversationStatusRequest::default()
    };
    let answer = fixture
        .clients
        .conversations
        .clone()
        .update_conversation_status(request)
        .await
        .expect("it is resolved");
    answer.into_inner().conversation.expect("always set")
}

async fn conversation_numbers_are_dense_from_one(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let person = fixture.person("Asha").await;
    let mut tasks = Vec::new();
    for _ in 0..32 {
        let (fixture, person) = (fixture.clone(), person.clone());
        tasks.push(tokio::spawn(async move { fixture.conversation(&person).await.id }));
    }
    let mut numbers = Vec::new();
    for task in tasks {
        numbers.push(task.await.expect("no panic"));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=32).collect::<Vec<i64>>());
    let conversation = get(&fixture, 7).await;
    assert_eq!(conversation.status(), ConversationStatus::Open);
    assert_eq!(conversation.contact.expect("always set").id, person.contact);
    let request = GetConversationRequest {
        account_id: 1,
        conversation_id: 33,
    };
    let missing = fixture.clients.conversations.clone().get_conversation(request).await;
    assert_refused(missing, Code::NotFound, "NOT_FOUND");
}

async fn session_is_found_by_source_id_or_created(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let person = fixture.person("Asha").await;
    let by_name = CreateConversationRequest {
        source_id: Some(person.source.clone()),
        ..CreateConversationRequest::default()
    };
    let found = create(&fixture, by_name)
        .await
        .expect("found by its name")
        .conversation
        .expect("always set");
    assert_eq!(found.contact_inbox.expect("always set").source_id, person.source);

    let request = CreateContactRequest {
        account_id: 1,
        name: "Bruno".to_owned(),
        ..CreateContactRequest::default()
    };
    let bruno = fixture
        .clients
        .contacts
        .clone()
        .create_contact(request)
        .await
        .expect("made")
        .into_inner()
        .contact
        .expect("always set");
    let by_contact = CreateConversationRequest {
        inbox_id: Some(1),
        contact_id: Some(bruno.id),
        ..CreateConversationRequest::default()
    };
    let made = create(&fixture, by_contact)
        .await
        .expect("a session is made")
        .conversation
        .expect("always set");
    assert_eq!(made.contact_inbox.expect("always set").contact_id, bruno.id);

    let nothing = create(&fixture, CreateConversationRequest::default()).await;
    let fault = assert_refused(nothing, Code::InvalidArgument, "INVALID_FIELD");
    assert!(fault.fields.contains("source_id: REQUIRED"), "{fault:?}");
    let unknown = CreateConversationRequest {
        source_id: Some("nobody".to_owned()),
        ..CreateConversationRequest::default()
    };
    assert_refused(create(&fixture, unknown).await, Code::NotFound, "NOT_FOUND");
    let no_inbox = CreateConversationRequest {
        inbox_id: Some(99),
        contact_id: Some(bruno.id),
        ..CreateConversationRequest::default()
    };
    assert_refused(create(&fixture, no_inbox).await, Code::NotFound, "NOT_FOUND");
}

async fn locked_inbox_has_one_conversation_per_session(backend: Backend) {
    let app = TestApp::start(backend).await;
    let request = CreateInboxRequest {
        account_id: 1,
        inbox: Some(Inbox {
            name: "Locked".to_owned(),
            lock_to_single_conversation: true,
            channel: Some(Channel::ApiChannel(ApiChannel::default())),
            ..Inbox::default()
        }),
        ..CreateInboxRequest::default()
    };
    let inbox = app
        .clients()
        .inboxes
        .create_inbox(request)
        .await
        .expect("made")
        .into_inner()
        .inbox
        .expect("always set");
    let fixture = ApiFixture::new(app.clients(), 1, inbox.id);
    let person = fixture.person("Asha").await;
    let mut tasks = Vec::new();
    for _ in 0..16 {
        let (fixture, person) = (fixture.clone(), person.clone());
        tasks.push(tokio::spawn(async move { fixture.conversation(&person).await.id }));
    }
    let mut numbers = Vec::new();
    for task in tasks {
        numbers.push(task.await.expect("no panic"));
    }
    numbers.dedup();
    assert_eq!(numbers.len(), 1, "sixteen at once make one conversation: {numbers:?}");
}

async fn conversation_and_first_message_are_created_atomically(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let person = fixture.person("Asha").await;
    let before = log_info(&fixture.clients, 1).await.head_seq;
    let request = |text: String| CreateConversationRequest {
        source_id: Some(person.source.clone()),
        message: Some(incoming(&text)),
        ..CreateConversationRequest::default()
    };
    assert_bad_fields(create(&fixture, request("x".repeat(150_001))).await, &["message.content: TOO_LONG"]);
    assert_eq!(log_info(&fixture.clients, 1).await.head_seq, before, "neither");
    let made = create(&fixture, request("hello".to_owned())).await.expect("both");
    let conversation = made.conversation.expect("always set");
    assert_eq!(
        (conversation.id, conversation.message_count),
        (1, 1),
        "no number was lost with the refused one"
    );
    assert_eq!(made.message.expect("one was given").content.as_deref(), Some("hello"));
}

async fn conversation_of_a_blocked_contact_starts_resolved(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let person = fixture.person("Asha").await;
    let request = UpdateContactRequest {
        account_id: 1,
        contact: Some(Contact {
            id: person.contact,
            blocked: true,
            ..Contact::default()
        }),
        update_mask: Some(FieldMask {
            paths: vec!["blocked".to_owned()],
        }),
        ..UpdateContactRequest::default()
    };
    fixture
        .clients
        .contacts
        .clone()
        .update_contact(request)
        .await
        .expect("the contact is blocked");
    let conversation = fixture.conversation(&person).await;
    assert_eq!(conversation.status(), ConversationStatus::Resolved);
    fixture.hear(conversation.id, "let me in").await;
    assert_eq!(
        get(&fixture, conversation.id).await.status(),
        ConversationStatus::Resolved,
        "and reopens nothing"
    );
}

async fn conversations_are_filtered_and_sorted(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let people = [fixture.person("Asha").await, fixture.person("Bruno").await];
    let mut numbers = Vec::new();
    for index in 0..6 {
        let conversation = fixture.conversation(&people[index % 2]).await.id;
        fixture
            .hear(conversation, if index == 3 { "about the Invoice" } else { "hello" })
            .await;
        numbers.push(conversation);
    }
    resolve(&fixture, numbers[0]).await;
    let ids = |answer: ListConversationsResponse| answer.conversations.into_iter().map(|one| one.id).collect::<Vec<_>>();
    let all = ids(list(
        &fixture,
        ListConversationsRequest {
            order_by: "created_at".to_owned(),
            ..ListConversationsRequest::default()
        },
    )
    .await);
    assert_eq!(all, numbers);
    let resolved = ListConversationsRequest {
        statuses: vec![ConversationStatus::Resolved.into()],
        ..ListConversationsRequest::default()
    };
    assert_eq!(ids(list(&fixture, resolved).await), [numbers[0]]);
    let asha = ListConversationsRequest {
        contact_id: Some(people[0].contact),
        order_by: "-created_at".to_owned(),
        ..ListConversationsRequest::default()
    };
    assert_eq!(ids(list(&fixture, asha).await), [numbers[4], numbers[2], numbers[0]]);
    let text = ListConversationsRequest {
        text: "invoice".to_owned(),
        ..ListConversationsRequest::default()
    };
    assert_eq!(ids(list(&fixture, text).await), [numbers[3]], "letter case does not count");
    let session = ListConversationsRequest {
        source_id: people[1].source.clone(),
        with_counts: true,
        ..ListConversationsRequest::default()
    };
    let answer = list(&fixture, session).await;
    assert_eq!(answer.counts.expect("asked for").all, 3);
    let bad = ListConversationsRequest {
        account_id: 1,
        order_by: "colour".to_owned(),
        page_size: -1,
        skip: -1,
        ..ListConversationsRequest::default()
    };
    let fault = assert_refused(
        fixture.clients.conversations.clone().list_conversations(bad).await,
        Code::InvalidArgument,
        "INVALID_FIELD",
    );
    for field in ["order_by", "page_size", "skip"] {
        assert!(fault.fields.iter().any(|bad| bad.starts_with(field)), "{field} is named: {fault:?}");
    }
}
