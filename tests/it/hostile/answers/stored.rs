//! Rows that were stored before the limits existed: they are delivered without the oversized fields, preserved by updates, and reported by
//! `parley doctor`.

use parley_proto::{Contact, GetContactRequest, ListContactsRequest, ListConversationsRequest, ListMessagesRequest, UpdateContactRequest};
use prost_types::FieldMask;
use serde_json::json;

use super::{contact, nested};
use crate::support::{
    api_fixture::{incoming, outgoing},
    app::TestApp,
    clients::Clients,
    database::{Backend, Database},
    http::Http,
    on_both,
    reader::whole_log,
    server::{program, run_to_end},
};

on_both!(oversized_rows_are_delivered_truncated);

async fn get(clients: &Clients, contact_id: i64) -> Contact {
    let request = GetContactRequest { account_id: 1, contact_id };
    let answer = clients.contacts.clone().get_contact(request).await.expect("it is read");
    answer.into_inner().contact.expect("always set")
}

async fn update(clients: &Clients, contact: Contact, path: &str) -> Result<Contact, tonic::Status> {
    let request = UpdateContactRequest {
        account_id: 1,
        contact: Some(contact),
        update_mask: Some(FieldMask {
            paths: vec![path.to_owned()],
        }),
        ..UpdateContactRequest::default()
    };
    let answer = clients.contacts.clone().update_contact(request).await?;
    Ok(answer.into_inner().contact.expect("always set"))
}

async fn oversized_rows_are_delivered_truncated(backend: Backend) {
    let mut app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let person = fixture.person("Asha").await;
    let talk = fixture.conversation(&person).await.id;
    let (message, _) = fixture.sent(talk, outgoing("hello")).await;
    let fine = contact(&app.clients(), "fine", &json!({"plan": "gold"})).await.expect("made");
    let cast = if backend == Backend::Postgres { "::jsonb" } else { "" };
    let large = json!({"a": "x".repeat(200_000), "b": "y".repeat(5_000_000)});
    // Few bytes, but more keys than a map may have.
    let many: serde_json::Map<String, serde_json::Value> = (0..251).map(|nth| (format!("k{nth}"), json!(nth))).collect();
    let many = serde_json::Value::Object(many);
    for (table, column, id, map) in [
        ("contacts", "custom_attributes", person.contact, &large),
        ("contacts", "additional_attributes", person.contact, &nested(40)),
        ("conversations", "custom_attributes", talk, &nested(33)),
        ("messages", "content_attributes", message.id, &nested(33)),
        ("conversations", "additional_attributes", talk, &many),
        ("inboxes", "csat_config", fixture.inbox, &many),
        ("users", "custom_attributes", 1, &many),
    ] {
        let statement = format!("UPDATE {table} SET {column} = '{map}'{cast} WHERE id = {id}");
        app.database.run(&statement).await;
    }
    // The rows in the writer's cache are from before the change.
    app.restart().await;
    let (clients, fixture, http) = (app.clients(), app.fixture(), app.http());
    let shown = get(&clients, person.contact).await;
    assert_eq!(shown.truncated_fields, ["additional_attributes", "custom_attributes"]);
    assert_eq!((shown.custom_attributes, shown.additional_attributes), (None, None));
    let list = ListContactsRequest {
        account_id: 1,
        ..ListContactsRequest::default()
    };
    let listed = clients
        .contacts
        .clone()
        .list_contacts(list)
        .await
        .expect("listed")
        .into_inner()
        .contacts;
    assert!(
        listed
            .iter()
            .any(|contact| contact.id == fine.id && contact.truncated_fields.is_empty())
    );
    let list = ListConversationsRequest {
        account_id: 1,
        ..ListConversationsRequest::default()
    };
    let listed = clients
        .conversations
        .clone()
        .list_conversations(list)
        .await
        .expect("listed")
        .into_inner();
    assert_eq!(
        listed.conversations[0].truncated_fields,
        ["additional_attributes", "custom_attributes"]
    );
    let list = ListMessagesRequest {
        account_id: 1,
        conversation_id: talk,
        ..ListMessagesRequest::default()
    };
    let listed = clients.messages.clone().list_messages(list).await.expect("listed").into_inner();
    assert_eq!(listed.messages[0].truncated_fields, ["content_attributes"]);
    json_names_them(&http, talk, person.contact).await;
    // The contact sends a message, and every event is received.
    fixture.sent(talk, incoming("hi")).await;
    let named = Contact {
        id: person.contact,
        name: "Asha Rao".to_owned(),
        ..Contact::default()
    };
    update(&clients, named, "name")
        .await
        .expect("an update of something else is accepted");
    whole_log(&clients, 1).await;
    let kept = "SELECT CAST(length(CAST(custom_attributes AS text)) AS BIGINT) FROM contacts WHERE name = 'Asha Rao'";
    assert!(
        Database::number(&app.database.url(), kept).await > 5_000_000,
        "what was not set is kept"
    );
    doctor_names_them(&app, person.contact).await;
    // One oversized key may be removed even if the map remains too large. The rest is sent again once it fits.
    let one = Contact {
        id: person.contact,
        ..Contact::default()
    };
    let shown = update(&clients, one.clone(), "custom_attributes.b").await.expect("it shrinks");
    assert_eq!(shown.truncated_fields, ["additional_attributes", "custom_attributes"]);
    let grown = Contact {
        custom_attributes: Some(super::object(&json!({"c": "z".repeat(10)}))),
        ..one.clone()
    };
    update(&clients, grown, "custom_attributes.c")
        .await
        .expect_err("it grows beyond the limit");
    let shown = update(&clients, one, "custom_attributes.a").await.expect("it shrinks");
    assert_eq!(shown.truncated_fields, ["additional_attributes"]);
}

/// The JSON API names the omitted fields in each object that has some, and nowhere else.
async fn json_names_them(http: &Http, talk: i64, contact: i64) {
    let messages = format!("/conversations/{talk}/messages");
    let (of_contact, of_conversation) = (
        json!(["additional_attributes", "custom_attributes"]),
        json!(["additional_attributes", "custom_attributes"]),
    );
    for (path, pointer, wanted) in [
        ("/conversations", "/data/payload/0", &of_conversation),
        ("/conversations", "/data/payload/0/meta/sender", &of_contact),
        ("/conversations", "/data/payload/0/messages/0", &json!(["content_attributes"])),
        (&format!("/contacts/{contact}"), "/payload", &of_contact),
        (&messages, "/meta", &json!(["additional_attributes"])),
        (&messages, "/meta/contact", &of_contact),
        (&messages, "/payload/0", &json!(["content_attributes"])),
        ("/inboxes/1", "", &json!(["csat_config"])),
        ("/agents", "/0", &json!(["custom_attributes"])),
    ] {
        let (status, body) = http.ask(path).await;
        let named = body.pointer(pointer).and_then(|object| object.get("truncated_fields"));
        assert_eq!((status, named), (200, Some(wanted)), "{path} {pointer}: {body}");
    }
    let (status, body) = http.ask("/contacts").await;
    let listed = body["payload"].as_array().expect("a list");
    assert!(
        status == 200 && !listed.is_empty() && listed.iter().all(|contact| contact.get("truncated_fields").is_none()),
        "{body}"
    );
}

async fn doctor_names_them(app: &TestApp, contact: i64) {
    let mut command = program();
    command
        .arg("doctor")
        .current_dir(app.home())
        .env("PARLEY_DATABASE_URL", app.database.url());
    for listener in ["GRPC", "HTTP", "ADMIN"] {
        command.env(format!("PARLEY_{listener}_ADDR"), "127.0.0.1:0");
    }
    let told = run_to_end(command).await;
    // `parley doctor` cannot inspect a SQLite file that a server has open.
    if app.database.url().starts_with("postgres") {
        for line in [
            format!("contacts.custom_attributes exceeds its limits in {contact} of account 1"),
            format!("contacts.additional_attributes exceeds its limits in {contact} of account 1"),
            "conversations.custom_attributes exceeds its limits in".to_owned(),
            "messages.content_attributes exceeds its limits in".to_owned(),
            "conversations.additional_attributes exceeds its limits in".to_owned(),
            "inboxes.csat_config exceeds its limits in".to_owned(),
        ] {
            assert!(told.output.contains(&line), "{line} is not in\n{}", told.output);
        }
    }
}
