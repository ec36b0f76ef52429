//! Attachments of a message that is being made.

use parley_storage::entity::{attachment, kind::AttachmentType};
use serde_json::Value as Json;

/// What shall hang on a message.
#[derive(Clone, Debug)]
pub enum NewAttachment {
    /// An upload, by its signed name.
    Upload(String),
    /// Something that has no file.
    Plain(Box<Plain>),
}

/// An attachment without a file.
#[derive(Clone, Debug)]
pub struct Plain {
    /// What it is.
    pub kind: AttachmentType,
    /// A title.
    pub title: Option<String>,
    /// A URL; may be empty.
    pub url: String,
    /// Degrees north and east.
    pub place: Option<(f64, f64)>,
    /// What else is known of it; an object.
    pub meta: Json,
}

/// What shall hang on a message, once its names were read.
#[derive(Clone, Debug)]
pub enum Hanging {
    /// The row of an upload.
    Upload(i64),
    /// What has no row yet: it is stored with the message.
    Plain(Box<Plain>),
}

/// An attachment of a message that is being made.
#[derive(Clone, Debug)]
pub struct Attached {
    /// Its row.
    pub row: attachment::Model,
    /// Whether the row is stored with the message; else it is there, and the message takes it.
    pub is_new: bool,
}
