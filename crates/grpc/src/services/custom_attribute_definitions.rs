//! Declares the fields of custom attribute definitions. The generated implementation of `CustomAttributeDefinitionsService` uses this
//! declaration.

use parley_domain::{
    kind::{AttributeModel, AttributeType},
    record::custom_attribute_definition::Entity,
    records::custom_attribute_definitions::DefinitionPatch,
};
use parley_proto as pb;

use super::records::RecordApi;
use crate::validation::fields::{SHORT_TEXT, Validator};

/// Maximum length of a description in characters.
const TEXT: usize = 20_000;

impl RecordApi for Entity {
    type Message = pb::CustomAttributeDefinition;
    const FIXED_FIELDS: &'static [&'static str] = &["model"];
    const FIELDS: &'static [&'static str] = &["key", "display_name", "type", "description", "values", "regex_pattern", "regex_cue"];

    fn set(patch: &mut DefinitionPatch, field: &str, definition: &pb::CustomAttributeDefinition, fields: &mut Validator) {
        match field {
            "model" => {
                let model = fields.kind::<pb::CustomAttributeModel>(field, definition.model);
                patch.model = Some(
                    model
                        .and_then(pb::CustomAttributeModel::to_row)
                        .unwrap_or(AttributeModel::Conversation),
                );
            }
            "key" => patch.key = fields.given(field, &definition.key, SHORT_TEXT),
            "display_name" => patch.display_name = fields.given(field, &definition.display_name, SHORT_TEXT),
            "type" => {
                let kind = fields.kind::<pb::CustomAttributeType>(field, definition.r#type);
                patch.display_type = Some(kind.and_then(pb::CustomAttributeType::to_row).unwrap_or(AttributeType::Text));
            }
            "description" => patch.description = Some(fields.optional(field, definition.description.clone(), TEXT)),
            "values" => {
                fields.count(field, definition.values.len(), 1000);
                for value in definition.values.iter().take(1000) {
                    fields.text(field, value, SHORT_TEXT);
                }
                patch.choices = Some(definition.values.clone().into());
            }
            "regex_pattern" => patch.regex_pattern = Some(fields.optional(field, definition.regex_pattern.clone(), SHORT_TEXT)),
            "regex_cue" => patch.regex_cue = Some(fields.optional(field, definition.regex_cue.clone(), SHORT_TEXT)),
            other => fields.unknown_path(other),
        }
    }

    fn query(request: &pb::ListCustomAttributeDefinitionsRequest, fields: &mut Validator) -> Option<AttributeModel> {
        let model = fields.kind::<pb::CustomAttributeModel>("model", request.model);
        model.and_then(pb::CustomAttributeModel::to_row)
    }
}
