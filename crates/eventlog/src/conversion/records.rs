//! Conversion of an account's labels, custom attribute definitions, canned responses and contact notes.

use parley_proto::{self as pb, value::timestamp};
use parley_storage::{
    entity::{canned_response, custom_attribute_definition, label},
    joined,
};
use serde_json::Value as Json;

use super::{FromStored, ToProto as _};

impl FromStored<&label::Model> for pb::Label {
    fn from_stored(row: &label::Model) -> Self {
        Self {
            id: row.id.0,
            account_id: row.account_id.0,
            title: row.title.clone(),
            description: row.description.clone(),
            color: row.color.clone(),
            show_on_sidebar: row.show_on_sidebar,
            created_at: Some(timestamp(row.created_at)),
            updated_at: Some(timestamp(row.updated_at)),
        }
    }
}

impl FromStored<&custom_attribute_definition::Model> for pb::CustomAttributeDefinition {
    fn from_stored(row: &custom_attribute_definition::Model) -> Self {
        let choices = row.choices.as_array().map(Vec::as_slice).unwrap_or_default();
        Self {
            id: row.id.0,
            account_id: row.account_id.0,
            model: pb::CustomAttributeModel::from(row.model).into(),
            key: row.key.clone(),
            display_name: row.display_name.clone(),
            r#type: pb::CustomAttributeType::from(row.display_type).into(),
            description: row.description.clone(),
            values: choices.iter().filter_map(Json::as_str).map(str::to_owned).collect(),
            regex_pattern: row.regex_pattern.clone(),
            regex_cue: row.regex_cue.clone(),
            created_at: Some(timestamp(row.created_at)),
            updated_at: Some(timestamp(row.updated_at)),
        }
    }
}

impl FromStored<&canned_response::Model> for pb::CannedResponse {
    fn from_stored(row: &canned_response::Model) -> Self {
        Self {
            id: row.id.0,
            account_id: row.account_id.0,
            short_code: row.short_code.clone(),
            content: row.content.clone(),
            created_at: Some(timestamp(row.created_at)),
            updated_at: Some(timestamp(row.updated_at)),
        }
    }
}

impl FromStored<&joined::Note> for pb::ContactNote {
    fn from_stored(note: &joined::Note) -> Self {
        Self {
            id: note.row.id.0,
            account_id: note.row.account_id.0,
            contact_id: note.row.contact_id.0,
            content: note.row.content.clone(),
            author: note.author.as_ref().map(|author| author.as_ref().to_proto()),
            created_at: Some(timestamp(note.row.created_at)),
            updated_at: Some(timestamp(note.row.updated_at)),
        }
    }
}
