//! Conversion of an account's labels, custom attribute definitions, canned responses and contact notes.

use parley_proto::{self as pb, value::timestamp};
use parley_storage::{
    entity::{canned_response, custom_attribute_definition, label},
    joined,
};
use parley_types::time::Micros;
use prost_types::Timestamp;
use serde_json::Value as Json;

use super::{FromStored, ToProto as _};

/// Converts the value of a column to the value of a message field.
trait ToField<F> {
    fn to_field(&self) -> F;
}

impl<I: Copy + Into<i64>> ToField<i64> for I {
    fn to_field(&self) -> i64 {
        (*self).into()
    }
}

impl ToField<Option<Timestamp>> for Micros {
    fn to_field(&self) -> Option<Timestamp> {
        Some(timestamp(*self))
    }
}

impl ToField<Self> for String {
    fn to_field(&self) -> Self {
        self.clone()
    }
}

impl<T: Clone> ToField<Self> for Option<T> {
    fn to_field(&self) -> Self {
        self.clone()
    }
}

/// Implements the conversion from rows of an entity to messages whose fields have the same names as the columns. The id, the account and
/// the two times, which every record has, are converted in addition to the listed fields.
macro_rules! records {
    ($($row:ident => $message:ident { $($field:ident),+ }),+ $(,)?) => {$(
        impl FromStored<&$row::Model> for pb::$message {
            fn from_stored(row: &$row::Model) -> Self {
                Self {
                    id: row.id.to_field(),
                    account_id: row.account_id.to_field(),
                    $($field: row.$field.to_field(),)+
                    created_at: row.created_at.to_field(),
                    updated_at: row.updated_at.to_field(),
                }
            }
        }
    )+};
}

records! {
    canned_response => CannedResponse { short_code, content },
    label => Label { title, description, color, show_on_sidebar },
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
