//! Declares the types of the JSON API. Each field is declared in one place, with its key, its type and the expression for its value.

/// Declares a JSON struct that is created from messages of the gRPC API: with `From` if it is created from a single message, otherwise with
/// `new`.
///
/// ```ignore
/// json_type! {
///     /// A label, as the description of its schema.
///     pub struct Label(label: pb::Label) with {
///         let title = label.title.trim().to_owned(); // statements before, if there are any
///     } {
///         id: Id = label.id.into(),
///         title: String = title,
///     }
///     truncated_fields = label.truncated_fields; // if it has that key
/// }
/// ```
///
/// The values are computed in the order of the fields, so an expression that borrows the message must precede one that moves a field out of
/// it.
macro_rules! json_type {
    (
        $(#[$meta:meta])*
        $visibility:vis struct $name:ident($($arguments:tt)*) $(with { $($with:tt)* })? {
            $($(#[$field_meta:meta])* $field_visibility:vis $field:ident: $type:ty = $value:expr),* $(,)?
        }
        $($truncated_fields:ident = $truncated:expr;)?
    ) => {
        #[derive(serde::Serialize, schemars::JsonSchema)]
        #[allow(clippy::struct_field_names)] // The API's contract has chosen the names.
        $(#[$meta])*
        $visibility struct $name {
            $($(#[$field_meta])* $field_visibility $field: $type,)*
            $(
                #[serde(skip_serializing_if = "crate::json::truncated::TruncatedFields::is_empty")]
                $truncated_fields: crate::json::truncated::TruncatedFields,
            )?
        }

        crate::json::json_type::json_type!(@constructor $name ($($arguments)*) {
            $($($with)*)?
            #[allow(unused_mut)]
            let mut json = $name {
                $($field: $value,)*
                $($truncated_fields: crate::json::truncated::TruncatedFields::default(),)?
            };
            $(json.$truncated_fields = crate::json::truncated::TruncatedFields::of(&json, &$truncated);)?
            json
        });
    };
    (@constructor $name:ident ($source:ident: $from:ty) $body:block) => {
        impl From<$from> for $name {
            fn from($source: $from) -> Self $body
        }
    };
    (@constructor $name:ident (mut $source:ident: $from:ty) $body:block) => {
        impl From<$from> for $name {
            fn from(mut $source: $from) -> Self $body
        }
    };
    (@constructor $name:ident ($($arguments:tt)*) $body:block) => {
        impl $name {
            /// Creates the value from messages of the gRPC API.
            pub fn new($($arguments)*) -> Self $body
        }
    };
}
pub(crate) use json_type;
