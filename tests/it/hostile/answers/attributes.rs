//! The limits of attribute maps are the same at every entry point, and events have room for maps at the limits.

use parley_proto::{
    Account, ApiChannel, ContentType, CreateClientConversationRequest, CreateClientSessionRequest, CreateContactRequest,
    CreateConversationRequest, CreateInboxRequest, CreateUserRequest, DeleteMessageRequest, Inbox, MergeContactsRequest, MessageDraft,
    UpdateAccountRequest, UpdateClientMessageRequest, UpdateContactRequest, UpdateConversationAttributesRequest, UpdateInboxRequest,
    UpdateMessageRequest, attachment_draft::Kind, inbox::Channel, subscribe_request::Start,
};
use prost::Message as _;
use prost_types::FieldMask;
use serde_json::{Value as Json, json};
use tonic::{Code, Status};

use super::{RECEIVED, WIDE, contact, keys, large, nested, object, visitor, visitor_sets};
use crate::support::{
    api_fixture::{incoming, outgoing},
    app::TestApp,
    clients::Clients,
    database::Backend,
    fault::fault,
    on_both,
    reader::{everything, whole_log},
};

on_both!(
    every_attribute_map_is_limited,
    attributes_do_not_accumulate_beyond_the_limit,
    without_the_limits_attributes_accumulate,
    merge_omits_attributes_beyond_the_limit,
    events_with_the_largest_fields_are_received
);

fn mask(path: &str) -> FieldMask {
    FieldMask {
        paths: vec![path.to_owned()],
    }
}

/// The fields that a refusal names.
#[track_caller]
fn refused(entry: &str, result: Result<(), Status>) -> Vec<String> {
    let status = result.expect_err(entry);
    assert_eq!(status.code(), Code::InvalidArgument, "{entry}: {status:?}");
    fault(&status)
        .fields
        .into_iter()
        .filter_map(|field| field.split(": ").next().map(str::to_owned))
        .collect()
}

async fn update_inbox(clients: &Clients, path: &str, inbox: Inbox) -> Result<(), Status> {
    let request = UpdateInboxRequest {
        account_id: 1,
        inbox: Some(Inbox { id: 1, ..inbox }),
        update_mask: Some(mask(path)),
        ..UpdateInboxRequest::default()
    };
    clients.inboxes.clone().update_inbox(request).await.map(drop)
}

/// Sends a map in every field that takes one. Returns the outcome per field.
#[allow(clippy::too_many_lines)] // one entry of a list per field
async fn everywhere(app: &TestApp, map: &Json) -> Vec<(&'static str, Result<(), Status>)> {
    let (clients, operator, fixture) = (app.clients(), app.platform(), app.fixture());
    let (visitors, session) = visitor(app, "m").await;
    let person = fixture.person("Asha").await;
    let talk = fixture.conversation(&person).await.id;
    let (message, _) = fixture.sent(talk, outgoing("hello")).await;
    let wire = || Some(object(map));
    let draft = |draft: MessageDraft| {
        let fixture = &fixture;
        async move { fixture.send(talk, draft).await.map(drop) }
    };
    let mut tried = Vec::new();
    tried.push(("CreateContact.custom_attributes", contact(&clients, "new", map).await.map(drop)));
    let request = CreateContactRequest {
        account_id: 1,
        additional_attributes: wire(),
        ..CreateContactRequest::default()
    };
    tried.push((
        "CreateContact.additional_attributes",
        clients.contacts.clone().create_contact(request).await.map(drop),
    ));
    for path in ["custom_attributes", "additional_attributes"] {
        let request = UpdateContactRequest {
            account_id: 1,
            contact: Some(parley_proto::Contact {
                id: person.contact,
                custom_attributes: wire().filter(|_| path == "custom_attributes"),
                additional_attributes: wire().filter(|_| path == "additional_attributes"),
                ..parley_proto::Contact::default()
            }),
            update_mask: Some(mask(path)),
            ..UpdateContactRequest::default()
        };
        tried.push(("UpdateContact", clients.contacts.clone().update_contact(request).await.map(drop)));
    }
    let request = CreateClientSessionRequest {
        inbox_identifier: session.inbox_identifier.clone(),
        custom_attributes: wire(),
        ..CreateClientSessionRequest::default()
    };
    tried.push((
        "CreateClientSession",
        visitors.client.clone().create_client_session(request).await.map(drop),
    ));
    tried.push(("UpdateClientSession", visitor_sets(&visitors, &session, map).await));
    let request = CreateClientConversationRequest {
        session: Some(session.clone()),
        custom_attributes: wire(),
        ..CreateClientConversationRequest::default()
    };
    tried.push((
        "CreateClientConversation",
        visitors.client.clone().create_client_conversation(request).await.map(drop),
    ));
    for custom in [true, false] {
        let request = CreateConversationRequest {
            account_id: 1,
            inbox_id: Some(1),
            contact_id: Some(person.contact),
            custom_attributes: wire().filter(|_| custom),
            additional_attributes: wire().filter(|_| !custom),
            ..CreateConversationRequest::default()
        };
        tried.push((
            "CreateConversation",
            clients.conversations.clone().create_conversation(request).await.map(drop),
        ));
        let request = UpdateConversationAttributesRequest {
            account_id: 1,
            conversation_id: talk,
            custom_attributes: wire().filter(|_| custom),
            additional_attributes: wire().filter(|_| !custom),
            ..UpdateConversationAttributesRequest::default()
        };
        tried.push((
            "UpdateConversationAttributes",
            clients
                .conversations
                .clone()
                .update_conversation_attributes(request)
                .await
                .map(drop),
        ));
    }
    let channel = |additional_attributes| {
        Some(Channel::ApiChannel(ApiChannel {
            additional_attributes,
            ..ApiChannel::default()
        }))
    };
    let request = CreateInboxRequest {
        account_id: 1,
        inbox: Some(Inbox {
            name: "Other".to_owned(),
            channel: channel(wire()),
            ..Inbox::default()
        }),
        ..CreateInboxRequest::default()
    };
    tried.push(("CreateInbox", clients.inboxes.clone().create_inbox(request).await.map(drop)));
    let inbox = Inbox {
        csat_config: wire(),
        auto_assignment_config: wire(),
        channel: channel(wire()),
        ..Inbox::default()
    };
    for path in ["csat_config", "auto_assignment_config", "api_channel.additional_attributes"] {
        tried.push(("UpdateInbox", update_inbox(&clients, path, inbox.clone()).await));
    }
    let request = MessageDraft {
        content_attributes: Some(object(&json!({ "external_created_at": map }))),
        ..outgoing("a")
    };
    tried.push(("CreateMessage.content_attributes", draft(request).await));
    let request = MessageDraft {
        additional_attributes: wire(),
        ..outgoing("a")
    };
    tried.push(("CreateMessage.additional_attributes", draft(request).await));
    let card = parley_proto::AttachmentDraft {
        kind: Some(Kind::Contact(parley_proto::ContactCardDraft {
            title: "Asha".to_owned(),
            meta: wire(),
        })),
    };
    let request = MessageDraft {
        attachments: vec![card],
        ..outgoing("a")
    };
    tried.push(("CreateMessage.attachments.meta", draft(request).await));
    let request = UpdateMessageRequest {
        account_id: 1,
        conversation_id: talk,
        message_id: message.id,
        content_attributes: wire(),
        ..UpdateMessageRequest::default()
    };
    tried.push(("UpdateMessage", clients.messages.clone().update_message(request).await.map(drop)));
    let request = UpdateAccountRequest {
        account: Some(Account {
            id: 1,
            custom_attributes: wire(),
            limits: wire(),
            ..Account::default()
        }),
        update_mask: Some(mask("custom_attributes")),
        ..UpdateAccountRequest::default()
    };
    tried.push(("UpdateAccount", operator.accounts.clone().update_account(request).await.map(drop)));
    let request = CreateUserRequest {
        name: "Ravi".to_owned(),
        email: format!("{}@example.org", uuid::Uuid::new_v4()),
        custom_attributes: wire(),
        ..CreateUserRequest::default()
    };
    tried.push(("CreateUser", operator.accounts.clone().create_user(request).await.map(drop)));
    tried
}

async fn every_attribute_map_is_limited(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    for (map, accepted) in [
        (nested(25), false),
        (json!({"list": (0..100).map(|_| "x".repeat(700)).collect::<Vec<_>>()}), false),
        (keys(251), false),
        (
            json!({"nested": nested(20), "list": [1, {"a": null}], "text": "x".repeat(1400)}),
            true,
        ),
    ] {
        for (entry, result) in everywhere(&app, &map).await {
            if accepted {
                result.unwrap_or_else(|status| panic!("{entry}: {status:?}"));
            } else {
                let fields = refused(entry, result);
                assert_eq!(fields.len(), 1, "{entry} names the field: {fields:?}");
                assert!(
                    ["attributes", "config", "meta", "attachments"]
                        .iter()
                        .any(|name| fields[0].contains(name)),
                    "{entry}: {fields:?}"
                );
            }
        }
    }
    // The accepted maps can be read where they are nested deepest: in events, in lists, and in responses of the client API.
    whole_log(&app.clients(), 1).await;
    let http = app.http();
    for path in ["/contacts", "/conversations?status=all", "/inboxes"] {
        assert_eq!(http.ask(path).await.0, 200, "{path}");
    }
    // The same over the JSON API.
    let (status, body) = http
        .try_post("/contacts", &json!({"name": "deep", "custom_attributes": nested(25)}))
        .await;
    assert_eq!(status, 422, "{body}");
    let (status, body) = http
        .try_post("/contacts", &json!({"name": "large", "custom_attributes": large(70_000)}))
        .await;
    assert_eq!(status, 422, "{body}");
}

async fn attributes_do_not_accumulate_beyond_the_limit(backend: Backend) {
    let app = TestApp::start(backend).await;
    let (visitors, session) = visitor(&app, "m").await;
    let piece = |key: &str, bytes: usize| json!({ key: "x".repeat(bytes) });
    for nth in 0..3 {
        visitor_sets(&visitors, &session, &piece(&format!("k{nth}"), 20_000))
            .await
            .expect("three fit");
    }
    let full = visitor_sets(&visitors, &session, &piece("k3", 20_000)).await;
    assert_eq!(refused("a fourth", full), ["custom_attributes"]);
    let many = Json::Object((0..248).map(|nth| (format!("n{nth}"), Json::from(1))).collect());
    let many = visitor_sets(&visitors, &session, &many).await;
    assert_eq!(refused("too many keys", many), ["custom_attributes"]);
    // The last accepted state stays, and a write that shrinks it is accepted.
    visitor_sets(&visitors, &session, &piece("k0", 10)).await.expect("it shrinks");
    visitor_sets(&visitors, &session, &piece("k3", 20_000))
        .await
        .expect("there is room now");
    let request = parley_proto::GetClientSessionRequest {
        session: Some(session.clone()),
        signature: None,
    };
    visitors.client.clone().get_client_session(request).await.expect("it is read");
    // A visitor's answers to a form accumulate in one message.
    let fixture = app.fixture();
    let request = CreateClientConversationRequest {
        session: Some(session.clone()),
        ..CreateClientConversationRequest::default()
    };
    let made = visitors
        .client
        .clone()
        .create_client_conversation(request)
        .await
        .expect("it is made");
    let talk = made.into_inner().conversation.expect("always set").id;
    let items = json!({"items": [{"title": "x".repeat(40_000), "value": "1"}]});
    let form = MessageDraft {
        content_type: ContentType::InputSelect.into(),
        content_attributes: Some(object(&items)),
        ..outgoing("choose")
    };
    let (message, _) = fixture.sent(talk, form).await;
    let submit = |bytes: usize| {
        let request = UpdateClientMessageRequest {
            session: Some(session.clone()),
            conversation_id: talk,
            message_id: message.id,
            submitted_values: Some(parley_proto::value::value_of(&json!([{ "value": "y".repeat(bytes) }]))),
            ..UpdateClientMessageRequest::default()
        };
        let mut client = visitors.client.clone();
        async move { client.update_client_message(request).await.map(drop) }
    };
    submit(20_000).await.expect("it fits");
    assert_eq!(refused("too much", submit(30_000).await), ["content_attributes"]);
    // A delivery can be reported as failed, whatever else the message holds.
    let request = UpdateMessageRequest {
        account_id: 1,
        conversation_id: talk,
        message_id: message.id,
        status: parley_proto::MessageStatus::Failed.into(),
        external_error: Some(WIDE.repeat(20_000)),
        ..UpdateMessageRequest::default()
    };
    let failed = app
        .clients()
        .messages
        .update_message(request)
        .await
        .expect("it is noted")
        .into_inner();
    let failed = failed.message.expect("always set");
    assert!(failed.truncated_fields.is_empty(), "{:?}", failed.truncated_fields);
    assert!(
        failed
            .content_attributes
            .expect("sent whole")
            .fields
            .contains_key("submitted_values")
    );
}

async fn without_the_limits_attributes_accumulate(backend: Backend) {
    let app = TestApp::builder(backend)
        .env("PARLEY_FAULT_SWITCH", "attribute_limits")
        .start()
        .await;
    let (visitors, session) = visitor(&app, "m").await;
    for nth in 0..4 {
        let piece = json!({ format!("k{nth}"): "x".repeat(20_000) });
        visitor_sets(&visitors, &session, &piece).await.expect("nothing bounds it");
    }
    visitor_sets(&visitors, &session, &nested(26))
        .await
        .expect("nothing bounds its depth");
    // The map exceeds what is sent, and every response says so.
    let request = parley_proto::GetClientSessionRequest {
        session: Some(session),
        signature: None,
    };
    let shown = visitors
        .client
        .clone()
        .get_client_session(request)
        .await
        .expect("it is read")
        .into_inner();
    let contact = shown.session.expect("always set").contact.expect("always set");
    assert_eq!(contact.truncated_fields, ["custom_attributes"]);
}

async fn merge_omits_attributes_beyond_the_limit(backend: Backend) {
    let app = TestApp::start(backend).await;
    let clients = app.clients();
    let base = contact(&clients, "base", &json!({"a": "x".repeat(60_000), "shared": {"x": 1}}))
        .await
        .expect("made");
    let mergee = contact(
        &clients,
        "mergee",
        &json!({"b": "y".repeat(60_000), "c": "fits", "shared": {"y": 2}}),
    )
    .await
    .expect("made");
    let request = MergeContactsRequest {
        account_id: 1,
        base_contact_id: base.id,
        mergee_contact_id: mergee.id,
        ..MergeContactsRequest::default()
    };
    let reply = clients.contacts.clone().merge_contacts(request).await.expect("merged").into_inner();
    let attributes = reply.contact.expect("always set").custom_attributes.expect("it has some");
    let attributes = Json::Object(parley_proto::value::object(&attributes).expect("JSON"));
    assert_eq!(
        attributes,
        json!({"a": "x".repeat(60_000), "c": "fits", "shared": {"x": 1, "y": 2}}),
        "the base wins, and what does not fit is left out"
    );
}

async fn events_with_the_largest_fields_are_received(backend: Backend) {
    let app = TestApp::start(backend).await;
    let (clients, fixture) = (app.clients(), app.fixture());
    let (visitors, session) = visitor(&app, "m").await;
    // Every field of a contact at its maximum, and each changed from one maximum to another.
    let map = |fill: &str| json!({ "a": fill.repeat(65_000 / fill.len()) });
    for fill in ["x", "y", WIDE] {
        visitor_sets(&visitors, &session, &map(fill)).await.expect("within the limits");
    }
    let request = CreateClientConversationRequest {
        session: Some(session.clone()),
        ..CreateClientConversationRequest::default()
    };
    let made = visitors
        .client
        .clone()
        .create_client_conversation(request)
        .await
        .expect("it is made");
    let talk = made.into_inner().conversation.expect("always set").id;
    let text = WIDE.repeat(150_000);
    fixture.sent(talk, incoming(&text)).await;
    let (message, _) = fixture.sent(talk, outgoing(&text)).await;
    let private = MessageDraft {
        private: true,
        ..outgoing(&text)
    };
    fixture.sent(talk, private).await;
    let request = DeleteMessageRequest {
        account_id: 1,
        conversation_id: talk,
        message_id: message.id,
        ..DeleteMessageRequest::default()
    };
    clients.messages.clone().delete_message(request).await.expect("it is deleted");
    let log = whole_log(&clients, 1).await;
    for delivery in &log {
        assert!(delivery.encoded_len() < RECEIVED);
    }
    let deleted = log.last().and_then(|delivery| delivery.event.as_ref()).expect("the deletion");
    let content = deleted.changes.iter().find(|change| change.field == "content").expect("it changed");
    assert_eq!(content.truncated_fields, ["before"], "a large value of a change is cut and marked");
    // A snapshot of the contact can be received as well.
    let mut stream = clients
        .events
        .clone()
        .subscribe(everything(1, Start::Snapshot(())))
        .await
        .expect("the stream opens")
        .into_inner();
    while let Some(response) = stream.message().await.expect("every frame is received") {
        if response.snapshot_complete.is_some() {
            break;
        }
    }
}
