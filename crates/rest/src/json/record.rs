//! The JSON representation of an account's records: labels, custom attribute definitions, canned responses and contact notes.

use parley_proto::{self as pb, CustomAttributeModel, CustomAttributeType};

use super::{
    agent::Agent,
    json_type::json_type,
    values::{Id, Name, Named},
};
use crate::params::timestamps::{Iso, Unix};

impl Named for CustomAttributeModel {
    const NAMES: &'static [(&'static str, Self)] = &[("conversation_attribute", Self::Conversation), ("contact_attribute", Self::Contact)];
}

impl Named for CustomAttributeType {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("text", Self::Text),
        ("number", Self::Number),
        ("currency", Self::Currency),
        ("percent", Self::Percent),
        ("link", Self::Link),
        ("date", Self::Date),
        ("list", Self::List),
        ("checkbox", Self::Checkbox),
    ];
}

json_type! {
    /// A label that agents set on contacts and conversations.
    pub struct Label(label: pb::Label) {
        id: Id = label.id.into(),
        /// Title of the label, unique in the account.
        title: String = label.title,
        description: Option<String> = label.description,
        /// Color of the label, as `#` and six hexadecimal digits.
        color: String = label.color,
        /// Whether front ends show the label in the sidebar.
        show_on_sidebar: Option<bool> = label.show_on_sidebar,
    }
}

json_type! {
    /// The definition of a custom attribute.
    pub struct CustomAttributeDefinition(definition: pb::CustomAttributeDefinition) {
        id: Id = definition.id.into(),
        /// Type of the attribute's values.
        attribute_display_type: Name<CustomAttributeType> = Name(definition.r#type()),
        /// Whether contacts or conversations have the attribute.
        attribute_model: Name<CustomAttributeModel> = Name(definition.model()),
        /// Name of the attribute, as front ends show it.
        attribute_display_name: String = definition.display_name,
        /// What the attribute is for.
        attribute_description: Option<String> = definition.description,
        /// Key of the attribute, as used in `custom_attributes`.
        attribute_key: String = definition.key,
        /// Regular expression that values of the attribute must match.
        regex_pattern: Option<String> = definition.regex_pattern,
        /// Hint to show for values that do not match `regex_pattern`.
        regex_cue: Option<String> = definition.regex_cue,
        /// Values that the attribute may have if its type is `list`.
        attribute_values: Vec<String> = definition.values,
        /// Always null; the key exists for compatibility with Chatwoot.
        default_value: () = (),
        created_at: Iso = definition.created_at.into(),
        updated_at: Iso = definition.updated_at.into(),
    }
}

json_type! {
    /// A prepared text that agents insert into messages by typing its short code.
    pub struct CannedResponse(response: pb::CannedResponse) {
        id: Id = response.id.into(),
        account_id: Id = response.account_id.into(),
        /// Code that agents type to insert the text.
        short_code: String = response.short_code,
        /// Text that replaces the short code.
        content: String = response.content,
        created_at: Iso = response.created_at.into(),
        updated_at: Iso = response.updated_at.into(),
    }
}

json_type! {
    /// A note about a contact.
    pub struct ContactNote(note: pb::ContactNote) {
        id: Id = note.id.into(),
        content: String = note.content,
        /// Always null; the key exists for compatibility with Chatwoot.
        account_id: () = (),
        /// Always null; the key exists for compatibility with Chatwoot.
        contact_id: () = (),
        #[serde(skip_serializing_if = "Option::is_none")] #[schemars(with = "Agent")]
        user: Option<Agent> = note.author.map(Agent::from),
        created_at: Unix = note.created_at.into(),
        updated_at: Unix = note.updated_at.into(),
    }
}
