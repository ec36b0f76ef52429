//! Notes of members about contacts.

use parley_proto as pb;
use prost_types::FieldMask;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    json,
    lists::rows,
    openapi::{
        RouteDescription, describe,
        schema::{list as list_of, text},
    },
    params::{Params, fields::ParamReader},
};

/// The attributes of a note.
const ATTRIBUTES: [&str; 1] = ["content"];

pub fn routes() -> ApiRouter {
    const LIST: &str = "/api/v1/accounts/{account_id}/contacts/{contact_id}/notes";
    const ONE: &str = "/api/v1/accounts/{account_id}/contacts/{contact_id}/notes/{note_id}";
    let shape = json::record::note_schema;
    let settings = |description: RouteDescription| description.root("note").returns(shape());
    ApiRouter::new("Contacts")
        .get(
            LIST,
            list,
            describe("listContactNotes", "ContactNotesService.ListContactNotes").returns(list_of(shape())),
        )
        .post(
            LIST,
            create,
            settings(describe("createContactNote", "ContactNotesService.CreateContactNote")).required_body("content", text()),
        )
        .get(
            ONE,
            show,
            describe("showContactNote", "ContactNotesService.GetContactNote").returns(shape()),
        )
        .update(
            ONE,
            update,
            settings(describe("updateContactNote", "ContactNotesService.UpdateContactNote")).body("content", text()),
        )
        .delete(ONE, delete, describe("deleteContactNote", "ContactNotesService.DeleteContactNote"))
}

async fn list(call: Call, params: Params) -> ApiResult {
    let outer = params.fields();
    let (account_id, contact_id) = (outer.account(), outer.path_id("contact_id"));
    let request = pb::ListContactNotesRequest {
        account_id,
        contact_id,
        ..Default::default()
    };
    rows::all_rows(call, request, |rows| rows, json::record::note).await
}

async fn create(call: Call, params: Params) -> ApiResult {
    let outer = params.fields();
    let (account_id, contact_id) = (outer.account(), outer.path_id("contact_id"));
    let mut fields = call.authorize_error(account_id, params.root("note", &ATTRIBUTES)).await?;
    let (row, _) = read(&mut fields);
    call.authorize_error(account_id, fields.finish()).await?;
    let request = pb::CreateContactNoteRequest {
        account_id,
        request_id: call.request_id(),
        contact_id,
        contact_note: Some(row),
    };
    let made = call.send(request).await?;
    Ok(json::ok(&json::record::note(&made.contact_note.unwrap_or_default())))
}

async fn show(call: Call, params: Params) -> ApiResult {
    let outer = params.fields();
    let (account_id, contact_id) = (outer.account(), outer.path_id("contact_id"));
    let request = pb::GetContactNoteRequest {
        account_id,
        contact_id,
        contact_note_id: outer.path_id("note_id"),
    };
    let found = call.send(request).await?;
    Ok(json::ok(&json::record::note(&found.contact_note.unwrap_or_default())))
}

async fn update(call: Call, params: Params) -> ApiResult {
    let outer = params.fields();
    let (account_id, contact_id) = (outer.account(), outer.path_id("contact_id"));
    let mut fields = call.authorize_error(account_id, params.root("note", &ATTRIBUTES)).await?;
    let (mut row, paths) = read(&mut fields);
    call.authorize_error(account_id, fields.finish()).await?;
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
    let changed = call.send(request).await?;
    Ok(json::ok(&json::record::note(&changed.contact_note.unwrap_or_default())))
}

async fn delete(call: Call, params: Params) -> ApiResult {
    let outer = params.fields();
    let (account_id, contact_id) = (outer.account(), outer.path_id("contact_id"));
    let request = pb::DeleteContactNoteRequest {
        account_id,
        request_id: call.request_id(),
        contact_id,
        contact_note_id: outer.path_id("note_id"),
    };
    call.send(request).await?;
    Ok(json::empty())
}

/// Parses a note. Also returns the names of the attributes that were sent.
fn read(fields: &mut ParamReader<'_>) -> (pb::ContactNote, Vec<String>) {
    let note = pb::ContactNote {
        content: fields.text("content").unwrap_or_default(),
        ..Default::default()
    };
    (note, fields.sent(&ATTRIBUTES))
}
