//! Records that an account maintains for its members: renaming a label, notes after a merge, root keys in the JSON API.

use parley_proto::{
    ContactNote, CreateContactNoteRequest, CreateContactRequest, CreateLabelRequest, EventKind, GetConversationRequest, Label,
    ListContactNotesRequest, MergeContactsRequest, UpdateConversationLabelsRequest, UpdateLabelRequest,
    contact_notes_service_client::ContactNotesServiceClient, event::Resource, labels_service_client::LabelsServiceClient,
};
use prost_types::FieldMask;
use serde_json::json;

use crate::support::{
    app::TestApp,
    database::Backend,
    on_both,
    reader::{event, whole_log},
};

on_both!(
    renaming_a_label_renames_it_everywhere,
    merge_moves_notes_to_the_base,
    root_key_is_optional_in_json_only
);

async fn renaming_a_label_renames_it_everywhere(backend: Backend) {
    let app = TestApp::start(backend).await;
    let (clients, fixture) = (app.clients(), app.fixture());
    let conversation = fixture.talk().await;
    let mut labels = LabelsServiceClient::new(clients.service.clone());
    let create = CreateLabelRequest {
        account_id: 1,
        label: Some(Label {
            title: "VIP".to_owned(),
            ..Label::default()
        }),
        ..CreateLabelRequest::default()
    };
    let label = labels
        .create_label(create)
        .await
        .expect("the call succeeds")
        .into_inner()
        .label
        .expect("always set");
    assert_eq!((label.title.as_str(), label.color.as_str()), ("vip", "#1f93ff"));
    let attach = UpdateConversationLabelsRequest {
        account_id: 1,
        conversation_id: conversation,
        labels: vec!["vip".to_owned(), "new".to_owned(), "gold".to_owned()],
        ..UpdateConversationLabelsRequest::default()
    };
    clients
        .conversations
        .clone()
        .update_conversation_labels(attach)
        .await
        .expect("the call succeeds");
    let rename = UpdateLabelRequest {
        account_id: 1,
        label: Some(Label {
            id: label.id,
            title: "Gold".to_owned(),
            ..Label::default()
        }),
        update_mask: Some(FieldMask {
            paths: vec!["title".to_owned()],
        }),
        ..UpdateLabelRequest::default()
    };
    labels.update_label(rename).await.expect("the call succeeds");
    // Whatever had both names keeps one, and a later message does not restore the old name.
    fixture.say(conversation, "hello").await;
    let read = GetConversationRequest {
        account_id: 1,
        conversation_id: conversation,
    };
    let found = clients
        .conversations
        .clone()
        .get_conversation(read)
        .await
        .expect("the call succeeds")
        .into_inner();
    let mut names = found.conversation.expect("always set").labels;
    names.sort();
    assert_eq!(names, ["gold", "new"]);
    let log: Vec<_> = whole_log(&clients, 1).await.iter().map(event).cloned().collect();
    let told = log
        .iter()
        .rfind(|event| event.kind() == EventKind::LabelUpdated)
        .expect("it is told");
    assert!(matches!(&told.resource, Some(Resource::Label(label)) if label.title == "gold"));
    let message = log
        .iter()
        .rfind(|event| event.kind() == EventKind::MessageCreated)
        .expect("one was sent");
    let Some(Resource::Message(resource)) = &message.resource else {
        panic!("a message")
    };
    let labels = &resource.conversation.as_ref().expect("its conversation").labels;
    assert!(!labels.contains(&"vip".to_owned()), "{labels:?}");
}

async fn merge_moves_notes_to_the_base(backend: Backend) {
    let app = TestApp::start(backend).await;
    let clients = app.clients();
    let mut notes = ContactNotesServiceClient::new(clients.service.clone());
    let mut ids = Vec::new();
    for name in ["Asha", "Asha Rao"] {
        let request = CreateContactRequest {
            account_id: 1,
            name: name.to_owned(),
            ..CreateContactRequest::default()
        };
        let made = clients
            .contacts
            .clone()
            .create_contact(request)
            .await
            .expect("the call succeeds")
            .into_inner();
        ids.push(made.contact.expect("always set").id);
    }
    for id in &ids {
        let request = CreateContactNoteRequest {
            account_id: 1,
            contact_id: *id,
            contact_note: Some(ContactNote {
                content: format!("about {id}"),
                ..ContactNote::default()
            }),
            ..CreateContactNoteRequest::default()
        };
        let made = notes
            .create_contact_note(request)
            .await
            .expect("the call succeeds")
            .into_inner()
            .contact_note
            .expect("always set");
        assert_eq!((made.contact_id, made.author.map(|author| author.id)), (*id, Some(1)));
    }
    let merge = MergeContactsRequest {
        account_id: 1,
        base_contact_id: ids[0],
        mergee_contact_id: ids[1],
        ..MergeContactsRequest::default()
    };
    clients.contacts.clone().merge_contacts(merge).await.expect("the call succeeds");
    let list = ListContactNotesRequest {
        account_id: 1,
        contact_id: ids[0],
        ..ListContactNotesRequest::default()
    };
    let kept = notes
        .list_contact_notes(list)
        .await
        .expect("the call succeeds")
        .into_inner()
        .contact_notes;
    let texts: Vec<_> = kept.iter().map(|note| note.content.clone()).collect();
    assert_eq!(texts, [format!("about {}", ids[1]), format!("about {}", ids[0])]);
}

async fn root_key_is_optional_in_json_only(backend: Backend) {
    let app = TestApp::start(backend).await;
    let http = app.http();
    let bare = http.send("POST", "/api/v1/accounts/1/labels", Some(&json!({"title": "one"}))).await;
    assert_eq!((bare.status, &bare.body["title"]), (200, &json!("one")));
    // If the root key is present, only its content counts.
    let both = json!({"title": "ignored", "label": {"title": "two"}});
    let rooted = http.send("POST", "/api/v1/accounts/1/labels", Some(&both)).await;
    assert_eq!(rooted.body["title"], "two");
    for (form, status) in [("title=three", 422), ("label[title]=three", 200)] {
        let request = http.request("POST", "/api/v1/accounts/1/labels").body(form);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        assert_eq!(http.answer(request).await.status, status, "{form}");
    }
}
