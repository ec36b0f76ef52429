//! Definitions of custom attributes.

use parley_types::{
    id::{AccountId, DefinitionId},
    time::Micros,
};
use sea_orm::entity::prelude::*;

use crate::entity::kind::{AttributeModel, AttributeType};

/// A row of `custom_attribute_definitions`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "custom_attribute_definitions")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: DefinitionId,
    pub account_id: AccountId,
    pub model: AttributeModel,
    /// The key of the attribute; unique per account and model.
    pub key: String,
    pub display_name: String,
    pub display_type: AttributeType,
    pub description: Option<String>,
    /// The values that an attribute of the type list may have, as a list of strings.
    pub choices: Json,
    pub regex_pattern: Option<String>,
    pub regex_cue: Option<String>,
    pub created_at: Micros,
    pub updated_at: Micros,
    #[sea_orm(belongs_to, from = "account_id", to = "id", skip_fk)]
    pub account: BelongsTo<super::account::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
