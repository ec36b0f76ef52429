//! The notes that members write about contacts.

use parley_proto as pb;
use prost_types::FieldMask;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    json::{self, record::ContactNote},
    lists::rows,
    openapi::{RouteDescription, describe},
    params::{Params, declaration::params},
};

params! {
    struct NoteParams { content: String }
}

pub fn routes() -> ApiRouter {
    const LIST: &str = "/api/v1/accounts/{account_id}/contacts/{contact_id}/notes";
    const ONE: &str = "/api/v1/accounts/{account_id}/contacts/{contact_id}/notes/{note_id}";
    let settings = |description: RouteDescription| description.root("note").params::<NoteParams>().returns::<ContactNote>();
    ApiRouter::new("Contacts")
        .get(
            LIST,
            list,
            describe("listContactNotes", "ContactNotesService.ListContactNotes").returns::<Vec<ContactNote>>(),
        )
        .post(
            LIST,
            create,
            settings(describe("createContactNote", "ContactNotesService.CreateContactNote")).required(&["content"]),
        )
        .get(
            ONE,
            show,
            describe("showContactNote", "ContactNotesService.GetContactNote").returns::<ContactNote>(),
        )
        .update(
            ONE,
            update,
            settings(describe("updateContactNote", "ContactNotesService.UpdateContactNote")),
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
    rows::all_rows(call, request, |rows| rows, ContactNote::from).await
}

async fn create(call: Call, params: Params) -> ApiResult {
    let outer = params.fields();
    let (account_id, contact_id) = (outer.account(), outer.path_id("contact_id"));
    let (sent, _) = call.parse_root(&params, "note").await?;
    let request = pb::CreateContactNoteRequest {
        account_id,
        request_id: call.request_id(),
        contact_id,
        contact_note: Some(note(0, sent)),
    };
    let made = call.send(request).await?;
    Ok(json::ok(&ContactNote::from(made.contact_note.unwrap_or_default())))
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
    Ok(json::ok(&ContactNote::from(found.contact_note.unwrap_or_default())))
}

async fn update(call: Call, params: Params) -> ApiResult {
    let outer = params.fields();
    let (account_id, contact_id) = (outer.account(), outer.path_id("contact_id"));
    let (sent, paths) = call.parse_root(&params, "note").await?;
    if paths.is_empty() {
        return show(call, params).await;
    }
    let request = pb::UpdateContactNoteRequest {
        account_id,
        request_id: call.request_id(),
        contact_id,
        contact_note: Some(note(outer.path_id("note_id"), sent)),
        update_mask: Some(FieldMask { paths }),
    };
    let changed = call.send(request).await?;
    Ok(json::ok(&ContactNote::from(changed.contact_note.unwrap_or_default())))
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

fn note(id: i64, params: NoteParams) -> pb::ContactNote {
    pb::ContactNote {
        id,
        content: params.content.unwrap_or_default(),
        ..Default::default()
    }
}
