//! The sessions, labels and conversations of a contact.

use parley_proto as pb;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    errors::ApiError,
    json::{
        self,
        contact::{Contact, ContactWithSessions, ContactableInbox, LoneContactSession},
        conversation::Conversation,
        values::{Id, Payload},
    },
    lists::rows,
    openapi::{Caller, describe},
    params::Params,
    resources::contacts,
};

/// Maximum conversations of a contact in one response.
const CONVERSATIONS: i32 = 20;

pub fn routes() -> ApiRouter {
    const ACCOUNT: &str = "/api/v1/accounts/{account_id}";
    const CONTACT: &str = "/api/v1/accounts/{account_id}/contacts/{contact_id}";
    ApiRouter::new("Contacts")
        .post(
            &format!("{CONTACT}/contact_inboxes"),
            create_session,
            describe("createContactSession", "ContactsService.CreateContactSession")
                .required_body::<Id>("inbox_id")
                .body::<String>("source_id")
                .body::<bool>("hmac_verified")
                .returns::<LoneContactSession>(),
        )
        .get(
            &format!("{CONTACT}/labels"),
            labels,
            describe("listContactLabels", "ContactsService.GetContact").returns::<Payload<Vec<String>>>(),
        )
        .post(
            &format!("{CONTACT}/labels"),
            set_labels,
            describe("setContactLabels", "ContactsService.UpdateContact")
                .body::<Vec<String>>("labels")
                .returns::<Payload<Vec<String>>>(),
        )
        .get(
            &format!("{CONTACT}/conversations"),
            conversations,
            describe("listContactConversations", "ConversationsService.ListConversations").returns::<Payload<Vec<Conversation>>>(),
        )
        .get(
            &format!("{CONTACT}/contactable_inboxes"),
            contactable_inboxes,
            describe("listContactableInboxes", "ContactsService.ListContactableInboxes").returns::<Payload<Vec<ContactableInbox>>>(),
        )
        .post(
            &format!("{ACCOUNT}/contact_inboxes/filter"),
            find_by_session,
            describe("findContactBySession", "ContactsService.GetContactBySession")
                .required_body::<Id>("inbox_id")
                .required_body::<String>("source_id")
                .reads()
                .empty_not_found()
                .returns::<ContactWithSessions>(),
        )
        .post(
            &format!("{ACCOUNT}/actions/contact_merge"),
            merge,
            describe("mergeContacts", "ContactsService.MergeContacts")
                .caller(Caller::Administrator)
                .required_body::<Id>("base_contact_id")
                .required_body::<Id>("mergee_contact_id")
                .returns::<Contact>(),
        )
}

async fn create_session(call: Call, params: Params) -> ApiResult {
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
    call.authorize_error(request.account_id, fields.finish()).await?;
    let made = call.contacts().create_contact_session(call.request(request)).await?.into_inner();
    Ok(json::ok(&LoneContactSession::from(made.contact_inbox.unwrap_or_default())))
}

async fn contactable_inboxes(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let (account_id, contact_id) = (fields.account(), fields.path_id("contact_id"));
    rows::all_pages(
        |payload| Payload { payload },
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
                let rows = page.contactable_inboxes.into_iter().map(ContactableInbox::from);
                Ok((rows.collect(), page.next_page_token))
            }
        },
    )
    .await
}

/// Unlike other routes, responds with 404 and no body if there is no such session.
async fn find_by_session(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let request = pb::GetContactBySessionRequest {
        account_id: fields.account(),
        inbox_id: fields.path_id("inbox_id"),
        source_id: fields.text("source_id").unwrap_or_default(),
    };
    call.authorize_error(request.account_id, fields.finish()).await?;
    if request.source_id.trim().is_empty() {
        call.authorize(request.account_id).await?;
        return Err(ApiError::empty_not_found());
    }
    let found = call
        .contacts()
        .get_contact_by_session(call.request(request))
        .await
        .map_err(|status| {
            let failure = ApiError::from(status);
            if failure.is_not_found() {
                ApiError::empty_not_found()
            } else {
                failure
            }
        })?;
    Ok(json::ok(&ContactWithSessions::from(found.into_inner().contact.unwrap_or_default())))
}

async fn merge(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let request = pb::MergeContactsRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        // Missing ids get "not found", like unknown ones.
        base_contact_id: fields.path_id("base_contact_id"),
        mergee_contact_id: fields.path_id("mergee_contact_id"),
    };
    let merged = call.contacts().merge_contacts(call.request(request)).await?.into_inner();
    Ok(json::ok(&Contact::from(merged.contact.unwrap_or_default())))
}

async fn labels(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let contact = contacts::read(&call, fields.account(), fields.path_id("contact_id")).await?;
    Ok(json::ok(&Payload { payload: contact.labels }))
}

async fn set_labels(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let account_id = fields.account();
    let contact = pb::Contact {
        id: fields.path_id("contact_id"),
        labels: fields.texts("labels").unwrap_or_default(),
        ..Default::default()
    };
    call.authorize_error(account_id, fields.finish()).await?;
    let contact = contacts::change(&call, account_id, contact, vec!["labels".to_owned()]).await?;
    Ok(json::ok(&Payload { payload: contact.labels }))
}

async fn conversations(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let contact = contacts::read(&call, fields.account(), fields.path_id("contact_id")).await?;
    let request = pb::ListConversationsRequest {
        account_id: fields.account(),
        page_size: CONVERSATIONS,
        contact_id: Some(contact.id),
        ..Default::default()
    };
    let list = call.conversations().list_conversations(call.request(request)).await?.into_inner();
    let conversations: Vec<_> = list.conversations.into_iter().map(Conversation::from).collect();
    Ok(json::ok(&Payload { payload: conversations }))
}
