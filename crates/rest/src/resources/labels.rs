//! The labels of an account. Those of a contact or conversation are handled in the resource's own file.

use parley_proto as pb;
use prost_types::FieldMask;
use serde_json::json;

use crate::{
    Answer,
    call::Call,
    door::Door,
    json,
    lists::rows,
    openapi::{
        About, Caller, about,
        schema::{flag, list as list_of, text, within},
    },
    params::{Params, fields::Fields},
};

/// The attributes of a label.
const ATTRIBUTES: [&str; 4] = ["title", "description", "color", "show_on_sidebar"];

pub fn routes() -> Door {
    const LIST: &str = "/api/v1/accounts/{account_id}/labels";
    const ONE: &str = "/api/v1/accounts/{account_id}/labels/{label_id}";
    let shape = json::record::label_schema;
    let settings = |about: About| {
        about
            .caller(Caller::Administrator)
            .root("label")
            .body("description", text().or_null())
            .body("color", text())
            .body("show_on_sidebar", flag().or_null())
            .answers(shape())
    };
    Door::new("Labels")
        .get(
            LIST,
            list,
            about("listLabels", "LabelsService.ListLabels").answers(within("payload", list_of(shape()))),
        )
        .post(
            LIST,
            create,
            settings(about("createLabel", "LabelsService.CreateLabel")).needs("title", text()),
        )
        .get(
            ONE,
            show,
            about("showLabel", "LabelsService.GetLabel")
                .caller(Caller::Administrator)
                .answers(shape()),
        )
        .update(
            ONE,
            update,
            settings(about("updateLabel", "LabelsService.UpdateLabel")).body("title", text()),
        )
        .delete(
            ONE,
            delete,
            about("deleteLabel", "LabelsService.DeleteLabel").caller(Caller::Administrator),
        )
}

async fn list(call: Call, params: Params) -> Answer {
    let outer = params.fields();
    let account_id = outer.account();
    rows::whole(
        |rows| json!({ "payload": rows }),
        move |page_token| {
            let request = pb::ListLabelsRequest {
                account_id,
                page_token,
                ..Default::default()
            };
            let (mut client, request) = (call.labels(), call.request(request));
            async move {
                let page = client.list_labels(request).await?.into_inner();
                Ok((page.labels.iter().map(json::record::label).collect(), page.next_page_token))
            }
        },
    )
    .await
}

async fn create(call: Call, params: Params) -> Answer {
    let outer = params.fields();
    let account_id = outer.account();
    let mut fields = call.admit(account_id, params.root("label", &ATTRIBUTES)).await?;
    let (row, _) = read(&mut fields);
    call.admit(account_id, fields.verdict()).await?;
    let request = pb::CreateLabelRequest {
        account_id,
        request_id: call.request_id(),
        label: Some(row),
    };
    let made = call.labels().create_label(call.request(request)).await?.into_inner();
    Ok(json::ok(&json::record::label(&made.label.unwrap_or_default())))
}

async fn show(call: Call, params: Params) -> Answer {
    let outer = params.fields();
    let account_id = outer.account();
    let request = pb::GetLabelRequest {
        account_id,
        label_id: outer.path_id("label_id"),
    };
    let found = call.labels().get_label(call.request(request)).await?.into_inner();
    Ok(json::ok(&json::record::label(&found.label.unwrap_or_default())))
}

async fn update(call: Call, params: Params) -> Answer {
    let outer = params.fields();
    let account_id = outer.account();
    let mut fields = call.admit(account_id, params.root("label", &ATTRIBUTES)).await?;
    let (mut row, paths) = read(&mut fields);
    call.admit(account_id, fields.verdict()).await?;
    if paths.is_empty() {
        return show(call, params).await;
    }
    row.id = outer.path_id("label_id");
    let request = pb::UpdateLabelRequest {
        account_id,
        request_id: call.request_id(),
        label: Some(row),
        update_mask: Some(FieldMask { paths }),
    };
    let changed = call.labels().update_label(call.request(request)).await?.into_inner();
    Ok(json::ok(&json::record::label(&changed.label.unwrap_or_default())))
}

async fn delete(call: Call, params: Params) -> Answer {
    let outer = params.fields();
    let account_id = outer.account();
    let request = pb::DeleteLabelRequest {
        account_id,
        request_id: call.request_id(),
        label_id: outer.path_id("label_id"),
    };
    call.labels().delete_label(call.request(request)).await?;
    Ok(json::empty())
}

/// Parses a label. Also returns the names of the attributes that were sent.
fn read(fields: &mut Fields<'_>) -> (pb::Label, Vec<String>) {
    let label = pb::Label {
        title: fields.text("title").unwrap_or_default(),
        description: fields.text("description"),
        color: fields.text("color").unwrap_or_default(),
        show_on_sidebar: fields.flag("show_on_sidebar"),
        ..Default::default()
    };
    (label, fields.sent(&ATTRIBUTES))
}
