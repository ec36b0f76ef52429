//! Conversions between the enums in database rows and the enums in the contract, by the names of their variants.

use parley_types::kind;

use crate as pb;

macro_rules! matching {
    ($($row:ident = $wire:ident { $($variant:ident = $spelled:ident),+ $(,)? })+) => {$(
        impl From<kind::$row> for pb::$wire {
            fn from(row: kind::$row) -> Self {
                match row { $(kind::$row::$variant => Self::$spelled),+ }
            }
        }

        impl pb::$wire {
            /// Returns the enum value for a database row, or `None` for `Unspecified`.
            pub fn to_row(self) -> Option<kind::$row> {
                match self {
                    Self::Unspecified => None,
                    $(Self::$spelled => Some(kind::$row::$variant)),+
                }
            }
        }
    )+};
}

matching! {
    AccountStatus = AccountStatus { Active = Active, Suspended = Suspended, Deleted = Deleted }
    TokenKind = TokenKind { User = User, Service = Service, Platform = Platform, AgentBot = AgentBot }
    Role = Role { Agent = Agent, Administrator = Administrator }
    Availability = Availability { Online = Online, Offline = Offline, Busy = Busy }
    SenderNameType = SenderNameType { Friendly = Friendly, Professional = Professional }
    ConversationStatus = ConversationStatus { Open = Open, Resolved = Resolved, Pending = Pending, Snoozed = Snoozed }
    Priority = ConversationPriority { Low = Low, Medium = Medium, High = High, Urgent = Urgent }
    MessageType = MessageType { Incoming = Incoming, Outgoing = Outgoing, Activity = Activity, Template = Template }
    ContentType = ContentType {
        Text = Text, InputText = InputText, InputTextarea = InputTextarea, InputEmail = InputEmail,
        InputSelect = InputSelect, Cards = Cards, Form = Form, Article = Article, IncomingEmail = IncomingEmail,
        InputCsat = InputCsat, Integrations = Integrations, Sticker = Sticker, VoiceCall = VoiceCall,
    }
    AttributeModel = CustomAttributeModel { Conversation = Conversation, Contact = Contact }
    AttributeType = CustomAttributeType {
        Text = Text, Number = Number, Currency = Currency, Percent = Percent, Link = Link, Date = Date, List = List,
        Checkbox = Checkbox,
    }
    MessageStatus = MessageStatus { Sent = Sent, Delivered = Delivered, Read = Read, Failed = Failed }
    SenderType = SenderType { Contact = Contact, User = User, AgentBot = AgentBot }
    AttachmentType = AttachmentType {
        Image = Image, Audio = Audio, Video = Video, File = File, Location = Location, Fallback = Fallback,
        Share = Share, StoryMention = StoryMention, Contact = Contact, IgReel = IgReel,
    }
}
