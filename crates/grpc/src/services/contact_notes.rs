//! `ContactNotesService`.

use bytes::Bytes;
use parley_domain::{Domain, contacts::notes::ContactNotes, joined::Note};
use parley_eventlog::conversion::{FromStored as _, ToProto as _};
use parley_proto::{self as pb, contact_notes_service_server::ContactNotesService};
use parley_types::{
    error::Result,
    id::{AccountId, ContactId, NoteId},
};
use tonic::{Request, Response, Status};

use super::{
    accounts::mask,
    request::{caller, idempotent_call},
    response::to_response,
};
use crate::{
    status::OrStatus as _,
    validation::{
        fields::{Validator, required},
        page,
    },
};

/// Maximum characters of a note.
const TEXT: usize = 20_000;

/// Implements `ContactNotesService`.
#[derive(Clone, Debug)]
pub struct ContactNotesApi {
    notes: ContactNotes,
}

impl ContactNotesApi {
    pub fn new(domain: &Domain) -> Self {
        Self {
            notes: domain.contact_notes.clone(),
        }
    }
}

#[tonic::async_trait]
impl ContactNotesService for ContactNotesApi {
    async fn create_contact_note(
        &self,
        request: Request<pb::CreateContactNoteRequest>,
    ) -> Result<Response<pb::CreateContactNoteResponse>, Status> {
        let account = AccountId(request.get_ref().account_id);
        caller(&request).or_status()?.write_access(account).or_status()?;
        let respond = |row: &Note, cursor: Bytes| pb::CreateContactNoteResponse {
            contact_note: Some(row.to_proto()),
            cursor,
        };
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, account, respond).or_status()?;
        let req = request.into_inner();
        let contact_note = required("contact_note", req.contact_note).or_status()?;
        fields.within("contact_note", |fields| fields.required("content", &contact_note.content, TEXT));
        fields.finish().or_status()?;
        let made = self.notes.create(call, ContactId(req.contact_id), contact_note.content);
        to_response(made.await.or_status()?, respond)
    }

    async fn get_contact_note(&self, request: Request<pb::GetContactNoteRequest>) -> Result<Response<pb::GetContactNoteResponse>, Status> {
        let req = request.get_ref();
        let (account, id) = (AccountId(req.account_id), NoteId(req.contact_note_id));
        let row = self
            .notes
            .get(&*caller(&request).or_status()?, account, ContactId(req.contact_id), id)
            .await
            .or_status()?;
        Ok(Response::new(pb::GetContactNoteResponse {
            contact_note: Some(row.to_proto()),
        }))
    }

    async fn list_contact_notes(
        &self,
        request: Request<pb::ListContactNotesRequest>,
    ) -> Result<Response<pb::ListContactNotesResponse>, Status> {
        let req = request.get_ref();
        let without_paging = pb::ListContactNotesRequest {
            page_size: 0,
            page_token: String::new(),
            ..req.clone()
        };
        let (caller, account) = (caller(&request).or_status()?, AccountId(req.account_id));
        caller.access(account).or_status()?;
        let mut fields = Validator::default();
        let page = page::read(&mut fields, &without_paging, (req.page_size, 1000), &req.page_token, 0);
        fields.finish().or_status()?;
        let found = self
            .notes
            .list(&caller, account, ContactId(req.contact_id), &page)
            .await
            .or_status()?;
        let (contact_notes, next_page_token) = page::fill(&without_paging, &found, pb::ContactNote::from_stored);
        Ok(Response::new(pb::ListContactNotesResponse {
            contact_notes,
            next_page_token,
        }))
    }

    async fn update_contact_note(
        &self,
        request: Request<pb::UpdateContactNoteRequest>,
    ) -> Result<Response<pb::UpdateContactNoteResponse>, Status> {
        let account = AccountId(request.get_ref().account_id);
        caller(&request).or_status()?.write_access(account).or_status()?;
        let respond = |row: &Note, cursor: Bytes| pb::UpdateContactNoteResponse {
            contact_note: Some(row.to_proto()),
            cursor,
        };
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, account, respond).or_status()?;
        let req = request.into_inner();
        let contact_note = required("contact_note", req.contact_note).or_status()?;
        let paths = mask(&mut fields, req.update_mask);
        let patch = fields.within("contact_note", |fields| patch(fields, &contact_note, &paths));
        fields.finish().or_status()?;
        to_response(
            self.notes
                .update(call, ContactId(req.contact_id), NoteId(contact_note.id), patch)
                .await
                .or_status()?,
            respond,
        )
    }

    async fn delete_contact_note(
        &self,
        request: Request<pb::DeleteContactNoteRequest>,
    ) -> Result<Response<pb::DeleteContactNoteResponse>, Status> {
        let req = request.get_ref();
        caller(&request).or_status()?.write_access(AccountId(req.account_id)).or_status()?;
        let respond = |(): &(), cursor: Bytes| pb::DeleteContactNoteResponse { cursor };
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, AccountId(req.account_id), respond).or_status()?;
        fields.finish().or_status()?;
        to_response(
            self.notes
                .delete(call, ContactId(req.contact_id), NoteId(req.contact_note_id))
                .await
                .or_status()?,
            respond,
        )
    }
}

fn patch(fields: &mut Validator, note: &pb::ContactNote, paths: &[String]) -> Option<String> {
    let mut content = None;
    for path in paths {
        if path == "content" {
            fields.required(path, &note.content, TEXT);
            content = Some(note.content.clone());
        } else {
            fields.unknown_path(path);
        }
    }
    content
}
