//! The JSON representation of attachments.

use parley_proto::{self as pb, AttachmentType};
use schemars::JsonSchema;
use serde::Serialize;

use super::{json_type::json_type, sender::Sender, values::Id};
use crate::params::{attributes::Attributes, timestamps::Unix};

/// Converts the attachments of a message to JSON.
pub fn attachments(attachments: Vec<pb::Attachment>, account_id: i64) -> Vec<Attachment> {
    attachments
        .into_iter()
        .map(|attachment| Attachment::new(attachment, account_id))
        .collect()
}

/// An attachment of a message: a file, or a reference such as a location.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Attachment {
    File(FileAttachment),
    Audio(AudioAttachment),
    Location(LocationAttachment),
    Fallback(FallbackAttachment),
    Contact(ContactAttachment),
}

json_type! {
    #[schemars(inline)]
    pub struct FileAttachment(attachment: pb::Attachment, account_id: i64) {
        #[schemars(extend("enum" = ["image", "video", "file", "share", "story_mention", "ig_reel"]))]
        file_type: &'static str = file_type(&attachment),
        #[serde(flatten)]
        origin: Origin = Origin::new(&attachment, account_id),
        #[serde(flatten)]
        file: File = attachment.into(),
    }
}

json_type! {
    #[schemars(inline)]
    pub struct AudioAttachment(attachment: pb::Attachment, account_id: i64) {
        #[schemars(extend("enum" = ["audio"]))]
        file_type: &'static str = file_type(&attachment),
        #[serde(flatten)]
        origin: Origin = Origin::new(&attachment, account_id),
        #[serde(flatten)]
        file: File = attachment.into(),
        transcribed_text: &'static str = "",
    }
}

json_type! {
    #[schemars(inline)]
    pub struct LocationAttachment(attachment: pb::Attachment, account_id: i64) {
        #[schemars(extend("enum" = ["location"]))]
        file_type: &'static str = file_type(&attachment),
        #[serde(flatten)]
        origin: Origin = Origin::new(&attachment, account_id),
        #[schemars(required)]
        coordinates_lat: Option<f64> = attachment.latitude,
        #[schemars(required)]
        coordinates_long: Option<f64> = attachment.longitude,
        fallback_title: Option<String> = attachment.fallback_title,
        /// Link to the file.
        #[schemars(with = "Option<String>")]
        data_url: String = attachment.data_url,
    }
}

json_type! {
    #[schemars(inline)]
    pub struct FallbackAttachment(attachment: pb::Attachment, account_id: i64) {
        #[schemars(extend("enum" = ["fallback"]))]
        file_type: &'static str = file_type(&attachment),
        #[serde(flatten)]
        origin: Origin = Origin::new(&attachment, account_id),
        fallback_title: Option<String> = attachment.fallback_title,
        /// Link to the file.
        #[schemars(with = "Option<String>")]
        data_url: String = attachment.data_url,
    }
}

json_type! {
    #[schemars(inline)]
    pub struct ContactAttachment(attachment: pb::Attachment, account_id: i64) {
        #[schemars(extend("enum" = ["contact"]))]
        file_type: &'static str = file_type(&attachment),
        #[serde(flatten)]
        origin: Origin = Origin::new(&attachment, account_id),
        fallback_title: Option<String> = attachment.fallback_title,
        meta: AttachmentMeta = AttachmentMeta(attachment.meta.into()),
    }
    truncated_fields = attachment.truncated_fields;
}

/// Attributes of an attachment.
// This type has a name because code generators would otherwise create an identical model for each variant of `Attachment`.
#[derive(Serialize, JsonSchema)]
struct AttachmentMeta(Attributes);

json_type! {
    #[schemars(inline)]
    struct Origin(attachment: &pb::Attachment, account: i64) {
        id: Id = attachment.id.into(),
        message_id: Id = attachment.message_id.into(),
        account_id: Id = account.into(),
    }
}

json_type! {
    #[schemars(inline)]
    struct File(attachment: pb::Attachment) {
        /// Extension of the file name.
        extension: Option<String> = attachment.extension,
        /// Link to the file.
        #[schemars(with = "Option<String>")]
        data_url: String = attachment.data_url,
        /// Link to a thumbnail of the file.
        #[schemars(with = "Option<String>")]
        thumb_url: String = attachment.thumb_url,
        /// Size of the file in bytes.
        file_size: Option<i64> = attachment.file_size,
        /// Width of the image in pixels.
        width: Option<i64> = attachment.width.map(i64::from),
        /// Height of the image in pixels.
        height: Option<i64> = attachment.height.map(i64::from),
    }
}

/// Returns the name of an attachment's type in the JSON API.
fn file_type(attachment: &pb::Attachment) -> &'static str {
    match attachment.r#type() {
        AttachmentType::Image => "image",
        AttachmentType::Video => "video",
        AttachmentType::File | AttachmentType::Unspecified => "file",
        AttachmentType::Share => "share",
        AttachmentType::StoryMention => "story_mention",
        AttachmentType::IgReel => "ig_reel",
        AttachmentType::Audio => "audio",
        AttachmentType::Location => "location",
        AttachmentType::Fallback => "fallback",
        AttachmentType::Contact => "contact",
    }
}

impl Attachment {
    fn new(attachment: pb::Attachment, account_id: i64) -> Self {
        match attachment.r#type() {
            AttachmentType::Audio => Self::Audio(AudioAttachment::new(attachment, account_id)),
            AttachmentType::Location => Self::Location(LocationAttachment::new(attachment, account_id)),
            AttachmentType::Fallback => Self::Fallback(FallbackAttachment::new(attachment, account_id)),
            AttachmentType::Contact => Self::Contact(ContactAttachment::new(attachment, account_id)),
            _ => Self::File(FileAttachment::new(attachment, account_id)),
        }
    }
}

json_type! {
    /// An attachment in the list of all attachments of a conversation.
    // Chatwoot omits the id of the attachment from this list.
    pub struct ListedAttachment(listed: pb::ConversationAttachment) with {
        let attachment = listed.attachment.unwrap_or_default();
        let message = listed.message.unwrap_or_default();
    } {
        /// Id of the message to which the file is attached.
        message_id: Id = attachment.message_id.into(),
        /// Kind of the file, such as `image` or `file`.
        file_type: &'static str = file_type(&attachment),
        #[serde(flatten)]
        file: File = attachment.into(),
        created_at: Unix = message.created_at.into(),
        #[serde(skip_serializing_if = "Option::is_none")] #[schemars(required)]
        sender: Option<Sender> = message.sender.map(|sender| Sender::new(sender, None)),
    }
}
