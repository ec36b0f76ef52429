//! The types for the attachments of a message that is being created.

use parley_storage::entity::{attachment, kind::AttachmentType};
use serde_json::Value as Json;

/// An attachment that a request adds to a message.
#[derive(Clone, Debug)]
pub enum NewAttachment {
    /// The signed name of an upload.
    Upload(String),
    /// An attachment without a file, which the request describes in full.
    Plain(Box<Plain>),
}

/// An attachment without a file, such as a location.
#[derive(Clone, Debug)]
pub struct Plain {
    pub kind: AttachmentType,
    pub title: Option<String>,
    /// The URL of the attachment; can be empty.
    pub url: String,
    /// The latitude and longitude of a location, in degrees.
    pub place: Option<(f64, f64)>,
    /// Other metadata, as a JSON object.
    pub meta: Json,
}

/// An attachment of a new message whose upload name has been verified.
#[derive(Clone, Debug)]
pub enum PendingAttachment {
    /// An uploaded file, identified by the id of its row.
    Upload(i64),
    /// An attachment that has no row yet; the row is stored together with the message.
    Plain(Box<Plain>),
}

/// A resolved attachment of a new message.
#[derive(Clone, Debug)]
pub struct Attached {
    pub row: attachment::Model,
    /// Whether the row must be stored together with the message. If false, the row of the upload already exists, and is updated to refer to
    /// the message.
    pub is_new: bool,
}
