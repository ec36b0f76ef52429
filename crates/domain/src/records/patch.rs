//! The fields of a record that callers set: as one patch for creation and changes.

use parley_eventlog::pending_event::Change;
use parley_types::{
    error::{Error, Result},
    id::AccountId,
    time::Micros,
};
use sea_orm::EntityTrait;

/// Values for fields of a record. `record_patch!` declares the type and implements this.
pub trait RecordPatch: Default + Send + 'static {
    /// The table.
    type Entity: EntityTrait;
    /// The column of the id.
    const ID: <Self::Entity as EntityTrait>::Column;

    /// Creates a row with these values, without an id. A creation names every field.
    ///
    /// # Errors
    /// Returns [`Error::Internal`] if a field is missing.
    fn into_row(self, account_id: AccountId, at: Micros) -> Result<<Self::Entity as EntityTrait>::Model>;

    /// Sets these values in a row.
    fn apply(self, row: &mut <Self::Entity as EntityTrait>::Model);

    /// The fields whose values differ between two states of a row.
    fn changes(before: &<Self::Entity as EntityTrait>::Model, after: &<Self::Entity as EntityTrait>::Model) -> Vec<Change>;

    /// The id of a row.
    fn id(row: &<Self::Entity as EntityTrait>::Model) -> i64;

    /// Sets the time of a row's last change.
    fn set_updated_at(row: &mut <Self::Entity as EntityTrait>::Model, at: Micros);
}

/// Returns the value of a field that a creation must name.
///
/// # Errors
/// Returns [`Error::Internal`] without a value.
pub(crate) fn given<T>(field: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| Error::Internal(format!("a record was created without {field}")))
}

/// Declares the patch of a record: a struct with an optional value for each column that callers set. The entity has these columns, `id`,
/// `account_id`, `created_at` and `updated_at`. `as` gives the field's name in events where it is not that of the column.
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
