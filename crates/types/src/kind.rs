//! Column enums, with the integers that Chatwoot stores and the names that its JSON API uses.

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident { $($variant:ident = $value:literal $text:literal),+ $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[cfg_attr(feature = "sea-orm", derive(sea_orm::EnumIter, sea_orm::DeriveActiveEnum))]
        #[cfg_attr(feature = "sea-orm", sea_orm(rs_type = "i16", db_type = "SmallInteger"))]
        #[allow(missing_docs)]
        pub enum $name { $(#[cfg_attr(feature = "sea-orm", sea_orm(num_value = $value))] $variant = $value),+ }

        impl $name {
            /// Returns the short name, as in events and the JSON API.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl From<$name> for serde_json::Value {
            fn from(kind: $name) -> Self {
                kind.name().into()
            }
        }
    )+};
}

kinds! {
    /// The status of an account, which determines whether the account may be used.
    AccountStatus { Active = 0 "active", Suspended = 1 "suspended", Deleted = 2 "deleted" }
    /// The kind of principal that a token authenticates.
    TokenKind { User = 0 "user", Service = 1 "service", Platform = 2 "platform", AgentBot = 3 "agent_bot" }
    /// The role of a user in an account.
    Role { Agent = 0 "agent", Administrator = 1 "administrator" }
    /// The availability of a user.
    Availability { Online = 0 "online", Offline = 1 "offline", Busy = 2 "busy" }
    /// The kind of channel that an inbox has.
    ChannelType { Api = 0 "Channel::Api" }
    /// How outgoing mail names its sender.
    SenderNameType { Friendly = 0 "friendly", Professional = 1 "professional" }
    /// The status of a conversation.
    ConversationStatus { Open = 0 "open", Resolved = 1 "resolved", Pending = 2 "pending", Snoozed = 3 "snoozed" }
    /// The priority of a conversation.
    Priority { Low = 0 "low", Medium = 1 "medium", High = 2 "high", Urgent = 3 "urgent" }
    /// The direction or origin of a message.
    MessageType { Incoming = 0 "incoming", Outgoing = 1 "outgoing", Activity = 2 "activity", Template = 3 "template" }
    /// The content type of a message.
    ContentType {
        Text = 0 "text", InputText = 1 "input_text", InputTextarea = 2 "input_textarea", InputEmail = 3 "input_email",
        InputSelect = 4 "input_select", Cards = 5 "cards", Form = 6 "form", Article = 7 "article",
        IncomingEmail = 8 "incoming_email", InputCsat = 9 "input_csat", Integrations = 10 "integrations",
        Sticker = 11 "sticker", VoiceCall = 12 "voice_call",
    }
    /// The delivery status of a message.
    MessageStatus { Sent = 0 "sent", Delivered = 1 "delivered", Read = 2 "read", Failed = 3 "failed" }
    /// The kind of sender of a message.
    SenderType { Contact = 0 "contact", User = 1 "user", AgentBot = 2 "agent_bot" }
    /// The type of an attachment.
    AttachmentType {
        Image = 0 "image", Audio = 1 "audio", Video = 2 "video", File = 3 "file", Location = 4 "location",
        Fallback = 5 "fallback", Share = 6 "share", StoryMention = 7 "story_mention", Contact = 8 "contact",
        IgReel = 9 "ig_reel",
    }
    /// Whether presence was recorded for a user or a contact.
    PresenceKind { User = 0 "user", Contact = 1 "contact" }
    /// The kind of object that has a custom attribute.
    AttributeModel { Conversation = 0 "conversation_attribute", Contact = 1 "contact_attribute" }
    /// The type of a custom attribute's values.
    AttributeType {
        Text = 0 "text", Number = 1 "number", Currency = 2 "currency", Percent = 3 "percent", Link = 4 "link",
        Date = 5 "date", List = 6 "list", Checkbox = 7 "checkbox",
    }
    /// The state of an attachment: uploaded and waiting for a message, in use, or waiting to be removed.
    AttachmentState { Uploaded = 0 "uploaded", InUse = 1 "in_use", Removed = 2 "removed" }
    /// The kind of a changed object that does not belong to an account. The accounts that the change affects are notified of it.
    AnnouncedKind { User = 0 "user", AgentBot = 1 "agent_bot" }
    /// The kind of object that a label is attached to.
    LabelTarget { Conversation = 0 "conversation", Contact = 1 "contact" }
}
