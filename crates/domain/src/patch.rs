//! Applies patches, which contain optional new values for the fields of a row, and reports the changes for events.

/// Sets those fields of a row for which the patch has a value. Evaluates to an array with one optional change per listed field, in the
/// order of the list. The change is `None` if the value stays the same. Each field must have the same name in the patch, in the row and in
/// events.
macro_rules! patch_fields {
    ($patch:ident, $row:ident: $($field:ident),+) => {
        [$($patch.$field.and_then(|value| {
            let before = std::mem::replace(&mut $row.$field, value);
            parley_eventlog::pending_event::Change::new(stringify!($field), before, ToOwned::to_owned(&$row.$field))
        })),+]
    };
}
pub(crate) use patch_fields;
