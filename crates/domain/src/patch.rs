//! Patches of rows: optional new values, whose changes are reported in events.

/// Sets the fields of a row for which a patch has a value. Evaluates to an array with the change of each field, `None` if its value is the same
/// as before. A field has the same name in the patch, in the row and in events, and changes keep the order of the list.
macro_rules! patch_fields {
    ($patch:ident, $row:ident: $($field:ident),+) => {
        [$($patch.$field.and_then(|value| {
            let before = std::mem::replace(&mut $row.$field, value);
            parley_eventlog::pending_event::Change::new(stringify!($field), before, ToOwned::to_owned(&$row.$field))
        })),+]
    };
}
pub(crate) use patch_fields;
