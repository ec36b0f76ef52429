//! Notes of members about contacts.

use parley_proto as pb;
use prost_types::FieldMask;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    json::{self, record::ContactNote},
    lists::rows,
    openapi::{RouteDescription, describe},
    params::{Params, fields::ParamReader},
};

/// The attributes of a note.
const ATTRIBUTES: [&str; 1] = ["content"];

pub fn routes() -> ApiRouter {
    const LIST: &str = "/api/v1/accounts/{account_id}/contacts/{contact_id}/notes";
    const ONE: &str = "/api/v1/accounts/{account_id}/contacts/{contact_id}/notes/{note_id}";
    let settings = |description: RouteDescription| description.root("note").returns::<ContactNote>();
    ApiRouter::new("Contacts")
        .get(
            LIST,
            list,
            describe("listContactNotes", "ContactNotesService.ListContactNotes").returns::<Vec<ContactNote>>(),
        )
        .post(
            LIST,
            create,
            settings(describe("createContactNote", "ContactNotesService.CreateContactNote")).required_body::<String>("content"),
        )
        .get(
            ONE,
            show,
            describe("showContactNote", "ContactNotesService.GetContactNote").returns::<ContactNote>(),
        )
        .update(
            ONE,
            update,
            settings(describe("updateContactNote", "ContactNotesService.UpdateContactNote")).body::<String>("content"),
        )
        .delete(ONE, delete, describe("deleteContactNote", "ContactNotesService.DeleteContactNote"))
}

async fn list(call: Call, params: Params) -> ApiResult {
    let outer = params.fields();
    let (account_id, contact_id) = (outer.account(), outer.path_id("contact_id"));
    rows::all_pages(
        |rows| rows,
        move |page_token| {
            let request = pb::ListContactNotesRequest {
                account_id,
                contact_id,
                page_token,
                ..Default::default()
            };
            let page = call.send(request);
            async move {
                let page = page.await?;
                Ok((
                    page.contact_notes.into_iter().map(ContactNote::from).collect(),
                    page.next_page_token,
                ))
            }
        },
    )
    .await
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

/// Parses a note. Also returns the names of the attributes that were sent.
fn read(fields: &mut ParamReader<'_>) -> (pb::ContactNote, Vec<String>) {
    let note = pb::ContactNote {
        content: fields.text("content").unwrap_or_default(),
        ..Default::default()
    };
    (note, fields.sent(&ATTRIBUTES))
}
