//! Attachments of a message that is being created.

use parley_storage::entity::{attachment, kind::AttachmentType};
use serde_json::Value as Json;

/// An attachment that a request adds to a message.
#[derive(Clone, Debug)]
pub enum NewAttachment {
    /// The signed name of an upload.
    Upload(String),
    /// An attachment without a file.
    Plain(Box<Plain>),
}

/// An attachment without a file, such as a location.
#[derive(Clone, Debug)]
pub struct Plain {
    pub kind: AttachmentType,
    pub title: Option<String>,
    /// A URL; can be empty.
    pub url: String,
    /// Latitude and longitude in degrees.
    pub place: Option<(f64, f64)>,
    /// Other metadata; a JSON object.
    pub meta: Json,
}

/// An attachment of a new message whose upload name has been verified.
#[derive(Clone, Debug)]
pub enum PendingAttachment {
    /// The id of the upload's row.
    Upload(i64),
    /// An attachment that has no row yet; the row is stored together with the message.
    Plain(Box<Plain>),
}

/// A resolved attachment of a new message.
#[derive(Clone, Debug)]
pub struct Attached {
    pub row: attachment::Model,
    /// Whether the row is stored together with the message. Otherwise it exists, and the message claims it.
    pub is_new: bool,
}
