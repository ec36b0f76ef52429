//! The sessions, labels and conversations of a contact.

use parley_proto as pb;
use serde_json::json;

use crate::{
    Answer,
    call::Call,
    door::Door,
    errors::Failure,
    json,
    lists::rows,
    openapi::{
        Caller, about,
        schema::{flag, id, list, text, within},
    },
    params::Params,
    resources::contacts,
};

/// Maximum conversations of a contact in one response.
const CONVERSATIONS: i32 = 20;

pub fn routes() -> Door {
    const ACCOUNT: &str = "/api/v1/accounts/{account_id}";
    const CONTACT: &str = "/api/v1/accounts/{account_id}/contacts/{contact_id}";
    let names = || within("payload", list(text()));
    Door::new("Contacts")
        .post(
            &format!("{CONTACT}/contact_inboxes"),
            create_session,
            about("createContactSession", "ContactsService.CreateContactSession")
                .needs("inbox_id", id())
                .body("source_id", text())
                .body("hmac_verified", flag())
                .answers(json::contact::lone_session_schema()),
        )
        .get(
            &format!("{CONTACT}/labels"),
            labels,
            about("listContactLabels", "ContactsService.GetContact").answers(names()),
        )
        .post(
            &format!("{CONTACT}/labels"),
            set_labels,
            about("setContactLabels", "ContactsService.UpdateContact")
                .body("labels", list(text()))
                .answers(names()),
        )
        .get(
            &format!("{CONTACT}/conversations"),
            conversations,
            about("listContactConversations", "ConversationsService.ListConversations")
                .answers(within("payload", list(json::conversation::schema()))),
        )
        .get(
            &format!("{CONTACT}/contactable_inboxes"),
            contactable_inboxes,
            about("listContactableInboxes", "ContactsService.ListContactableInboxes")
                .answers(within("payload", list(json::contact::contactable_schema()))),
        )
        .post(
            &format!("{ACCOUNT}/contact_inboxes/filter"),
            find_by_session,
            about("findContactBySession", "ContactsService.GetContactBySession")
                .needs("inbox_id", id())
                .needs("source_id", text())
                .reads()
                .finds_nothing()
                .answers(json::contact::with_sessions_schema()),
        )
        .post(
            &format!("{ACCOUNT}/actions/contact_merge"),
            merge,
            about("mergeContacts", "ContactsService.MergeContacts")
                .caller(Caller::Administrator)
                .needs("base_contact_id", id())
                .needs("mergee_contact_id", id())
                .answers(json::contact::schema()),
        )
}

async fn create_session(call: Call, params: Params) -> Answer {
    let mut fields = params.fields();
    let request = pb::CreateContactSessionRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        contact_id: fields.path_id("contact_id"),
        // A missing inbox id gets "not found", like an unknown one.
        inbox_id: fields.path_id("inbox_id"),
        source_id: fields.text("source_id"),
        hmac_verified: fields.flag("hmac_verified").unwrap_or(false),
    };
    call.admit(request.account_id, fields.verdict()).await?;
    let made = call.contacts().create_contact_session(call.request(request)).await?.into_inner();
    Ok(json::ok(&json::contact::lone_session(&made.contact_inbox.unwrap_or_default())))
}

async fn contactable_inboxes(call: Call, params: Params) -> Answer {
    let fields = params.fields();
    let (account_id, contact_id) = (fields.account(), fields.path_id("contact_id"));
    rows::whole(
        |rows| json!({ "payload": rows }),
        move |page_token| {
            let request = pb::ListContactableInboxesRequest {
                account_id,
                contact_id,
                page_size: 1000,
                page_token,
            };
            let (mut client, request) = (call.contacts(), call.request(request));
            async move {
                let page = client.list_contactable_inboxes(request).await?.into_inner();
                let shown = page.contactable_inboxes.iter().map(json::contact::contactable);
                Ok((shown.collect(), page.next_page_token))
            }
        },
    )
    .await
}

/// Unlike other routes, responds with 404 and no body if there is no such session.
async fn find_by_session(call: Call, params: Params) -> Answer {
    let mut fields = params.fields();
    let request = pb::GetContactBySessionRequest {
        account_id: fields.account(),
        inbox_id: fields.path_id("inbox_id"),
        source_id: fields.text("source_id").unwrap_or_default(),
    };
    call.admit(request.account_id, fields.verdict()).await?;
    if request.source_id.trim().is_empty() {
        call.enter(request.account_id).await?;
        return Err(Failure::nothing());
    }
    let found = call
        .contacts()
        .get_contact_by_session(call.request(request))
        .await
        .map_err(|status| {
            let failure = Failure::from(status);
            if failure.is_not_found() { Failure::nothing() } else { failure }
        })?;
    Ok(json::ok(&json::contact::with_sessions(
        &found.into_inner().contact.unwrap_or_default(),
    )))
}

async fn merge(call: Call, params: Params) -> Answer {
    let fields = params.fields();
    let request = pb::MergeContactsRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        // Missing ids get "not found", like unknown ones.
        base_contact_id: fields.path_id("base_contact_id"),
        mergee_contact_id: fields.path_id("mergee_contact_id"),
    };
    let merged = call.contacts().merge_contacts(call.request(request)).await?.into_inner();
    Ok(json::ok(&json::contact::contact(&merged.contact.unwrap_or_default())))
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
