//! Columns that are enums, with the integers that Chatwoot stores and the names that its JSON API uses.

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident { $($variant:ident = $value:literal $text:literal),+ $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[cfg_attr(feature = "sea-orm", derive(sea_orm::EnumIter, sea_orm::DeriveActiveEnum))]
        #[cfg_attr(feature = "sea-orm", sea_orm(rs_type = "i16", db_type = "SmallInteger"))]
        #[allow(missing_docs)]
        pub enum $name { $(#[cfg_attr(feature = "sea-orm", sea_orm(num_value = $value))] $variant = $value),+ }

        impl $name {
            /// The short name that events and the JSON API use.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    )+};
}

kinds! {
    /// Whether an account may be used.
    AccountStatus { Active = 0 "active", Suspended = 1 "suspended", Deleted = 2 "deleted" }
    /// Whom a token speaks for.
    TokenKind { User = 0 "user", Service = 1 "service", Platform = 2 "platform", AgentBot = 3 "agent_bot" }
    /// What a user may do in an account.
    Role { Agent = 0 "agent", Administrator = 1 "administrator" }
    /// Whether a user can be reached.
    Availability { Online = 0 "online", Offline = 1 "offline", Busy = 2 "busy" }
    /// What an inbox is connected to.
    ChannelType { Api = 0 "Channel::Api" }
    /// How the sender of outgoing mail is named.
    SenderNameType { Friendly = 0 "friendly", Professional = 1 "professional" }
    /// Where a conversation stands.
    ConversationStatus { Open = 0 "open", Resolved = 1 "resolved", Pending = 2 "pending", Snoozed = 3 "snoozed" }
    /// How urgent a conversation is.
    Priority { Low = 0 "low", Medium = 1 "medium", High = 2 "high", Urgent = 3 "urgent" }
    /// Who speaks to whom.
    MessageType { Incoming = 0 "incoming", Outgoing = 1 "outgoing", Activity = 2 "activity", Template = 3 "template" }
    /// What the content of a message is.
    ContentType {
        Text = 0 "text", InputText = 1 "input_text", InputTextarea = 2 "input_textarea", InputEmail = 3 "input_email",
        InputSelect = 4 "input_select", Cards = 5 "cards", Form = 6 "form", Article = 7 "article",
        IncomingEmail = 8 "incoming_email", InputCsat = 9 "input_csat", Integrations = 10 "integrations",
        Sticker = 11 "sticker", VoiceCall = 12 "voice_call",
    }
    /// How far the delivery of a message is.
    MessageStatus { Sent = 0 "sent", Delivered = 1 "delivered", Read = 2 "read", Failed = 3 "failed" }
    /// What kind of sender a message has.
    SenderType { Contact = 0 "contact", User = 1 "user", AgentBot = 2 "agent_bot" }
    /// What an attachment is.
    AttachmentType {
        Image = 0 "image", Audio = 1 "audio", Video = 2 "video", File = 3 "file", Location = 4 "location",
        Fallback = 5 "fallback", Share = 6 "share", StoryMention = 7 "story_mention", Contact = 8 "contact",
        IgReel = 9 "ig_reel",
    }
    /// Who can be there.
    PresenceKind { User = 0 "user", Contact = 1 "contact" }
    /// Whose custom attributes.
    AttributeModel { Conversation = 0 "conversation_attribute", Contact = 1 "contact_attribute" }
    /// What values of a custom attribute are.
    AttributeDisplay {
        Text = 0 "text", Number = 1 "number", Currency = 2 "currency", Percent = 3 "percent", Link = 4 "link",
        Date = 5 "date", List = 6 "list", Checkbox = 7 "checkbox",
    }
    /// Whether an upload waits for a message, is in use, or waits to be removed.
    AttachmentState { Uploaded = 0 "uploaded", InUse = 1 "in_use", Removed = 2 "removed" }
    /// What stands outside of accounts and is told to them.
    AnnouncedKind { User = 0 "user", AgentBot = 1 "agent_bot" }
    /// What a label stands on.
    SubjectKind { Conversation = 0 "conversation", Contact = 1 "contact" }
}
