//! The labels of an account. Those of a contact or conversation are handled in the resource's own file.

use parley_proto as pb;

use super::records::{JsonRecord, RecordRoutes};
use crate::{
    api_router::ApiRouter,
    json::{record::Label, values::Payload},
    lists::rows::Rows,
    openapi::Caller,
    params::declaration::params,
};

params! {
    pub struct LabelParams { title: String, description: Option<String>, color: String, show_on_sidebar: Option<bool> }
}

impl JsonRecord for pb::Label {
    type Json = Label;
    type Rows = Payload<Rows<Label>>;
    type Params = LabelParams;
    const ID: &'static str = "label_id";

    fn from_params(params: LabelParams) -> Self {
        Self {
            title: params.title.unwrap_or_default(),
            description: params.description,
            color: params.color.unwrap_or_default(),
            show_on_sidebar: params.show_on_sidebar,
            ..Self::default()
        }
    }

    fn frame(payload: Rows<Label>) -> Self::Rows {
        Payload { payload }
    }
}

pub fn routes() -> ApiRouter {
    RecordRoutes::<pb::Label>::new("Labels", "/api/v1/accounts/{account_id}/labels")
        .list("listLabels", |route| route)
        .create("createLabel", |route| route.caller(Caller::Administrator).required(&["title"]))
        .show("showLabel", |route| route.caller(Caller::Administrator))
        .update("updateLabel", |route| route.caller(Caller::Administrator).listed_last(&["title"]))
        .delete("deleteLabel", |route| route.caller(Caller::Administrator))
        .into_router()
}
