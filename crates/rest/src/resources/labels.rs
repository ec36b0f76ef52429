//! The labels of an account. Those of a contact or conversation are handled in the resource's own file.

use parley_proto as pb;

use super::records::{JsonRecord, RecordRoutes};
use crate::{
    api_router::ApiRouter,
    json::{record::Label, values::Payload},
    lists::rows::Rows,
    openapi::{Caller, RouteDescription},
    params::fields::ParamReader,
};

impl JsonRecord for pb::Label {
    type Json = Label;
    type Rows = Payload<Rows<Label>>;
    const ATTRIBUTES: &'static [&'static str] = &["title", "description", "color", "show_on_sidebar"];
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

    fn frame(payload: Rows<Label>) -> Self::Rows {
        Payload { payload }
    }
}

fn settings(route: RouteDescription) -> RouteDescription {
    route
        .caller(Caller::Administrator)
        .body::<Option<String>>("description")
        .body::<String>("color")
        .body::<Option<bool>>("show_on_sidebar")
}

pub fn routes() -> ApiRouter {
    RecordRoutes::<pb::Label>::new("Labels", "/api/v1/accounts/{account_id}/labels")
        .list("listLabels", |route| route)
        .create("createLabel", |route| settings(route).required_body::<String>("title"))
        .show("showLabel", |route| route.caller(Caller::Administrator))
        .update("updateLabel", |route| settings(route).body::<String>("title"))
        .delete("deleteLabel", |route| route.caller(Caller::Administrator))
        .into_router()
}
