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
    openapi::{Caller, describe, schema::Parameters as _},
    params::{Params, declaration::params, fields::ParamReader},
    resources::{contacts, conversation_changes::Labels},
};

/// Maximum conversations of a contact in one response.
const CONVERSATIONS: i32 = 20;

// A missing id gets "not found", like an unknown one.
params! {
    struct SessionKey { inbox_id: Id as i64 = ParamReader::path_id, source_id: String }
    struct NewSession { inbox_id: Id as i64 = ParamReader::path_id, source_id: String, hmac_verified: bool }
    struct Merge { base_contact_id: Id as i64 = ParamReader::path_id, mergee_contact_id: Id as i64 = ParamReader::path_id }
}

pub fn routes() -> ApiRouter {
    const ACCOUNT: &str = "/api/v1/accounts/{account_id}";
    const CONTACT: &str = "/api/v1/accounts/{account_id}/contacts/{contact_id}";
    ApiRouter::new("Contacts")
        .post(
            &format!("{CONTACT}/contact_inboxes"),
            create_session,
            describe("createContactSession", "ContactsService.CreateContactSession")
                .params::<NewSession>()
                .required(&["inbox_id"])
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
                .params::<Labels>()
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
                .params::<SessionKey>()
                .required(SessionKey::NAMES)
                .reads()
                .empty_not_found()
                .returns::<ContactWithSessions>(),
        )
        .post(
            &format!("{ACCOUNT}/actions/contact_merge"),
            merge,
            describe("mergeContacts", "ContactsService.MergeContacts")
                .caller(Caller::Administrator)
                .params::<Merge>()
                .required(Merge::NAMES)
                .returns::<Contact>(),
        )
}

async fn create_session(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let sent: NewSession = call.parse(&params).await?;
    let request = pb::CreateContactSessionRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        contact_id: fields.path_id("contact_id"),
        inbox_id: sent.inbox_id,
        source_id: sent.source_id,
        hmac_verified: sent.hmac_verified.unwrap_or(false),
    };
    let made = call.contacts().create_contact_session(call.request(request)).await?.into_inner();
    Ok(json::ok(&LoneContactSession::from(made.contact_inbox.unwrap_or_default())))
}

async fn contactable_inboxes(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let (account_id, contact_id) = (fields.account(), fields.path_id("contact_id"));
    let request = pb::ListContactableInboxesRequest {
        account_id,
        contact_id,
        page_size: 1000,
        ..Default::default()
    };
    rows::all_rows(call, request, |payload| Payload { payload }, ContactableInbox::from).await
}

/// Unlike other routes, responds with 404 and no body if there is no such session.
async fn find_by_session(call: Call, params: Params) -> ApiResult {
    let sent: SessionKey = call.parse(&params).await?;
    let request = pb::GetContactBySessionRequest {
        account_id: params.fields().account(),
        inbox_id: sent.inbox_id,
        source_id: sent.source_id.unwrap_or_default(),
    };
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
    let mut fields = params.fields();
    let sent = fields.read::<Merge>();
    let request = pb::MergeContactsRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        base_contact_id: sent.base_contact_id,
        mergee_contact_id: sent.mergee_contact_id,
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
    let fields = params.fields();
    let account_id = fields.account();
    let sent: Labels = call.parse(&params).await?;
    let contact = pb::Contact {
        id: fields.path_id("contact_id"),
        labels: sent.labels.unwrap_or_default(),
        ..Default::default()
    };
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
