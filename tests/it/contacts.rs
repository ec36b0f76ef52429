//! Contacts and their sessions: creation, lookup and validation. `contact_changes` has the tests of updates.

use parley_proto::{
    Contact, CreateContactRequest, CreateContactSessionRequest, EventKind, GetContactRequest, ListContactSessionsRequest,
    SearchContactsRequest, UpdateContactRequest, UpdateContactResponse,
};
use prost_types::{FieldMask, Struct, Value, value::Kind};
use tonic::{Code, Status};

use crate::support::{
    api_fixture::ApiFixture,
    app::TestApp,
    database::Backend,
    fault::{assert_bad_fields, assert_refused},
    on_both,
    reader::{event, log_info, whole_log},
    told::Told as _,
};

on_both!(
    contact_is_returned_as_created,
    duplicate_value_names_the_existing_contact,
    concurrent_creations_with_one_address_create_one_contact,
    every_invalid_field_is_reported_at_once,
    concurrent_calls_create_one_session,
    search_finds_substrings
);

pub fn ana() -> CreateContactRequest {
    CreateContactRequest {
        account_id: 1,
        name: "Ana Sousa".to_owned(),
        email: Some("Ana@Example.org".to_owned()),
        phone_number: Some("+351912345678".to_owned()),
        identifier: Some("crm-7".to_owned()),
        custom_attributes: Some(attributes(&[
            ("visits", Kind::NumberValue(3.0)),
            ("plan", Kind::StringValue("gold".to_owned())),
        ])),
        inbox_id: Some(1),
        ..CreateContactRequest::default()
    }
}

pub fn attributes(entries: &[(&str, Kind)]) -> Struct {
    let fields = entries
        .iter()
        .map(|(key, kind)| ((*key).to_owned(), Value { kind: Some(kind.clone()) }));
    Struct { fields: fields.collect() }
}

pub async fn get(fixture: &ApiFixture, contact_id: i64) -> Result<Contact, Status> {
    let request = GetContactRequest { account_id: 1, contact_id };
    let answer = fixture.clients.contacts.clone().get_contact(request).await?;
    Ok(answer.into_inner().contact.expect("always set"))
}

pub async fn create(fixture: &ApiFixture, request: CreateContactRequest) -> Result<Contact, Status> {
    let answer = fixture.clients.contacts.clone().create_contact(request).await?;
    Ok(answer.into_inner().contact.expect("always set"))
}

pub async fn update(fixture: &ApiFixture, contact: Contact, paths: &[&str]) -> Result<UpdateContactResponse, Status> {
    let request = UpdateContactRequest {
        account_id: 1,
        contact: Some(contact),
        update_mask: Some(FieldMask {
            paths: paths.iter().map(|&path| path.to_owned()).collect(),
        }),
        ..UpdateContactRequest::default()
    };
    Ok(fixture.clients.contacts.clone().update_contact(request).await?.into_inner())
}

async fn contact_is_returned_as_created(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let made = create(&fixture, ana()).await.expect("the contact is made");
    assert_eq!(made.email.as_deref(), Some("ana@example.org"), "stored in lower case");
    assert_eq!(made.name, "Ana Sousa");
    assert_eq!(made.contact_inboxes.len(), 1, "a session was asked for");
    uuid::Uuid::parse_str(&made.contact_inboxes[0].source_id).expect("a random UUID");
    assert_eq!(get(&fixture, made.id).await.expect("it is there"), made);
    let log = whole_log(&fixture.clients, 1).await;
    let told = log
        .iter()
        .map(event)
        .find(|event| event.kind() == EventKind::ContactCreated)
        .expect("contact.created");
    assert_eq!((told.contact_id(), told.seq), (Some(made.id), made.version));
    let fault = assert_refused(get(&fixture, made.id + 1).await, Code::NotFound, "NOT_FOUND");
    assert_eq!(fault.metadata["kind"], "contact");
    assert_eq!(fault.metadata["id"], (made.id + 1).to_string());
}

async fn duplicate_value_names_the_existing_contact(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let made = create(&fixture, ana()).await.expect("the contact is made");
    let cases = [
        (
            CreateContactRequest {
                phone_number: None,
                identifier: None,
                ..ana()
            },
            "email: TAKEN",
        ),
        (
            CreateContactRequest {
                email: None,
                identifier: None,
                ..ana()
            },
            "phone_number: TAKEN",
        ),
        (
            CreateContactRequest {
                phone_number: None,
                email: None,
                ..ana()
            },
            "identifier: TAKEN",
        ),
    ];
    for (request, field) in cases {
        let fault = assert_refused(create(&fixture, request).await, Code::AlreadyExists, "ALREADY_TAKEN");
        assert_eq!(fault.fields.iter().collect::<Vec<_>>(), [field], "{fault:?}");
        assert_eq!(fault.metadata["existing_id"], made.id.to_string());
        assert_eq!(fault.resource, Some(format!("contact/{}", made.id)));
    }
    let fault = assert_refused(create(&fixture, ana()).await, Code::AlreadyExists, "ALREADY_TAKEN");
    assert_eq!(fault.fields.len(), 3, "every taken value is named at once: {fault:?}");

    let other = CreateContactRequest {
        account_id: 1,
        name: "Other".to_owned(),
        ..CreateContactRequest::default()
    };
    let other = create(&fixture, other).await.expect("the contact is made");
    let stolen = Contact {
        id: other.id,
        email: Some("ana@example.org".to_owned()),
        ..Contact::default()
    };
    let result = update(&fixture, stolen, &["email"]).await;
    let fault = assert_refused(result, Code::AlreadyExists, "ALREADY_TAKEN");
    assert_eq!(fault.metadata["existing_id"], made.id.to_string());
}

async fn concurrent_creations_with_one_address_create_one_contact(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let before = log_info(&fixture.clients, 1).await.head_seq;
    let mut tasks = Vec::new();
    for index in 0..64 {
        let fixture = fixture.clone();
        tasks.push(tokio::spawn(async move {
            let request = CreateContactRequest {
                account_id: 1,
                name: format!("writer {index}"),
                email: Some("one@example.org".to_owned()),
                ..CreateContactRequest::default()
            };
            create(&fixture, request).await
        }));
    }
    let (mut made, mut named) = (Vec::new(), Vec::new());
    for task in tasks {
        match task.await.expect("the writer does not panic") {
            Ok(contact) => made.push(contact.id),
            refused => {
                let fault = assert_refused(refused, Code::AlreadyExists, "ALREADY_TAKEN");
                named.push(fault.metadata["existing_id"].clone());
            }
        }
    }
    assert_eq!(made.len(), 1, "one of 64 wins");
    assert!(
        named.iter().all(|id| *id == made[0].to_string()),
        "the others are told which: {named:?}"
    );
    assert_eq!(log_info(&fixture.clients, 1).await.head_seq, before + 1, "one event");
}

async fn every_invalid_field_is_reported_at_once(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let before = log_info(&fixture.clients, 1).await.head_seq;
    let request = CreateContactRequest {
        account_id: 1,
        name: "n".repeat(256),
        email: Some("no address".to_owned()),
        phone_number: Some("12345".to_owned()),
        identifier: Some("i".repeat(256)),
        avatar_url: "ftp://example.org/ana.png".to_owned(),
        ..CreateContactRequest::default()
    };
    let fault = assert_bad_fields(
        create(&fixture, request).await,
        &[
            "name: TOO_LONG",
            "email: INVALID",
            "phone_number: INVALID",
            "identifier: TOO_LONG",
            "avatar_url: INVALID",
        ],
    );
    assert_eq!(fault.metadata["limit.name"], "255");
    let request = CreateContactRequest {
        account_id: 1,
        custom_attributes: Some(attributes(&[("big", Kind::NumberValue(f64::NAN))])),
        ..CreateContactRequest::default()
    };
    let fault = assert_refused(create(&fixture, request).await, Code::InvalidArgument, "INVALID_FIELD");
    assert!(fault.fields.iter().any(|field| field.ends_with(": NOT_EXACT")), "{fault:?}");
    assert_bad_fields(
        create(
            &fixture,
            CreateContactRequest {
                request_id: "not a uuid".to_owned(),
                ..ana()
            },
        )
        .await,
        &["request_id: INVALID"],
    );
    assert_eq!(log_info(&fixture.clients, 1).await.head_seq, before, "nothing half-written");
}

async fn concurrent_calls_create_one_session(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let (ana, bruno) = (fixture.person("Ana").await, fixture.person("Bruno").await);
    let request = CreateContactSessionRequest {
        account_id: 1,
        contact_id: ana.contact,
        inbox_id: 1,
        source_id: Some("device-1".to_owned()),
        ..CreateContactSessionRequest::default()
    };
    let mut tasks = Vec::new();
    for _ in 0..16 {
        let (mut contacts, request) = (fixture.clients.contacts.clone(), request.clone());
        tasks.push(tokio::spawn(async move { contacts.create_contact_session(request).await }));
    }
    let mut ids = Vec::new();
    for task in tasks {
        let answer = task.await.expect("no panic").expect("the session is found or made").into_inner();
        ids.push(answer.contact_inbox.expect("always set").id);
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "the same contact, inbox and name is one session");
    let theirs = CreateContactSessionRequest {
        contact_id: bruno.contact,
        ..request
    };
    assert_refused(
        fixture.clients.contacts.clone().create_contact_session(theirs).await,
        Code::AlreadyExists,
        "ALREADY_TAKEN",
    );
    let listed = ListContactSessionsRequest {
        account_id: 1,
        contact_id: ana.contact,
        ..ListContactSessionsRequest::default()
    };
    let listed = fixture
        .clients
        .contacts
        .clone()
        .list_contact_sessions(listed)
        .await
        .expect("they are listed")
        .into_inner();
    let names: Vec<String> = listed.contact_inboxes.into_iter().map(|session| session.source_id).collect();
    assert_eq!(names, [ana.source, "device-1".to_owned()], "oldest first");
}

async fn search_finds_substrings(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let made = create(&fixture, ana()).await.expect("the contact is made");
    fixture.person("Bruno").await;
    let search = async |query: &str| {
        let request = SearchContactsRequest {
            account_id: 1,
            query: query.to_owned(),
            ..SearchContactsRequest::default()
        };
        fixture.clients.contacts.clone().search_contacts(request).await
    };
    for query in ["SOUSA", "ana@exam", "91234", "crm-7"] {
        let found = search(query).await.expect("it is searched").into_inner().contacts;
        let ids: Vec<i64> = found.iter().map(|contact| contact.id).collect();
        assert_eq!(ids, [made.id], "{query}");
    }
    assert!(
        search("CRM-7").await.expect("it is searched").into_inner().contacts.is_empty(),
        "letter case counts in identifiers"
    );
    assert_bad_fields(search("  ").await, &["query: REQUIRED"]);
}
