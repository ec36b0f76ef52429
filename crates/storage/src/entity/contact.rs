//! Contacts, who are the customers of an account.

use parley_types::{
    id::{AccountId, ContactId, Seq},
    time::Micros,
};
use sea_orm::{Condition, entity::prelude::*};
use serde_json::json;

/// A row of `contacts`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "contacts")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: ContactId,
    pub account_id: AccountId,
    pub name: String,
    /// The e-mail address in lower case; unique in the account.
    pub email: Option<String>,
    /// The phone number; unique in the account.
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

impl Model {
    /// Creates a contact without any data. It has no id yet, because the database generates the id.
    pub fn new(account_id: AccountId, created_at: Micros, version: Seq) -> Self {
        Self {
            id: ContactId(0),
            account_id,
            name: String::new(),
            email: None,
            phone_number: None,
            identifier: None,
            blocked: false,
            additional_attributes: json!({}),
            custom_attributes: json!({}),
            avatar_url: String::new(),
            last_activity_at: None,
            created_at,
            updated_at: created_at,
            version,
        }
    }
}

/// An optional text field of contacts, which callers can set and remove.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// The name of the column, which is also the name of the field in the API contract and in events.
    pub name: &'static str,
    of: fn(&Model) -> Option<&str>,
    of_mut: fn(&mut Model) -> &mut Option<String>,
}

impl Text {
    /// Returns the value of this text field in a contact.
    pub fn of(self, row: &Model) -> Option<&str> {
        (self.of)(row)
    }

    /// Sets the value of this text field in a contact, or removes it.
    pub fn set(self, row: &mut Model, value: Option<String>) {
        *(self.of_mut)(row) = value;
    }
}

macro_rules! texts {
    ($($name:ident),+ $(,)?) => {
        &[$(Text { name: stringify!($name), of: |row| row.$name.as_deref(), of_mut: |row| &mut row.$name }),+]
    };
}

/// All optional text fields of contacts. The code that creates, updates, merges and converts contacts, and that determines the changes for
/// their events, iterates over this list.
pub static TEXTS: &[Text] = texts![email, phone_number, identifier];

/// Matches contacts with an e-mail address, a phone number or an identifier, which Chatwoot calls resolved. Blank values are stored as
/// NULL, and the indexes of contact lists have the same condition.
pub fn is_resolved() -> Condition {
    Condition::any()
        .add(Column::Email.is_not_null())
        .add(Column::PhoneNumber.is_not_null())
        .add(Column::Identifier.is_not_null())
}
