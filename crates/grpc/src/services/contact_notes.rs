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
    request::{caller, change},
    response::answered,
};
use crate::{
    status::OrStatus as _,
    validation::{
        fields::{Fields, required},
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
        let mut fields = Fields::default();
        let call = change(&mut fields, &request, account, respond).or_status()?;
        let asked = request.into_inner();
        let contact_note = required("contact_note", asked.contact_note).or_status()?;
        fields.within("contact_note", |fields| fields.required("content", &contact_note.content, TEXT));
        fields.done().or_status()?;
        let made = self.notes.create(call, ContactId(asked.contact_id), contact_note.content);
        answered(made.await.or_status()?, respond)
    }

    async fn get_contact_note(&self, request: Request<pb::GetContactNoteRequest>) -> Result<Response<pb::GetContactNoteResponse>, Status> {
        let asked = request.get_ref();
        let (account, id) = (AccountId(asked.account_id), NoteId(asked.contact_note_id));
        let row = self
            .notes
            .get(&*caller(&request).or_status()?, account, ContactId(asked.contact_id), id)
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
        let asked = request.get_ref();
        let same = pb::ListContactNotesRequest {
            page_size: 0,
            page_token: String::new(),
            ..asked.clone()
        };
        let (caller, account) = (caller(&request).or_status()?, AccountId(asked.account_id));
        caller.access(account).or_status()?;
        let mut fields = Fields::default();
        let page = page::read(&mut fields, &same, (asked.page_size, 1000), &asked.page_token, 0);
        fields.done().or_status()?;
        let found = self
            .notes
            .list(&caller, account, ContactId(asked.contact_id), &page)
            .await
            .or_status()?;
        let (contact_notes, next_page_token) = page::fill(&same, &found, pb::ContactNote::from_stored);
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
        let mut fields = Fields::default();
        let call = change(&mut fields, &request, account, respond).or_status()?;
        let asked = request.into_inner();
        let contact_note = required("contact_note", asked.contact_note).or_status()?;
        let paths = mask(&mut fields, asked.update_mask);
        let patch = fields.within("contact_note", |fields| patch(fields, &contact_note, &paths));
        fields.done().or_status()?;
        answered(
            self.notes
                .update(call, ContactId(asked.contact_id), NoteId(contact_note.id), patch)
                .await
                .or_status()?,
            respond,
        )
    }

    async fn delete_contact_note(
        &self,
        request: Request<pb::DeleteContactNoteRequest>,
    ) -> Result<Response<pb::DeleteContactNoteResponse>, Status> {
        let asked = request.get_ref();
        caller(&request)
            .or_status()?
            .write_access(AccountId(asked.account_id))
            .or_status()?;
        let respond = |(): &(), cursor: Bytes| pb::DeleteContactNoteResponse { cursor };
        let mut fields = Fields::default();
        let call = change(&mut fields, &request, AccountId(asked.account_id), respond).or_status()?;
        fields.done().or_status()?;
        answered(
            self.notes
                .delete(call, ContactId(asked.contact_id), NoteId(asked.contact_note_id))
                .await
                .or_status()?,
            respond,
        )
    }
}

fn patch(fields: &mut Fields, note: &pb::ContactNote, paths: &[String]) -> Option<String> {
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
