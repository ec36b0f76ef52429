//! Searching contacts by a substring of their fields, with every kind of index.

use parley_proto::{Contact, CreateContactRequest, DeleteContactRequest, SearchContactsRequest};
use prost_types::value::Kind;

use crate::{
    contacts::{attributes, create, update},
    support::{api_fixture::ApiFixture, app::TestApp, database::Backend, on_both},
};

on_both!(substring_finds_every_matching_contact, search_follows_updates_and_deletions);

async fn person(fixture: &ApiFixture, name: &str, email: &str, identifier: &str, company: &str) -> Contact {
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let request = CreateContactRequest {
        account_id: 1,
        name: name.to_owned(),
        email: given(email),
        identifier: given(identifier),
        additional_attributes: given(company).map(|company| attributes(&[("company_name", Kind::StringValue(company))])),
        ..CreateContactRequest::default()
    };
    create(fixture, request).await.expect("made")
}

/// The names of matching contacts, in the order of creation.
async fn found(fixture: &ApiFixture, query: &str) -> Vec<String> {
    let request = SearchContactsRequest {
        account_id: 1,
        query: query.to_owned(),
        with_total_size: true,
        ..SearchContactsRequest::default()
    };
    let answer = fixture
        .clients
        .contacts
        .clone()
        .search_contacts(request)
        .await
        .expect("a text")
        .into_inner();
    assert_eq!(answer.total_size, i64::try_from(answer.contacts.len()).ok(), "{query}");
    answer.contacts.into_iter().map(|contact| contact.name).collect()
}

async fn substring_finds_every_matching_contact(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    person(&fixture, "Ana Sousa", "ana@example.org", "", "").await;
    person(&fixture, "Éva Nagy", "", "Crm-7", "Acme \"Best\" Ltd").await;
    person(&fixture, "100% Pure\\Co", "pure@shop.example", "x*y?[z]", "").await;
    person(&fixture, "visitor ana", "", "", "").await;
    let cases: [(&str, &[&str]); 20] = [
        ("ana", &["Ana Sousa"]),
        ("NA SOU", &["Ana Sousa"]),
        (" example ", &["Ana Sousa", "100% Pure\\Co"]),
        ("éva", &["Éva Nagy"]),
        ("ÉVA", &["Éva Nagy"]),
        ("Crm-", &["Éva Nagy"]),
        ("crm-", &[]),
        ("acme", &["Éva Nagy"]),
        ("\"best\"", &["Éva Nagy"]),
        ("a%so", &["Ana Sousa"]),
        ("_na s", &["Ana Sousa"]),
        ("A%t\" L", &["Éva Nagy"]),
        ("C%7", &["Éva Nagy"]),
        ("c%7", &[]),
        ("pure\\co", &["100% Pure\\Co"]),
        ("x*y?[z]", &["100% Pure\\Co"]),
        ("x?y", &[]),
        ("na", &["Ana Sousa", "Éva Nagy"]),
        ("nobody", &[]),
        ("' OR 1=1 --", &[]),
    ];
    for (query, names) in cases {
        assert_eq!(found(&fixture, query).await, names, "{query}");
    }
}

async fn search_follows_updates_and_deletions(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let ana = person(&fixture, "Ana Sousa", "ana@example.org", "", "Acme").await;
    let renamed = Contact {
        id: ana.id,
        name: "Maria".to_owned(),
        ..Contact::default()
    };
    update(&fixture, renamed, &["name", "additional_attributes"])
        .await
        .expect("changed");
    for (query, names) in [
        ("sousa", vec![]),
        ("acme", vec![]),
        ("mari", vec!["Maria"]),
        ("ana@", vec!["Maria"]),
    ] {
        assert_eq!(found(&fixture, query).await, names, "{query}");
    }
    let request = DeleteContactRequest {
        account_id: 1,
        contact_id: ana.id,
        ..DeleteContactRequest::default()
    };
    fixture.clients.contacts.clone().delete_contact(request).await.expect("deleted");
    assert!(found(&fixture, "mari").await.is_empty());
}
