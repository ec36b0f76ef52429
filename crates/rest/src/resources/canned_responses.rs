//! Canned responses.

use parley_proto as pb;
use serde_json::Value as Json;

use super::records::{JsonRecord, RecordRoutes};
use crate::{
    api_router::ApiRouter,
    json,
    openapi::schema::{Schema, text},
    params::fields::ParamReader,
};

impl JsonRecord for pb::CannedResponse {
    const ATTRIBUTES: &'static [&'static str] = &["short_code", "content"];
    const JSON: fn(&Self) -> Json = json::record::canned_response;
    const SCHEMA: fn() -> Schema = json::record::canned_response_schema;

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
}

pub fn routes() -> ApiRouter {
    RecordRoutes::<pb::CannedResponse>::new("Canned responses", "/api/v1/accounts/{account_id}/canned_responses")
        .list("listCannedResponses", |route| route.query("search", text()))
        .create("createCannedResponse", |route| {
            route.required_body("short_code", text()).required_body("content", text())
        })
        .update("updateCannedResponse", |route| {
            route.bodies(pb::CannedResponse::ATTRIBUTES, &text())
        })
        .delete("deleteCannedResponse", |route| route)
        .into_router()
}
