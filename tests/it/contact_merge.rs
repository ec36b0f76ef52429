//! Merging two contacts.

use parley_proto::{
    CreateContactRequest, EventKind, GetContactBySessionRequest, GetConversationRequest, ListContactableInboxesRequest,
    ListMessagesRequest, MergeContactsRequest, MergeContactsResponse,
};
use prost_types::value::Kind;
use tonic::{Code, Status};

use crate::{
    contacts::{attributes, create, get},
    support::{
        api_fixture::{ApiFixture, incoming},
        app::TestApp,
        chain::assert_whole_writes,
        database::Backend,
        fault::assert_refused,
        on_both,
        reader::{event, log_info, whole_log},
        told::Told as _,
    },
};

on_both!(
    merge_moves_sessions_and_conversations_to_the_base,
    merge_fills_missing_fields_of_the_base,
    merging_a_contact_with_itself_changes_nothing,
    messages_after_a_merge_belong_to_the_base,
    contact_is_found_by_its_session,
    contactable_inboxes_list_every_inbox
);

async fn merge(fixture: &ApiFixture, base: i64, other: i64) -> Result<MergeContactsResponse, Status> {
    let request = MergeContactsRequest {
        account_id: 1,
        base_contact_id: base,
        mergee_contact_id: other,
        ..MergeContactsRequest::default()
    };
    Ok(fixture.clients.contacts.clone().merge_contacts(request).await?.into_inner())
}

async fn merge_moves_sessions_and_conversations_to_the_base(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let (base, other) = (fixture.person("Ana").await, fixture.person("Maria").await);
    let stays = fixture.conversation(&base).await.id;
    let mut moved = Vec::new();
    for _ in 0..3 {
        let id = fixture.conversation(&other).await.id;
        fixture.hear(id, "hello").await;
        moved.push(id);
    }
    let head = log_info(&fixture.clients, 1).await.head_seq;
    let merged = merge(&fixture, base.contact, other.contact).await.expect("they are merged");
    let contact = merged.contact.expect("always set");
    assert_eq!(
        (contact.id, contact.name.as_str(), contact.contact_inboxes.len()),
        (base.contact, "Ana", 2)
    );
    assert_refused(get(&fixture, other.contact).await, Code::NotFound, "NOT_FOUND");

    let log = whole_log(&fixture.clients, 1).await;
    assert_whole_writes(&log);
    let told: Vec<_> = log.iter().map(event).filter(|event| event.seq > head).collect();
    let kinds: Vec<_> = told.iter().map(|event| event.kind()).collect();
    let changed = EventKind::ConversationContactChanged;
    assert_eq!(
        kinds,
        [EventKind::ContactMerged, changed, changed, changed, EventKind::ContactDeleted]
    );
    assert_eq!(told[0].contact().and_then(|it| it.contact.clone()), Some(contact.clone()));
    assert_eq!(contact.version, told[0].seq);
    for (id, event) in moved.iter().zip(&told[1..4]) {
        let request = GetConversationRequest {
            account_id: 1,
            conversation_id: *id,
        };
        let answer = fixture
            .clients
            .conversations
            .clone()
            .get_conversation(request)
            .await
            .expect("it is there")
            .into_inner();
        let conversation = answer.conversation.expect("always set");
        assert_eq!(conversation.contact.as_ref().map(|contact| contact.id), Some(base.contact));
        assert_eq!(
            conversation.contact_inbox.as_ref().map(|session| session.contact_id),
            Some(base.contact)
        );
        assert_eq!((event.conversation_id(), event.seq), (Some(*id), conversation.version));
        let request = ListMessagesRequest {
            account_id: 1,
            conversation_id: *id,
            ..ListMessagesRequest::default()
        };
        let messages = fixture
            .clients
            .messages
            .clone()
            .list_messages(request)
            .await
            .expect("they are there")
            .into_inner()
            .messages;
        assert_eq!(
            messages[0].sender.as_ref().map(|sender| sender.id),
            Some(base.contact),
            "{messages:?}"
        );
    }
    assert!(!moved.contains(&stays));
    assert_eq!(told[4].contact_id(), Some(other.contact));
    assert_refused(merge(&fixture, base.contact, other.contact).await, Code::NotFound, "NOT_FOUND");
}

async fn merge_fills_missing_fields_of_the_base(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let text = |text: &str| Kind::StringValue(text.to_owned());
    let made = |request| create(&fixture, request);
    let base = CreateContactRequest {
        account_id: 1,
        email: Some("ana@example.org".to_owned()),
        custom_attributes: Some(attributes(&[("plan", text("gold"))])),
        ..CreateContactRequest::default()
    };
    let base = made(base).await.expect("made");
    let other = CreateContactRequest {
        account_id: 1,
        name: "Ana".to_owned(),
        email: Some("other@example.org".to_owned()),
        identifier: Some("crm-7".to_owned()),
        blocked: true,
        custom_attributes: Some(attributes(&[("plan", text("basic")), ("city", text("Porto"))])),
        ..CreateContactRequest::default()
    };
    let other = made(other).await.expect("made");
    let merged = merge(&fixture, base.id, other.id)
        .await
        .expect("they are merged")
        .contact
        .expect("always set");
    assert_eq!(merged.name, "Ana");
    assert_eq!(merged.email.as_deref(), Some("ana@example.org"));
    assert_eq!(merged.identifier.as_deref(), Some("crm-7"), "unique, and free again");
    assert_eq!(
        merged.custom_attributes,
        Some(attributes(&[("plan", text("gold")), ("city", text("Porto"))]))
    );
    assert!(!merged.blocked, "blocks are not carried over");
    assert_eq!(get(&fixture, base.id).await.expect("it is there"), merged);
}

async fn merging_a_contact_with_itself_changes_nothing(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let person = fixture.person("Ana").await;
    let head = log_info(&fixture.clients, 1).await;
    let merged = merge(&fixture, person.contact, person.contact)
        .await
        .expect("nothing is wrong with it");
    assert_eq!(merged.cursor, head.head_cursor);
    assert_eq!(log_info(&fixture.clients, 1).await.head_seq, head.head_seq);
    assert_refused(merge(&fixture, person.contact, 999_999).await, Code::NotFound, "NOT_FOUND");
    assert_refused(merge(&fixture, 999_999, person.contact).await, Code::NotFound, "NOT_FOUND");
}

/// The writer's cached rows must not survive the merge.
async fn messages_after_a_merge_belong_to_the_base(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let (base, other) = (fixture.person("Ana").await, fixture.person("Maria").await);
    let id = fixture.conversation(&other).await.id;
    fixture.hear(id, "hello").await;
    merge(&fixture, base.contact, other.contact).await.expect("they are merged");
    let answer = fixture.send(id, incoming("still me")).await.expect("it is taken");
    let sender = answer.message.expect("always set").sender;
    assert_eq!(sender.map(|sender| sender.id), Some(base.contact));
    assert!(get(&fixture, base.contact).await.expect("it is there").last_activity_at.is_some());
}

async fn contact_is_found_by_its_session(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let person = fixture.person("Ana").await;
    let find = async |inbox_id: i64, source_id: &str| {
        let request = GetContactBySessionRequest {
            account_id: 1,
            inbox_id,
            source_id: source_id.to_owned(),
        };
        fixture.clients.contacts.clone().get_contact_by_session(request).await
    };
    let found = find(1, &person.source).await.expect("it is there").into_inner();
    assert_eq!(found.contact, Some(get(&fixture, person.contact).await.expect("it is there")));
    assert_refused(find(1, "no such session").await, Code::NotFound, "NOT_FOUND");
    assert_refused(find(2, &person.source).await, Code::NotFound, "NOT_FOUND");
    assert_refused(find(1, " ").await, Code::InvalidArgument, "INVALID_FIELD");
}

async fn contactable_inboxes_list_every_inbox(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let nobody = create(
        &fixture,
        CreateContactRequest {
            account_id: 1,
            ..CreateContactRequest::default()
        },
    )
    .await
    .expect("made");
    let person = fixture.person("Ana").await;
    let reach = async |contact_id: i64| {
        let request = ListContactableInboxesRequest {
            account_id: 1,
            contact_id,
            ..ListContactableInboxesRequest::default()
        };
        let answer = fixture.clients.contacts.clone().list_contactable_inboxes(request).await?;
        Ok::<_, Status>(answer.into_inner().contactable_inboxes)
    };
    let found = reach(person.contact).await.expect("listed");
    assert_eq!((found.len(), &found[0].source_id), (1, &person.source));
    assert_eq!(found[0].inbox.as_ref().map(|inbox| inbox.id), Some(1));
    let first = reach(nobody.id).await.expect("listed").remove(0).source_id;
    uuid::Uuid::parse_str(&first).expect("a random UUID");
    assert_ne!(first, reach(nobody.id).await.expect("listed").remove(0).source_id, "stored nowhere");
    assert!(get(&fixture, nobody.id).await.expect("it is there").contact_inboxes.is_empty());
    assert_refused(reach(999_999).await, Code::NotFound, "NOT_FOUND");
}
