//! Definitions of an account's custom attributes. They describe the attributes to people and to filters; attribute values are not validated
//! against them and remain when a definition is deleted.

use parley_eventlog::{kind::EventKind, pending_event::Subject};
use parley_storage::entity::{
    custom_attribute_definition::{self, Column, Entity, Model},
    kind::{AttributeModel, AttributeType},
};
use parley_types::error::{Error, Result, Rule};
use sea_orm::{ColumnTrait as _, Condition, QueryFilter as _, Select};
use serde_json::Value as Json;

use super::{patch::record_patch, record::Record};
use crate::page::Sort;

/// Reserved keys, which conflict with built-in attributes of conversations.
const OF_CONVERSATIONS: [&str; 13] = [
    "status",
    "priority",
    "assignee_id",
    "inbox_id",
    "team_id",
    "display_id",
    "campaign_id",
    "labels",
    "browser_language",
    "country_code",
    "referer",
    "created_at",
    "last_activity_at",
];

/// Reserved keys, which conflict with built-in attributes of contacts.
const OF_CONTACTS: [&str; 10] = [
    "name",
    "email",
    "phone_number",
    "identifier",
    "country_code",
    "city",
    "created_at",
    "last_activity_at",
    "referer",
    "blocked",
];

record_patch! {
    /// The fields of a custom attribute definition.
    pub struct DefinitionPatch for custom_attribute_definition {
        /// Whether the attribute belongs to contacts or to conversations. This cannot be changed later.
        model: AttributeModel,
        key: String,
        /// The human-readable name of the attribute.
        display_name: String,
        /// The type of the attribute's values.
        display_type as "type": AttributeType,
        description: Option<String>,
        /// The values to choose from, as a list of strings.
        choices as "values": Json,
        /// A regular expression that front ends check values against. Parley does not evaluate it.
        regex_pattern: Option<String>,
        /// The hint that front ends show if a value does not match the regular expression.
        regex_cue: Option<String>,
    }
}

impl Record for Entity {
    type Patch = DefinitionPatch;
    /// Lists only definitions for contacts or only definitions for conversations. `None` lists both.
    type Query = Option<AttributeModel>;
    const KIND: &'static str = "custom_attribute_definition";
    const UNIQUE: Column = Column::Key;
    const CREATED: EventKind = EventKind::CustomAttributeDefinitionCreated;
    const UPDATED: EventKind = EventKind::CustomAttributeDefinitionUpdated;
    const DELETED: EventKind = EventKind::CustomAttributeDefinitionDeleted;
    const SUBJECT: fn(Model) -> Subject = Subject::Definition;

    fn same(row: &Model) -> Condition {
        Condition::all().add(Column::Model.eq(row.model)).add(Column::Key.eq(&row.key))
    }

    fn list(rows: Select<Self>, model: Option<AttributeModel>) -> (Select<Self>, Sort) {
        let rows = match model {
            Some(model) => rows.filter(Column::Model.eq(model)),
            None => rows,
        };
        (rows, Sort::by_id(false))
    }

    fn check(new: &DefinitionPatch) -> Result<()> {
        if new.model.zip(new.key.as_deref()).is_some_and(|(model, key)| reserved(model, key)) {
            // The error message is the same as in Chatwoot.
            let text = "The provided key is not allowed as it might conflict with default attributes.";
            return Err(Error::invalid("custom_attribute_definition.key", Rule::Invalid, text));
        }
        Ok(())
    }
}

fn reserved(model: AttributeModel, key: &str) -> bool {
    match model {
        AttributeModel::Conversation => OF_CONVERSATIONS.contains(&key),
        AttributeModel::Contact => OF_CONTACTS.contains(&key),
    }
}
