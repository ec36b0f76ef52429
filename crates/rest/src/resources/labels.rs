//! The labels of an account. Those of a contact or conversation are handled in the resource's own file.

use parley_proto as pb;
use serde_json::{Value as Json, json};

use super::records::{JsonRecord, RecordRoutes};
use crate::{
    api_router::ApiRouter,
    json,
    openapi::{
        Caller, RouteDescription,
        schema::{Schema, flag, list as list_of, text, within},
    },
    params::fields::ParamReader,
};

impl JsonRecord for pb::Label {
    const ATTRIBUTES: &'static [&'static str] = &["title", "description", "color", "show_on_sidebar"];
    const JSON: fn(&Self) -> Json = json::record::label;
    const SCHEMA: fn() -> Schema = json::record::label_schema;
    const ID: &'static str = "label_id";

    fn read(fields: &mut ParamReader<'_>) -> Self {
        Self {
            title: fields.text("title").unwrap_or_default(),
            description: fields.text("description"),
            color: fields.text("color").unwrap_or_default(),
            show_on_sidebar: fields.flag("show_on_sidebar"),
            ..Self::default()
        }
    }

    fn frame(rows: Json) -> Json {
        json!({ "payload": rows })
    }
}

fn settings(route: RouteDescription) -> RouteDescription {
    route
        .caller(Caller::Administrator)
        .body("description", text().or_null())
        .body("color", text())
        .body("show_on_sidebar", flag().or_null())
}

pub fn routes() -> ApiRouter {
    RecordRoutes::<pb::Label>::new("Labels", "/api/v1/accounts/{account_id}/labels")
        .list("listLabels", |route| route.returns(within("payload", list_of(pb::Label::SCHEMA()))))
        .create("createLabel", |route| settings(route).required_body("title", text()))
        .show("showLabel", |route| route.caller(Caller::Administrator))
        .update("updateLabel", |route| settings(route).body("title", text()))
        .delete("deleteLabel", |route| route.caller(Caller::Administrator))
        .into_router()
}
