//! Notes of members about contacts.

use parley_proto as pb;
use prost_types::FieldMask;

use crate::{
    Answer,
    call::Call,
    door::Door,
    json,
    lists::rows,
    openapi::{
        About, about,
        schema::{list as list_of, text},
    },
    params::{Params, fields::Fields},
};

/// The attributes of a note.
const ATTRIBUTES: [&str; 1] = ["content"];

pub fn routes() -> Door {
    const LIST: &str = "/api/v1/accounts/{account_id}/contacts/{contact_id}/notes";
    const ONE: &str = "/api/v1/accounts/{account_id}/contacts/{contact_id}/notes/{note_id}";
    let shape = json::record::note_schema;
    let settings = |about: About| about.root("note").answers(shape());
    Door::new("Contacts")
        .get(
            LIST,
            list,
            about("listContactNotes", "ContactNotesService.ListContactNotes").answers(list_of(shape())),
        )
        .post(
            LIST,
            create,
            settings(about("createContactNote", "ContactNotesService.CreateContactNote")).needs("content", text()),
        )
        .get(
            ONE,
            show,
            about("showContactNote", "ContactNotesService.GetContactNote").answers(shape()),
        )
        .update(
            ONE,
            update,
            settings(about("updateContactNote", "ContactNotesService.UpdateContactNote")).body("content", text()),
        )
        .delete(ONE, delete, about("deleteContactNote", "ContactNotesService.DeleteContactNote"))
}

async fn list(call: Call, params: Params) -> Answer {
    let outer = params.fields();
    let (account_id, contact_id) = (outer.account(), outer.path_id("contact_id"));
    rows::whole(
        |rows| rows,
        move |page_token| {
            let request = pb::ListContactNotesRequest {
                account_id,
                contact_id,
                page_token,
                ..Default::default()
            };
            let (mut client, request) = (call.contact_notes(), call.request(request));
            async move {
                let page = client.list_contact_notes(request).await?.into_inner();
                Ok((page.contact_notes.iter().map(json::record::note).collect(), page.next_page_token))
            }
        },
    )
    .await
}

async fn create(call: Call, params: Params) -> Answer {
    let outer = params.fields();
    let (account_id, contact_id) = (outer.account(), outer.path_id("contact_id"));
    let mut fields = call.admit(account_id, params.root("note", &ATTRIBUTES)).await?;
    let (row, _) = read(&mut fields);
    call.admit(account_id, fields.verdict()).await?;
    let request = pb::CreateContactNoteRequest {
        account_id,
        request_id: call.request_id(),
        contact_id,
        contact_note: Some(row),
    };
    let made = call.contact_notes().create_contact_note(call.request(request)).await?.into_inner();
    Ok(json::ok(&json::record::note(&made.contact_note.unwrap_or_default())))
}

async fn show(call: Call, params: Params) -> Answer {
    let outer = params.fields();
    let (account_id, contact_id) = (outer.account(), outer.path_id("contact_id"));
    let request = pb::GetContactNoteRequest {
        account_id,
        contact_id,
        contact_note_id: outer.path_id("note_id"),
    };
    let found = call.contact_notes().get_contact_note(call.request(request)).await?.into_inner();
    Ok(json::ok(&json::record::note(&found.contact_note.unwrap_or_default())))
}

async fn update(call: Call, params: Params) -> Answer {
    let outer = params.fields();
    let (account_id, contact_id) = (outer.account(), outer.path_id("contact_id"));
    let mut fields = call.admit(account_id, params.root("note", &ATTRIBUTES)).await?;
    let (mut row, paths) = read(&mut fields);
    call.admit(account_id, fields.verdict()).await?;
    if paths.is_empty() {
        return show(call, params).await;
    }
    row.id = outer.path_id("note_id");
    let request = pb::UpdateContactNoteRequest {
        account_id,
        request_id: call.request_id(),
        contact_id,
        contact_note: Some(row),
        update_mask: Some(FieldMask { paths }),
    };
    let changed = call.contact_notes().update_contact_note(call.request(request)).await?.into_inner();
    Ok(json::ok(&json::record::note(&changed.contact_note.unwrap_or_default())))
}

async fn delete(call: Call, params: Params) -> Answer {
    let outer = params.fields();
    let (account_id, contact_id) = (outer.account(), outer.path_id("contact_id"));
    let request = pb::DeleteContactNoteRequest {
        account_id,
        request_id: call.request_id(),
        contact_id,
        contact_note_id: outer.path_id("note_id"),
    };
    call.contact_notes().delete_contact_note(call.request(request)).await?;
    Ok(json::empty())
}

/// Parses a note. Also returns the names of the attributes that were sent.
fn read(fields: &mut Fields<'_>) -> (pb::ContactNote, Vec<String>) {
    let note = pb::ContactNote {
        content: fields.text("content").unwrap_or_default(),
        ..Default::default()
    };
    (note, fields.sent(&ATTRIBUTES))
}
