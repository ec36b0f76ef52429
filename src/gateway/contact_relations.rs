//! What hangs on a contact: its sessions, labels and conversations.

use serde_json::json;

use super::{
    Answer,
    call::Call,
    contacts,
    door::Door,
    json,
    openapi::{
        about,
        schema::{flag, id, list, text, within},
    },
    params::Params,
};
use crate::pb;

/// How many conversations of a contact are shown.
const CONVERSATIONS: i32 = 20;

/// The routes of this file.
pub fn routes() -> Door {
    const CONTACT: &str = "/api/v1/accounts/{account_id}/contacts/{contact_id}";
    let names = || within("payload", list(text()));
    Door::new("Contacts")
        .post(
            &format!("{CONTACT}/contact_inboxes"),
            create_session,
            about(
                "createContactSession",
                "Gives a contact a session in an inbox",
                "ContactsService.CreateContactSession",
            )
            .needs("inbox_id", id())
            .body("source_id", text())
            .body("hmac_verified", flag())
            .answers(json::contact::lone_session_schema()),
        )
        .get(
            &format!("{CONTACT}/labels"),
            labels,
            about("listContactLabels", "Lists the labels of a contact", "ContactsService.GetContact").answers(names()),
        )
        .post(
            &format!("{CONTACT}/labels"),
            set_labels,
            about("setContactLabels", "Sets the labels of a contact", "ContactsService.UpdateContact")
                .body("labels", list(text()))
                .answers(names()),
        )
        .get(
            &format!("{CONTACT}/conversations"),
            conversations,
            about(
                "listContactConversations",
                "Lists the 20 newest conversations of a contact",
                "ConversationsService.ListConversations",
            )
            .answers(within("payload", list(json::conversation::schema()))),
        )
}

async fn create_session(call: Call, params: Params) -> Answer {
    let mut fields = params.fields();
    let request = pb::CreateContactSessionRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        contact_id: fields.path_id("contact_id"),
        // An inbox that is not named is one that is not found.
        inbox_id: fields.path_id("inbox_id"),
        source_id: fields.text("source_id"),
        hmac_verified: fields.flag("hmac_verified").unwrap_or(false),
    };
    call.admit(request.account_id, fields.verdict()).await?;
    let made = call.contacts().create_contact_session(call.request(request)).await?.into_inner();
    Ok(json::ok(&json::contact::lone_session(&made.contact_inbox.unwrap_or_default())))
}

async fn labels(call: Call, params: Params) -> Answer {
    let fields = params.fields();
    let contact = contacts::read(&call, fields.account(), fields.path_id("contact_id")).await?;
    Ok(json::ok(&json!({ "payload": contact.labels })))
}

async fn set_labels(call: Call, params: Params) -> Answer {
    let mut fields = params.fields();
    let account_id = fields.account();
    let contact = pb::Contact {
        id: fields.path_id("contact_id"),
        labels: fields.texts("labels").unwrap_or_default(),
        ..Default::default()
    };
    call.admit(account_id, fields.verdict()).await?;
    let contact = contacts::change(&call, account_id, contact, vec!["labels".to_owned()]).await?;
    Ok(json::ok(&json!({ "payload": contact.labels })))
}

async fn conversations(call: Call, params: Params) -> Answer {
    let fields = params.fields();
    let contact = contacts::read(&call, fields.account(), fields.path_id("contact_id")).await?;
    let request = pb::ListConversationsRequest {
        account_id: fields.account(),
        page_size: CONVERSATIONS,
        contact_id: Some(contact.id),
        ..Default::default()
    };
    let list = call.conversations().list_conversations(call.request(request)).await?.into_inner();
    let conversations: Vec<_> = list.conversations.iter().map(json::conversation::conversation).collect();
    Ok(json::ok(&json!({ "payload": conversations })))
}
