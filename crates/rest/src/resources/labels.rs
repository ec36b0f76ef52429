//! The labels of an account. Those of a contact or conversation are handled in the resource's own file.

use parley_proto as pb;
use prost_types::FieldMask;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    json::{self, record::Label, values::Payload},
    lists::rows,
    openapi::{Caller, RouteDescription, describe},
    params::{Params, fields::ParamReader},
};

/// The attributes of a label.
const ATTRIBUTES: [&str; 4] = ["title", "description", "color", "show_on_sidebar"];

pub fn routes() -> ApiRouter {
    const LIST: &str = "/api/v1/accounts/{account_id}/labels";
    const ONE: &str = "/api/v1/accounts/{account_id}/labels/{label_id}";
    let settings = |description: RouteDescription| {
        description
            .caller(Caller::Administrator)
            .root("label")
            .body::<Option<String>>("description")
            .body::<String>("color")
            .body::<Option<bool>>("show_on_sidebar")
            .returns::<Label>()
    };
    ApiRouter::new("Labels")
        .get(
            LIST,
            list,
            describe("listLabels", "LabelsService.ListLabels").returns::<Payload<Vec<Label>>>(),
        )
        .post(
            LIST,
            create,
            settings(describe("createLabel", "LabelsService.CreateLabel")).required_body::<String>("title"),
        )
        .get(
            ONE,
            show,
            describe("showLabel", "LabelsService.GetLabel")
                .caller(Caller::Administrator)
                .returns::<Label>(),
        )
        .update(
            ONE,
            update,
            settings(describe("updateLabel", "LabelsService.UpdateLabel")).body::<String>("title"),
        )
        .delete(
            ONE,
            delete,
            describe("deleteLabel", "LabelsService.DeleteLabel").caller(Caller::Administrator),
        )
}

async fn list(call: Call, params: Params) -> ApiResult {
    let outer = params.fields();
    let account_id = outer.account();
    rows::all_pages(
        |payload| Payload { payload },
        move |page_token| {
            let request = pb::ListLabelsRequest {
                account_id,
                page_token,
                ..Default::default()
            };
            let (mut client, request) = (call.labels(), call.request(request));
            async move {
                let page = client.list_labels(request).await?.into_inner();
                Ok((page.labels.into_iter().map(Label::from).collect(), page.next_page_token))
            }
        },
    )
    .await
}

async fn create(call: Call, params: Params) -> ApiResult {
    let outer = params.fields();
    let account_id = outer.account();
    let mut fields = call.authorize_error(account_id, params.root("label", &ATTRIBUTES)).await?;
    let (row, _) = read(&mut fields);
    call.authorize_error(account_id, fields.finish()).await?;
    let request = pb::CreateLabelRequest {
        account_id,
        request_id: call.request_id(),
        label: Some(row),
    };
    let made = call.labels().create_label(call.request(request)).await?.into_inner();
    Ok(json::ok(&Label::from(made.label.unwrap_or_default())))
}

async fn show(call: Call, params: Params) -> ApiResult {
    let outer = params.fields();
    let account_id = outer.account();
    let request = pb::GetLabelRequest {
        account_id,
        label_id: outer.path_id("label_id"),
    };
    let found = call.labels().get_label(call.request(request)).await?.into_inner();
    Ok(json::ok(&Label::from(found.label.unwrap_or_default())))
}

async fn update(call: Call, params: Params) -> ApiResult {
    let outer = params.fields();
    let account_id = outer.account();
    let mut fields = call.authorize_error(account_id, params.root("label", &ATTRIBUTES)).await?;
    let (mut row, paths) = read(&mut fields);
    call.authorize_error(account_id, fields.finish()).await?;
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
    Ok(json::ok(&Label::from(changed.label.unwrap_or_default())))
}

async fn delete(call: Call, params: Params) -> ApiResult {
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
fn read(fields: &mut ParamReader<'_>) -> (pb::Label, Vec<String>) {
    let label = pb::Label {
        title: fields.text("title").unwrap_or_default(),
        description: fields.text("description"),
        color: fields.text("color").unwrap_or_default(),
        show_on_sidebar: fields.flag("show_on_sidebar"),
        ..Default::default()
    };
    (label, fields.sent(&ATTRIBUTES))
}
