//! Updating and deleting contacts.

use parley_proto::{Contact, DeleteContactRequest, EventKind};
use prost_types::value::Kind;
use tonic::Code;

use crate::{
    contacts::{ana, attributes, create, get, update},
    support::{
        api_fixture::incoming,
        app::TestApp,
        chain::assert_whole_writes,
        database::Backend,
        fault::assert_refused,
        on_both,
        reader::{event, log_info, whole_log},
    },
};

on_both!(
    only_fields_in_the_mask_change,
    single_attributes_are_updated_by_path,
    deleting_a_contact_deletes_its_conversations
);

async fn only_fields_in_the_mask_change(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let made = create(&fixture, ana()).await.expect("the contact is made");
    let wanted = Contact {
        id: made.id,
        name: "Ana Maria".to_owned(),
        email: Some("other@example.org".to_owned()),
        ..Contact::default()
    };
    let changed = update(&fixture, wanted.clone(), &["name"])
        .await
        .expect("the contact is updated")
        .contact
        .expect("always set");
    assert_eq!(
        (changed.name.as_str(), changed.email.as_deref()),
        ("Ana Maria", Some("ana@example.org"))
    );
    assert!(changed.version > made.version);

    let head = log_info(&fixture.clients, 1).await;
    let again = update(&fixture, wanted.clone(), &["name"]).await.expect("the contact stays");
    let after = log_info(&fixture.clients, 1).await;
    assert_eq!(after.head_seq, head.head_seq, "nothing changed, so nothing happened");
    assert_eq!(again.cursor, head.head_cursor, "the cursor of its last change");

    let cleared = update(
        &fixture,
        Contact {
            id: made.id,
            ..Contact::default()
        },
        &["email", "phone_number"],
    )
    .await;
    let cleared = cleared.expect("the contact is updated").contact.expect("always set");
    assert_eq!(
        (cleared.email, cleared.phone_number),
        (None, None),
        "named in the mask and absent: none"
    );

    let fault = assert_refused(
        update(&fixture, wanted.clone(), &["name", "no_such_field"]).await,
        Code::InvalidArgument,
        "INVALID_FIELD",
    );
    assert!(fault.fields.iter().any(|field| field.starts_with("update_mask")), "{fault:?}");
    let fault = assert_refused(update(&fixture, wanted.clone(), &[]).await, Code::InvalidArgument, "INVALID_FIELD");
    assert!(fault.fields.contains("update_mask: REQUIRED"), "{fault:?}");
    let nobody = Contact { id: 999_999, ..wanted };
    assert_refused(update(&fixture, nobody, &["name"]).await, Code::NotFound, "NOT_FOUND");
}

async fn single_attributes_are_updated_by_path(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let made = create(&fixture, ana()).await.expect("the contact is made");
    let change = Contact {
        id: made.id,
        custom_attributes: Some(attributes(&[("city", Kind::StringValue("Porto".to_owned()))])),
        ..Contact::default()
    };
    let paths = ["custom_attributes.city", "custom_attributes.plan"];
    let changed = update(&fixture, change.clone(), &paths)
        .await
        .expect("it is updated")
        .contact
        .expect("always set");
    let expected = attributes(&[("visits", Kind::NumberValue(3.0)), ("city", Kind::StringValue("Porto".to_owned()))]);
    assert_eq!(changed.custom_attributes, Some(expected), "one key set, one removed, one left");
    let changed = update(&fixture, change.clone(), &["custom_attributes"])
        .await
        .expect("it is updated")
        .contact
        .expect("always set");
    assert_eq!(changed.custom_attributes, change.custom_attributes, "replaced as a whole");
}

async fn deleting_a_contact_deletes_its_conversations(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let person = fixture.person("Ana").await;
    let conversation = fixture.conversation(&person).await.id;
    fixture.hear(conversation, "hello").await;
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
        .expect("the contact is deleted");
    assert_refused(get(&fixture, person.contact).await, Code::NotFound, "NOT_FOUND");
    let gone = fixture.send(conversation, incoming("still there?")).await;
    assert_refused(gone, Code::NotFound, "NOT_FOUND");
    let log = whole_log(&fixture.clients, 1).await;
    let last = log.last().map(event).expect("it was told");
    assert!(
        log.iter().map(event).any(|event| event.kind() == EventKind::ContactDeleted),
        "{last:?}"
    );
    assert_whole_writes(&log);
}
