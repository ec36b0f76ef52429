//! Implements `ContactNotesService`, which manages the notes about contacts.

use parley_domain::{Domain, contacts::notes::ContactNotes};
use parley_eventlog::conversion::FromStored as _;
use parley_proto::{self as pb, contact_notes_service_server::ContactNotesService};
use parley_types::{
    error::Result,
    id::{AccountId, ContactId, NoteId},
};
use tonic::{Request, Response, Status};

use super::{
    accounts::mask,
    request::{caller, resource_call},
    response::{found, resource_response},
};
use crate::{
    status::OrStatus as _,
    validation::{
        fields::{Validator, required},
        page,
    },
};

/// Maximum length of a note in characters.
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
        let mut fields = Validator::default();
        let call = resource_call(&mut fields, &request).or_status()?;
        let req = request.into_inner();
        let contact_note = required("contact_note", req.contact_note).or_status()?;
        fields.within("contact_note", |fields| fields.required("content", &contact_note.content, TEXT));
        fields.finish().or_status()?;
        let made = self.notes.create(call, ContactId(req.contact_id), contact_note.content);
        resource_response(made.await.or_status()?).or_status()
    }

    async fn get_contact_note(&self, request: Request<pb::GetContactNoteRequest>) -> Result<Response<pb::GetContactNoteResponse>, Status> {
        let req = request.get_ref();
        let (account, id) = (AccountId(req.account_id), NoteId(req.contact_note_id));
        let row = self
            .notes
            .get(&*caller(&request).or_status()?, account, ContactId(req.contact_id), id)
            .await
            .or_status()?;
        Ok(found(&row))
    }

    async fn list_contact_notes(
        &self,
        request: Request<pb::ListContactNotesRequest>,
    ) -> Result<Response<pb::ListContactNotesResponse>, Status> {
        let req = request.get_ref();
        let (caller, account) = (caller(&request).or_status()?, AccountId(req.account_id));
        caller.access(account).or_status()?;
        let mut fields = Validator::default();
        let page = page::requested(&mut fields, req, 1000);
        fields.finish().or_status()?;
        let found = self
            .notes
            .list(&caller, account, ContactId(req.contact_id), &page)
            .await
            .or_status()?;
        Ok(page::response(req, &found, pb::ContactNote::from_stored))
    }

    async fn update_contact_note(
        &self,
        request: Request<pb::UpdateContactNoteRequest>,
    ) -> Result<Response<pb::UpdateContactNoteResponse>, Status> {
        let account = AccountId(request.get_ref().account_id);
        caller(&request).or_status()?.write_access(account).or_status()?;
        let mut fields = Validator::default();
        let call = resource_call(&mut fields, &request).or_status()?;
        let req = request.into_inner();
        let contact_note = required("contact_note", req.contact_note).or_status()?;
        let paths = mask(&mut fields, req.update_mask);
        let patch = fields.within("contact_note", |fields| patch(fields, &contact_note, &paths));
        fields.finish().or_status()?;
        resource_response(
            self.notes
                .update(call, ContactId(req.contact_id), NoteId(contact_note.id), patch)
                .await
                .or_status()?,
        )
        .or_status()
    }

    async fn delete_contact_note(
        &self,
        request: Request<pb::DeleteContactNoteRequest>,
    ) -> Result<Response<pb::DeleteContactNoteResponse>, Status> {
        let req = request.get_ref();
        caller(&request).or_status()?.write_access(AccountId(req.account_id)).or_status()?;
        let mut fields = Validator::default();
        let call = resource_call(&mut fields, &request).or_status()?;
        fields.finish().or_status()?;
        resource_response(
            self.notes
                .delete(call, ContactId(req.contact_id), NoteId(req.contact_note_id))
                .await
                .or_status()?,
        )
        .or_status()
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
