//! Implements `ContactsService`, which manages contacts.

use std::sync::Arc;

use bytes::Bytes;
use parley_domain::{
    Domain,
    attributes::AttributesPatch,
    contacts::{
        ContactPatch, Contacts, NewContact,
        answers::CreatedContact,
        sessions::Sessions,
        texts::{ContactTexts, TEXTS, Text},
    },
    joined::{ContactSessions, Inbox, Session},
};
use parley_eventlog::conversion::{CredentialsShown, FromStored as _, ToProto, inbox_of};
use parley_proto::{self as pb, contacts_service_server::ContactsService, optional_strings::OptionalStrings};
use parley_types::{
    error::Result,
    id::{AccountId, ContactId, InboxId},
};
use serde_json::{Map, Value as Json};
use tonic::{Request, Response, Status};

use super::{
    accounts::mask,
    contact_lists,
    request::{caller, idempotent_call},
    response::to_response,
};
use crate::{
    status::OrStatus as _,
    validation::{
        fields::{SHORT_TEXT, Validator, required},
        page,
    },
};

/// Maximum length of an avatar URL in characters.
const URL: usize = 2048;

/// Implements `ContactsService`.
#[derive(Clone, Debug)]
pub struct ContactsApi {
    contacts: Contacts,
    sessions: Sessions,
}

impl ContactsApi {
    pub fn new(domain: &Domain) -> Self {
        Self {
            contacts: domain.contacts.clone(),
            sessions: domain.sessions.clone(),
        }
    }
}

#[tonic::async_trait]
impl ContactsService for ContactsApi {
    async fn create_contact(&self, request: Request<pb::CreateContactRequest>) -> Result<Response<pb::CreateContactResponse>, Status> {
        let account = AccountId(request.get_ref().account_id);
        caller(&request).or_status()?.write_access(account).or_status()?;
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, account, created).or_status()?;
        let req = request.into_inner();
        fields.text("name", &req.name, SHORT_TEXT);
        fields.avatar("avatar_url", &req.avatar_url, URL);
        let source_id = fields.optional("source_id", req.source_id.clone(), SHORT_TEXT);
        let mut texts = ContactTexts::default();
        for text in TEXTS {
            texts.set(*text, validated(&mut fields, *text, &req));
        }
        let new = NewContact {
            name: req.name,
            texts,
            blocked: req.blocked,
            additional_attributes: fields.attributes("additional_attributes", req.additional_attributes.as_ref()),
            custom_attributes: fields.attributes("custom_attributes", req.custom_attributes.as_ref()),
            avatar_url: req.avatar_url,
            session: req.inbox_id.map(|inbox| (InboxId(inbox), source_id)),
        };
        fields.indexed_attributes("additional_attributes", &new.additional_attributes);
        fields.finish().or_status()?;
        to_response(self.contacts.create(call, new).await.or_status()?, created)
    }

    async fn get_contact(&self, request: Request<pb::GetContactRequest>) -> Result<Response<pb::GetContactResponse>, Status> {
        let req = request.get_ref();
        let contact = self
            .contacts
            .get(
                &*caller(&request).or_status()?,
                AccountId(req.account_id),
                ContactId(req.contact_id),
            )
            .await
            .or_status()?;
        Ok(Response::new(pb::GetContactResponse {
            contact: Some(contact.to_proto()),
        }))
    }

    async fn list_contacts(&self, request: Request<pb::ListContactsRequest>) -> Result<Response<pb::ListContactsResponse>, Status> {
        Ok(
            contact_lists::list(&self.contacts, &*caller(&request).or_status()?, request.into_inner())
                .await
                .or_status()?,
        )
    }

    async fn search_contacts(&self, request: Request<pb::SearchContactsRequest>) -> Result<Response<pb::SearchContactsResponse>, Status> {
        Ok(
            contact_lists::search(&self.contacts, &*caller(&request).or_status()?, request.into_inner())
                .await
                .or_status()?,
        )
    }

    async fn filter_contacts(&self, request: Request<pb::FilterContactsRequest>) -> Result<Response<pb::FilterContactsResponse>, Status> {
        Ok(
            contact_lists::filter(&self.contacts, &*caller(&request).or_status()?, request.into_inner())
                .await
                .or_status()?,
        )
    }

    async fn update_contact(&self, request: Request<pb::UpdateContactRequest>) -> Result<Response<pb::UpdateContactResponse>, Status> {
        let account = AccountId(request.get_ref().account_id);
        caller(&request).or_status()?.write_access(account).or_status()?;
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, account, updated).or_status()?;
        let req = request.into_inner();
        let contact = required("contact", req.contact).or_status()?;
        let id = ContactId(contact.id);
        let paths = mask(&mut fields, req.update_mask);
        let patch = fields.within("contact", |fields| patch(fields, &contact, paths));
        fields.finish().or_status()?;
        to_response(self.contacts.update(call, id, patch).await.or_status()?, updated)
    }

    async fn delete_contact(&self, request: Request<pb::DeleteContactRequest>) -> Result<Response<pb::DeleteContactResponse>, Status> {
        let req = request.get_ref();
        let respond = |(): &(), cursor: Bytes| pb::DeleteContactResponse { cursor };
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, AccountId(req.account_id), respond).or_status()?;
        fields.finish().or_status()?;
        to_response(self.contacts.delete(call, ContactId(req.contact_id)).await.or_status()?, respond)
    }

    async fn create_contact_session(
        &self,
        request: Request<pb::CreateContactSessionRequest>,
    ) -> Result<Response<pb::CreateContactSessionResponse>, Status> {
        let account = AccountId(request.get_ref().account_id);
        caller(&request).or_status()?.write_access(account).or_status()?;
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, account, session).or_status()?;
        let req = request.into_inner();
        let source_id = fields.optional("source_id", req.source_id, SHORT_TEXT);
        fields.finish().or_status()?;
        let (contact, inbox) = (ContactId(req.contact_id), InboxId(req.inbox_id));
        to_response(
            self.sessions
                .create(call, contact, inbox, source_id, req.hmac_verified)
                .await
                .or_status()?,
            session,
        )
    }

    async fn list_contact_sessions(
        &self,
        request: Request<pb::ListContactSessionsRequest>,
    ) -> Result<Response<pb::ListContactSessionsResponse>, Status> {
        let req = request.get_ref();
        let without_paging = pb::ListContactSessionsRequest {
            page_size: 0,
            page_token: String::new(),
            ..req.clone()
        };
        let mut fields = Validator::default();
        let page = page::read(&mut fields, &without_paging, (req.page_size, 100), &req.page_token, 0);
        fields.finish().or_status()?;
        let found = self
            .sessions
            .list(
                &*caller(&request).or_status()?,
                AccountId(req.account_id),
                ContactId(req.contact_id),
                &page,
            )
            .await
            .or_status()?;
        let (contact_inboxes, next_page_token) = page::fill(&without_paging, &found, pb::ContactInbox::from_stored);
        Ok(Response::new(pb::ListContactSessionsResponse {
            contact_inboxes,
            next_page_token,
        }))
    }

    async fn list_contactable_inboxes(
        &self,
        request: Request<pb::ListContactableInboxesRequest>,
    ) -> Result<Response<pb::ListContactableInboxesResponse>, Status> {
        let req = request.get_ref();
        let account = AccountId(req.account_id);
        let caller = caller(&request).or_status()?;
        caller.access(account).or_status()?;
        let without_paging = pb::ListContactableInboxesRequest {
            page_size: 0,
            page_token: String::new(),
            ..req.clone()
        };
        let mut fields = Validator::default();
        let page = page::read(&mut fields, &without_paging, (req.page_size, 100), &req.page_token, 0);
        fields.finish().or_status()?;
        let found = self
            .sessions
            .contactable_inboxes(&caller, account, ContactId(req.contact_id), &page)
            .await
            .or_status()?;
        let shown = |(inbox, source_id): &(Arc<Inbox>, String)| pb::ContactableInbox {
            inbox: Some(inbox.as_ref().to_proto()),
            source_id: source_id.clone(),
        };
        let (contactable_inboxes, next_page_token) = page::fill(&without_paging, &found, shown);
        Ok(Response::new(pb::ListContactableInboxesResponse {
            contactable_inboxes,
            next_page_token,
        }))
    }

    async fn get_contact_by_session(
        &self,
        request: Request<pb::GetContactBySessionRequest>,
    ) -> Result<Response<pb::GetContactBySessionResponse>, Status> {
        let req = request.get_ref();
        let account = AccountId(req.account_id);
        let caller = caller(&request).or_status()?;
        caller.access(account).or_status()?;
        let mut fields = Validator::default();
        fields.required("source_id", &req.source_id, SHORT_TEXT);
        fields.finish().or_status()?;
        let contact = self
            .sessions
            .contact_of(&caller, account, InboxId(req.inbox_id), &req.source_id)
            .await
            .or_status()?;
        Ok(Response::new(pb::GetContactBySessionResponse {
            contact: Some(contact.to_proto()),
        }))
    }

    async fn merge_contacts(&self, request: Request<pb::MergeContactsRequest>) -> Result<Response<pb::MergeContactsResponse>, Status> {
        let account = AccountId(request.get_ref().account_id);
        caller(&request).or_status()?.write_access(account).or_status()?;
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, account, merged).or_status()?;
        let req = request.into_inner();
        fields.finish().or_status()?;
        let (base, mergee) = (ContactId(req.base_contact_id), ContactId(req.mergee_contact_id));
        to_response(self.contacts.merge(call, base, mergee).await.or_status()?, merged)
    }
}

fn merged(contact: &ContactSessions, cursor: Bytes) -> pb::MergeContactsResponse {
    pb::MergeContactsResponse {
        contact: Some(contact.to_proto()),
        cursor,
    }
}

fn created(made: &CreatedContact, cursor: Bytes) -> pb::CreateContactResponse {
    pb::CreateContactResponse {
        contact: Some(made.contact.to_proto()),
        contact_inbox: made.session.as_ref().map(ToProto::to_proto),
        inbox: made
            .session
            .as_ref()
            .map(|session| inbox_of(&session.inbox, CredentialsShown::Nothing)),
        cursor,
    }
}

fn updated(contact: &ContactSessions, cursor: Bytes) -> pb::UpdateContactResponse {
    pb::UpdateContactResponse {
        contact: Some(contact.to_proto()),
        cursor,
    }
}

fn session(session: &Session, cursor: Bytes) -> pb::CreateContactSessionResponse {
    pb::CreateContactSessionResponse {
        contact_inbox: Some(session.to_proto()),
        cursor,
    }
}

/// Validates an optional text field of a message and returns its value. A blank text counts as absent.
fn validated(fields: &mut Validator, text: Text, message: &impl OptionalStrings) -> Option<String> {
    let value = message.optional_string(text.name).map(str::to_owned);
    match text.name {
        "email" => fields.email(text.name, value),
        "phone_number" => fields.phone_number(text.name, value),
        _ => fields.optional(text.name, value, SHORT_TEXT),
    }
}

fn patch(fields: &mut Validator, contact: &pb::Contact, paths: Vec<String>) -> ContactPatch {
    let mut patch = ContactPatch::default();
    let additional = fields.attribute_update("additional_attributes", contact.additional_attributes.as_ref());
    fields.indexed_attributes("additional_attributes", &additional);
    let custom = fields.attribute_update("custom_attributes", contact.custom_attributes.as_ref());
    for path in paths {
        match path.as_str() {
            "name" => {
                fields.text("name", &contact.name, SHORT_TEXT);
                patch.name = Some(contact.name.clone());
            }
            "blocked" => patch.blocked = Some(contact.blocked),
            "avatar_url" => {
                fields.avatar("avatar_url", &contact.avatar_url, URL);
                patch.avatar_url = Some(contact.avatar_url.clone());
            }
            "labels" => patch.labels = Some(fields.labels("labels", &contact.labels)),
            "additional_attributes" => patch.additional_attributes.replace = Some(additional.clone()),
            "custom_attributes" => patch.custom_attributes.replace = Some(custom.clone()),
            other => {
                if let Some(text) = TEXTS.iter().find(|text| text.name == other) {
                    patch.texts.set(*text, validated(fields, *text, contact));
                } else if let Some(key) = other.strip_prefix("additional_attributes.") {
                    one(&mut patch.additional_attributes, &additional, key);
                } else if let Some(key) = other.strip_prefix("custom_attributes.") {
                    one(&mut patch.custom_attributes, &custom, key);
                } else {
                    fields.unknown_path(other);
                }
            }
        }
    }
    patch
}

/// Adds a change of a single attribute to the patch. The attribute's key may contain dots.
fn one(patch: &mut AttributesPatch, given: &Map<String, Json>, key: &str) {
    patch.keys.push((key.to_owned(), given.get(key).cloned()));
}
