//! Patches of records. A patch contains values for the fields that callers can set, and is used both to create and to change a record.

use parley_eventlog::pending_event::Change;
use parley_types::{
    error::{Error, Result},
    id::AccountId,
    time::Micros,
};
use sea_orm::EntityTrait;

/// Optional values for the fields of a record. The macro `record_patch!` declares the type and implements this trait for it.
pub trait RecordPatch: Default + Send + 'static {
    /// The `sea_orm` entity for the record's table.
    type Entity: EntityTrait;
    /// The id column of the table.
    const ID: <Self::Entity as EntityTrait>::Column;

    /// Creates a row with the values of this patch, without an id. The patch must have a value for every field.
    ///
    /// # Errors
    /// Returns [`Error::Internal`] if a field is missing.
    fn into_row(self, account_id: AccountId, at: Micros) -> Result<<Self::Entity as EntityTrait>::Model>;

    /// Sets the fields of a row for which this patch has a value.
    fn apply(self, row: &mut <Self::Entity as EntityTrait>::Model);

    /// Returns the fields whose values differ between two states of a row.
    fn changes(before: &<Self::Entity as EntityTrait>::Model, after: &<Self::Entity as EntityTrait>::Model) -> Vec<Change>;

    /// Returns the id of a row.
    fn id(row: &<Self::Entity as EntityTrait>::Model) -> i64;

    /// Sets the time of a row's last change.
    fn set_updated_at(row: &mut <Self::Entity as EntityTrait>::Model, at: Micros);
}

/// Returns the value of a field that is required to create a record.
///
/// # Errors
/// Returns [`Error::Internal`] if the value is absent.
pub(crate) fn given<T>(field: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| Error::Internal(format!("a record was created without {field}")))
}

/// Declares the patch type of a record: a struct with an optional value for each column that callers can set. The entity must have exactly
/// these columns in addition to `id`, `account_id`, `created_at` and `updated_at`. `as` sets the field's name in events, for fields whose
/// name there is not the name of the column.
macro_rules! record_patch {
    (
        $(#[$doc:meta])*
        pub struct $patch:ident for $entity:ident { $($(#[$field_doc:meta])* $field:ident $(as $name:literal)?: $kind:ty),+ $(,)? }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default)]
        #[allow(missing_docs)] // the columns have comments in the entity
        pub struct $patch { $($(#[$field_doc])* pub $field: Option<$kind>),+ }

        impl $crate::write::response_subject::ResponseSubject for $entity::Model {}

        impl $crate::records::patch::RecordPatch for $patch {
            type Entity = $entity::Entity;
            const ID: $entity::Column = $entity::Column::Id;

            fn into_row(
                self,
                account_id: parley_types::id::AccountId,
                at: parley_types::time::Micros,
            ) -> parley_types::error::Result<$entity::Model> {
                Ok($entity::Model {
                    id: Default::default(),
                    account_id,
                    $($field: $crate::records::patch::given(stringify!($field), self.$field)?,)+
                    created_at: at,
                    updated_at: at,
                })
            }

            fn apply(self, row: &mut $entity::Model) {
                $(if let Some(value) = self.$field {
                    row.$field = value;
                })+
            }

            fn changes(before: &$entity::Model, after: &$entity::Model) -> Vec<parley_eventlog::pending_event::Change> {
                let changes = [$(parley_eventlog::pending_event::Change::new(
                    $crate::records::patch::record_patch!(@name $field $($name)?),
                    before.$field.clone(),
                    after.$field.clone(),
                )),+];
                changes.into_iter().flatten().collect()
            }

            fn id(row: &$entity::Model) -> i64 {
                row.id.0
            }

            fn set_updated_at(row: &mut $entity::Model, at: parley_types::time::Micros) {
                row.updated_at = at;
            }
        }
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $name:literal) => { $name };
}

pub(crate) use record_patch;
