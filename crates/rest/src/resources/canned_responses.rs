//! Canned responses.

use parley_proto as pb;

use super::records::{JsonRecord, RecordRoutes};
use crate::{api_router::ApiRouter, json::record::CannedResponse, lists::rows::Rows, params::fields::ParamReader};

impl JsonRecord for pb::CannedResponse {
    type Json = CannedResponse;
    type Rows = Rows<CannedResponse>;
    const ATTRIBUTES: &'static [&'static str] = &["short_code", "content"];

    fn read(fields: &mut ParamReader<'_>) -> Self {
        Self {
            short_code: fields.text("short_code").unwrap_or_default(),
            content: fields.text("content").unwrap_or_default(),
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
        .create("createCannedResponse", |route| {
            route.required_body::<String>("short_code").required_body::<String>("content")
        })
        .update("updateCannedResponse", |route| {
            route.bodies::<String>(pb::CannedResponse::ATTRIBUTES)
        })
        .delete("deleteCannedResponse", |route| route)
        .into_router()
}
