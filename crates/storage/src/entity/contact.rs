//! Contacts.

use parley_types::{
    id::{AccountId, ContactId, Seq},
    time::Micros,
};
use sea_orm::{Condition, entity::prelude::*};

/// A row of `contacts`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "contacts")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: ContactId,
    pub account_id: AccountId,
    pub name: String,
    /// Lower case; unique in the account.
    pub email: Option<String>,
    /// Unique in the account.
    pub phone_number: Option<String>,
    /// Unique in the account.
    pub identifier: Option<String>,
    pub blocked: bool,
    #[sea_orm(column_type = "JsonBinary")]
    pub additional_attributes: Json,
    #[sea_orm(column_type = "JsonBinary")]
    pub custom_attributes: Json,
    pub avatar_url: String,
    pub last_activity_at: Option<Micros>,
    pub created_at: Micros,
    pub updated_at: Micros,
    pub version: Seq,
    #[sea_orm(belongs_to, from = "account_id", to = "id", skip_fk)]
    pub account: BelongsTo<super::account::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}

/// Matches contacts with an e-mail address, a phone number or an identifier, which Chatwoot calls resolved. Blank values are stored as
/// NULL, and the indexes of contact lists have the same condition.
pub fn is_resolved() -> Condition {
    Condition::any()
        .add(Column::Email.is_not_null())
        .add(Column::PhoneNumber.is_not_null())
        .add(Column::Identifier.is_not_null())
}
