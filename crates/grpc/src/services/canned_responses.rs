//! Declares the fields of canned responses. The generated implementation of `CannedResponsesService` uses this declaration.

use parley_domain::{record::canned_response::Entity, records::canned_responses::CannedResponsePatch};
use parley_proto as pb;

use super::records::RecordApi;
use crate::validation::fields::{SHORT_TEXT, Validator};

/// Maximum length of a canned response's content in characters.
const TEXT: usize = 20_000;

impl RecordApi for Entity {
    type Message = pb::CannedResponse;
    const FIELDS: &'static [&'static str] = &["short_code", "content"];

    fn set(patch: &mut CannedResponsePatch, field: &str, message: &pb::CannedResponse, fields: &mut Validator) {
        match field {
            "short_code" => patch.short_code = fields.given(field, &message.short_code, SHORT_TEXT),
            "content" => patch.content = fields.given(field, &message.content, TEXT),
            other => fields.unknown_path(other),
        }
    }

    fn query(request: &pb::ListCannedResponsesRequest, fields: &mut Validator) -> String {
        fields.text("query", &request.query, SHORT_TEXT);
        request.query.clone()
    }
}
