//! Definitions of the custom attributes of an account, for people and for filters. Values are not validated against them.

use std::sync::Arc;

use parley_eventlog::{
    kind::EventKind,
    pending_event::{Change, PendingEvent, Subject},
};
use parley_storage::entity::{
    custom_attribute_definition as definition,
    custom_attribute_definition::Model as Definition,
    kind::{AttributeModel, AttributeType},
};
use parley_types::{
    error::{Error, Result, Rule},
    id::{AccountId, DefinitionId},
};
use sea_orm::{ActiveModelTrait, ColumnTrait, IntoActiveModel, ModelTrait, QueryFilter};
use serde_json::{Value as Json, json};

use crate::{
    auth::caller::Caller,
    context::Context,
    page::{Page, PageRequest, Sort},
    records,
    write::{
        Write,
        call::{Answer, Call},
    },
};

/// The name of the resource in errors.
const KIND: &str = "custom_attribute_definition";

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

/// A definition to create.
#[derive(Clone, Debug)]
pub struct NewDefinition {
    /// Whether the attribute belongs to contacts or conversations.
    pub model: AttributeModel,
    pub key: String,
    /// The name shown to people.
    pub display_name: String,
    /// The other values of the definition.
    pub patch: DefinitionPatch,
}

/// Changes to a definition; `None` leaves a value unchanged.
#[derive(Clone, Debug, Default)]
pub struct DefinitionPatch {
    pub key: Option<String>,
    /// The name shown to people.
    pub display_name: Option<String>,
    /// The type of its values.
    pub display_type: Option<AttributeType>,
    pub description: Option<Option<String>>,
    /// The values to choose from.
    pub choices: Option<Vec<String>>,
    /// A regular expression that front ends check values against. Parley does not evaluate it.
    pub regex_pattern: Option<Option<String>>,
    /// The hint that front ends show for a value that does not match.
    pub regex_cue: Option<Option<String>>,
}

impl DefinitionPatch {
    fn apply(self, row: &mut Definition) {
        row.key = self.key.unwrap_or_else(|| row.key.clone());
        row.display_name = self.display_name.unwrap_or_else(|| row.display_name.clone());
        row.display_type = self.display_type.unwrap_or(row.display_type);
        row.description = self.description.unwrap_or_else(|| row.description.clone());
        row.choices = self.choices.map_or_else(|| row.choices.clone(), Json::from);
        row.regex_pattern = self.regex_pattern.unwrap_or_else(|| row.regex_pattern.clone());
        row.regex_cue = self.regex_cue.unwrap_or_else(|| row.regex_cue.clone());
    }
}

async fn free(write: &Write, model: AttributeModel, key: &str, own: Option<DefinitionId>) -> Result<()> {
    let same = records::of_account::<definition::Entity>(write.account().id)
        .filter(definition::Column::Model.eq(model))
        .filter(definition::Column::Key.eq(key));
    let field = "custom_attribute_definition.key";
    records::free(&write.txn, same, own.map(i64::from), |row| row.id.0, (KIND, field)).await
}

fn reserved(model: AttributeModel, key: &str) -> bool {
    match model {
        AttributeModel::Conversation => OF_CONVERSATIONS.contains(&key),
        AttributeModel::Contact => OF_CONTACTS.contains(&key),
    }
}

/// Operations on custom attribute definitions.
#[derive(Clone, Debug)]
pub struct CustomAttributeDefinitions {
    context: Arc<Context>,
}

impl CustomAttributeDefinitions {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
        }
    }

    /// Creates the definition of a custom attribute.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if the key is that of a built-in attribute, and [`Error::Taken`] if the key is already defined.
    pub async fn create(&self, call: Call<Definition>, new: NewDefinition) -> Result<Answer<Definition>> {
        call.caller.write_access(call.account)?;
        if reserved(new.model, &new.key) {
            // Chatwoot's wording.
            let text = "The provided key is not allowed as it might conflict with default attributes.";
            return Err(Error::invalid("custom_attribute_definition.key", Rule::Invalid, text));
        }
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let at = write.set.at;
                    free(write, new.model, &new.key, None).await?;
                    let mut row = Definition {
                        id: DefinitionId(0),
                        account_id: write.account().id,
                        model: new.model,
                        key: new.key,
                        display_name: new.display_name,
                        display_type: AttributeType::Text,
                        description: None,
                        choices: json!([]),
                        regex_pattern: None,
                        regex_cue: None,
                        created_at: at,
                        updated_at: at,
                    };
                    new.patch.apply(&mut row);
                    let mut active = row.into_active_model().reset_all();
                    active.id = sea_orm::NotSet;
                    let row = active.insert(&write.txn).await?;
                    let subject = Subject::Definition(row.clone());
                    write
                        .set
                        .emit(PendingEvent::new(EventKind::CustomAttributeDefinitionCreated, subject));
                    Ok(row)
                })
            })
            .await
    }

    /// Returns one definition.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such definition.
    pub async fn get(&self, caller: &Caller, account: AccountId, id: DefinitionId) -> Result<Definition> {
        caller.access(account)?;
        records::one::<definition::Entity>(self.context.db.read(), account, id.0, KIND).await
    }

    /// Returns a page of the definitions of an account, of both models or of one, by id.
    ///
    /// # Errors
    /// Returns [`Error::NotMember`] if the caller has no access to the account.
    pub async fn list(
        &self,
        caller: &Caller,
        account: AccountId,
        model: Option<AttributeModel>,
        page: &PageRequest,
    ) -> Result<Page<Definition>> {
        caller.access(account)?;
        let mut query = records::of_account::<definition::Entity>(account);
        if let Some(model) = model {
            query = query.filter(definition::Column::Model.eq(model));
        }
        let key = (definition::Column::Id, (|row| row.id.0) as records::IdOf<definition::Entity>);
        records::rows(self.context.db.read(), query, key, &Sort::by_id(false), page).await
    }

    /// Changes a definition.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such definition, and [`Error::Taken`] if the new key is already defined.
    pub async fn update(&self, call: Call<Definition>, id: DefinitionId, patch: DefinitionPatch) -> Result<Answer<Definition>> {
        call.caller.write_access(call.account)?;
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let before = records::one::<definition::Entity>(&write.txn, write.account().id, id.0, KIND).await?;
                    let mut row = before.clone();
                    patch.apply(&mut row);
                    let changes: Vec<Change> = [
                        Change::new("key", before.key.clone(), row.key.clone()),
                        Change::new("display_name", before.display_name, row.display_name.clone()),
                        Change::new("type", before.display_type.name(), row.display_type.name()),
                        Change::new("description", before.description, row.description.clone()),
                        Change::new("values", before.choices, row.choices.clone()),
                        Change::new("regex_pattern", before.regex_pattern, row.regex_pattern.clone()),
                        Change::new("regex_cue", before.regex_cue, row.regex_cue.clone()),
                    ]
                    .into_iter()
                    .flatten()
                    .collect();
                    if changes.is_empty() {
                        return Ok(row);
                    }
                    if row.key != before.key {
                        free(write, row.model, &row.key, Some(id)).await?;
                    }
                    row.updated_at = write.set.at;
                    let row = row.into_active_model().reset_all().update(&write.txn).await?;
                    write.set.emit(PendingEvent {
                        kind: EventKind::CustomAttributeDefinitionUpdated,
                        subject: Subject::Definition(row.clone()),
                        changes,
                    });
                    Ok(row)
                })
            })
            .await
    }

    /// Deletes a definition. Stored values of the attribute are kept.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such definition.
    pub async fn delete(&self, call: Call<()>, id: DefinitionId) -> Result<Answer<()>> {
        call.caller.write_access(call.account)?;
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let row = records::one::<definition::Entity>(&write.txn, write.account().id, id.0, KIND).await?;
                    row.clone().delete(&write.txn).await?;
                    let subject = Subject::Definition(row);
                    write
                        .set
                        .emit(PendingEvent::new(EventKind::CustomAttributeDefinitionDeleted, subject));
                    Ok(())
                })
            })
            .await
    }
}
