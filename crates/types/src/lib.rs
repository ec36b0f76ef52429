//! Types that all layers share: ids, times, column enums, cursors as text, limits on attribute maps, and errors.
//!
//! The feature `sea-orm` allows ids, times and enums to be used as column types, and converts database errors to [`error::Error`].

pub mod attribute_limits;
pub mod cursor_text;
pub mod error;
pub mod id;
pub mod kind;
pub mod time;
