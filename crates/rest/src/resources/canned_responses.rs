//! Canned responses.

use parley_proto as pb;

use super::records::{JsonRecord, RecordRoutes};
use crate::{
    api_router::ApiRouter,
    json::record::CannedResponse,
    lists::rows::Rows,
    openapi::schema::Parameters as _,
    params::{declaration::params, fields::ParamReader},
};

params! {
    pub struct CannedResponseParams { short_code: String, content: String }
}

impl JsonRecord for pb::CannedResponse {
    type Json = CannedResponse;
    type Rows = Rows<CannedResponse>;
    type Params = CannedResponseParams;

    fn from_params(params: CannedResponseParams) -> Self {
        Self {
            short_code: params.short_code.unwrap_or_default(),
            content: params.content.unwrap_or_default(),
            ..Self::default()
        }
    }

    fn list(fields: &mut ParamReader<'_>) -> pb::ListCannedResponsesRequest {
        pb::ListCannedResponsesRequest {
            query: fields.text("search").unwrap_or_default(),
            ..Default::default()
        }
    }

    fn frame(rows: Rows<CannedResponse>) -> Self::Rows {
        rows
    }
}

pub fn routes() -> ApiRouter {
    RecordRoutes::<pb::CannedResponse>::new("Canned responses", "/api/v1/accounts/{account_id}/canned_responses")
        .list("listCannedResponses", |route| route.query::<String>("search"))
        .create("createCannedResponse", |route| route.required(CannedResponseParams::NAMES))
        .update("updateCannedResponse", |route| route)
        .delete("deleteCannedResponse", |route| route)
        .into_router()
}
