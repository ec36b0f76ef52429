//! Stores the attributes and labels of contacts and conversations, and determines their changes.

use std::collections::HashSet;

use parley_eventlog::pending_event::Change;
use parley_storage::entity::{kind::LabelTarget, labeling};
use parley_types::{error::Result, id::AccountId};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, Set};
use serde_json::{Map, Value as Json};

/// Changes to an attribute map.
#[derive(Clone, Debug, Default)]
pub struct AttributesPatch {
    /// The map that replaces all attributes, if any. Applied before `keys`.
    pub replace: Option<Map<String, Json>>,
    /// Individual keys with their new values; `None` removes the key.
    pub keys: Vec<(String, Option<Json>)>,
}

impl AttributesPatch {
    /// Applies the changes to an attribute map.
    pub(super) fn apply(self, json: &mut Json) {
        if let Some(replace) = self.replace {
            *json = Json::Object(replace);
        }
        if let Json::Object(object) = json {
            for (key, value) in self.keys {
                match value {
                    Some(value) => object.insert(key, value),
                    None => object.remove(&key),
                };
            }
        }
    }
}

/// Compares two attribute maps, and returns one change per key that differs.
pub(super) fn attribute_changes(field: &str, before: &Json, after: &Json) -> Vec<Change> {
    let empty = Map::new();
    let object = |json: &Json| json.as_object().cloned().unwrap_or_else(|| empty.clone());
    let (before, after) = (object(before), object(after));
    let keys: HashSet<&String> = before.keys().chain(after.keys()).collect();
    let mut keys: Vec<&String> = keys.into_iter().collect();
    keys.sort();
    let value = |map: &Map<String, Json>, key: &String| map.get(key).cloned().unwrap_or(Json::Null);
    keys.into_iter()
        .filter_map(|key| Change::new(format!("{field}.{key}"), value(&before, key), value(&after, key)))
        .collect()
}

/// Replaces the labels of a contact or conversation.
///
/// # Errors
/// Returns [`parley_types::error::Error::Database`] if a query fails.
pub(super) async fn set_labels(db: &impl ConnectionTrait, account: AccountId, kind: LabelTarget, id: i64, names: &[String]) -> Result<()> {
    labeling::Entity::delete_many()
        .filter(labeling::Column::AccountId.eq(account))
        .filter(labeling::Column::SubjectKind.eq(kind))
        .filter(labeling::Column::SubjectId.eq(id))
        .exec(db)
        .await?;
    let rows = names.iter().zip(0..).map(|(name, position)| labeling::ActiveModel {
        account_id: Set(account),
        subject_kind: Set(kind),
        subject_id: Set(id),
        name: Set(name.clone()),
        position: Set(position),
    });
    if !names.is_empty() {
        labeling::Entity::insert_many(rows).exec_without_returning(db).await?;
    }
    Ok(())
}
