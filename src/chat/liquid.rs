//! Texts as Liquid templates: outgoing messages and automatic texts may name the contact, the agent and so on. Pure.
//!
//! The language is cut down to what cannot grow: no loops, no assignments, no includes, and only filters whose result is about as long
//! as what they are given. What cannot be rendered stays as it was sent, as in Chatwoot.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::LazyLock,
};

use liquid::{Parser, ParserBuilder};
use liquid_lib::stdlib;
use serde_json::{Map, Value as Json, json};

use crate::db::joined::{Conversation, Sender};

/// Characters that a rendered text may have, as any content.
const CONTENT: usize = 150_000;
/// Tags, and filters, in one text: each costs a level of the stack, or a copy.
const PARTS: usize = 100;
/// How deep a path such as `contact.custom_attribute.plan` may go.
const DEPTH: usize = 8;

static PARSER: LazyLock<Option<Parser>> = LazyLock::new(|| {
    let parser = ParserBuilder::new()
        .block(stdlib::IfBlock)
        .block(stdlib::UnlessBlock)
        .block(stdlib::CaseBlock)
        .block(stdlib::CommentBlock)
        .block(stdlib::RawBlock)
        .filter(stdlib::Default)
        .filter(stdlib::Upcase)
        .filter(stdlib::Downcase)
        .filter(stdlib::Capitalize)
        .filter(stdlib::Strip)
        .filter(stdlib::Lstrip)
        .filter(stdlib::Rstrip)
        .filter(stdlib::StripNewlines)
        .filter(stdlib::Truncate)
        .filter(stdlib::TruncateWords)
        .filter(stdlib::Size)
        .filter(stdlib::First)
        .filter(stdlib::Last);
    parser.build().ok()
});

/// The text with its variables filled in; none if there is nothing to fill in, or if it cannot be done.
pub fn render(text: &str, conversation: &Conversation, sender: Option<&Sender>) -> Option<String> {
    if !text.contains("{{") && !text.contains("{%") {
        return None;
    }
    fill(text, drops(conversation, sender))
}

/// What a text may name, in Chatwoot's words.
fn drops(conversation: &Conversation, sender: Option<&Sender>) -> Map<String, Json> {
    let contact = &conversation.contact.row;
    let agent = match sender {
        Some(Sender::User(user)) => {
            let mut agent = person(&user.name);
            agent.insert("available_name".to_owned(), json!(user.available_name()));
            agent.insert("email".to_owned(), json!(user.email));
            agent.insert("id".to_owned(), json!(user.id.0));
            agent
        }
        _ => Map::new(),
    };
    let mut who = person(&contact.name);
    who.insert("id".to_owned(), json!(contact.id.0));
    who.insert("email".to_owned(), json!(contact.email));
    who.insert("phone_number".to_owned(), json!(contact.phone_number));
    who.insert("custom_attribute".to_owned(), contact.custom_attributes.clone());
    let about = json!({
        "id": conversation.row.id.0,
        "display_id": conversation.row.id.0,
        "contact_name": who.get("name"),
        "custom_attribute": conversation.row.custom_attributes,
    });
    let mut drops = Map::new();
    drops.insert("contact".to_owned(), Json::Object(who));
    drops.insert("agent".to_owned(), Json::Object(agent));
    drops.insert("conversation".to_owned(), about);
    let inbox = json!({ "id": conversation.inbox.row.id.0, "name": conversation.inbox.row.name });
    drops.insert("inbox".to_owned(), inbox);
    let account = json!({ "id": conversation.account.id.0, "name": conversation.account.name });
    drops.insert("account".to_owned(), account);
    drops
}

/// A name in its parts, each with a capital letter, as Chatwoot tells it.
fn person(name: &str) -> Map<String, Json> {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map_or_else(String::new, |first| {
            first.to_uppercase().chain(letters.flat_map(char::to_lowercase)).collect()
        })
    };
    let words: Vec<String> = name.split_whitespace().map(capital).collect();
    let last = words.last().filter(|_| words.len() > 1);
    let mut person = Map::new();
    person.insert("name".to_owned(), json!(words.join(" ")));
    person.insert("first_name".to_owned(), json!(words.first()));
    person.insert("last_name".to_owned(), json!(last));
    person
}

fn fill(text: &str, mut drops: Map<String, Json>) -> Option<String> {
    if text.matches("{%").count() > PARTS || text.matches('|').count() > PARTS {
        return None;
    }
    let template = code_left_alone(text);
    for word in text.split(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '-' | '.')) {
        name(&mut drops, word);
    }
    let drops = liquid::to_object(&drops).ok()?;
    let mut out = Limited(Vec::with_capacity(text.len()));
    // A fault of the library must not end the lane of the writer that renders.
    let rendered = catch_unwind(AssertUnwindSafe(|| {
        let template = PARSER.as_ref()?.parse(&template).ok()?;
        template.render_to(&mut out, &drops).ok()
    }));
    rendered.ok().flatten()?;
    String::from_utf8(out.0).ok().filter(|text| text.chars().count() <= CONTENT)
}

/// Makes what is not known empty; the library would refuse the whole text.
fn name(drops: &mut Map<String, Json>, path: &str) {
    let mut at = drops;
    for part in path.split('.').take(DEPTH) {
        if part.is_empty() {
            return;
        }
        let value = at.entry(part).or_insert_with(|| Json::Object(Map::new()));
        if value.is_null() {
            *value = Json::Object(Map::new());
        }
        let Json::Object(inner) = value else { return };
        at = inner;
    }
}

/// Text between backticks is code and shows its braces.
fn code_left_alone(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('`') {
        let Some(length) = rest[start + 1..].find('`') else { break };
        let end = start + length + 2;
        out.push_str(&rest[..start]);
        out.push_str("{% raw %}");
        out.push_str(&rest[start..end]);
        out.push_str("{% endraw %}");
        rest = &rest[end..];
    }
    out + rest
}

/// Takes as many bytes as the longest content may have, and no more.
struct Limited(Vec<u8>);

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > CONTENT * 4 {
            return Err(io::Error::other("the text gets too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(text: &str) -> Option<String> {
        let mut drops = Map::new();
        drops.insert("contact".to_owned(), {
            let mut contact = person("asha RAO");
            contact.insert("email".to_owned(), Json::Null);
            contact.insert("custom_attribute".to_owned(), json!({"plan": "gold", "long": "x".repeat(2000)}));
            Json::Object(contact)
        });
        fill(text, drops)
    }

    #[test]
    fn variables_are_filled_in() {
        let cases = [
            ("Dear {{contact.name}}", "Dear Asha Rao"),
            ("{{ contact.first_name }}/{{contact.last_name | upcase}}", "Asha/RAO"),
            ("{{contact.custom_attribute.plan}}", "gold"),
            ("[{{contact.email}}{{contact.nothing.at.all}}{{who}}]", "[]"),
            ("{{contact.email | default: 'none'}}", "none"),
            ("{% if contact.custom_attribute.plan == 'gold' %}VIP{% else %}-{% endif %}", "VIP"),
            ("`{{contact.name}}` is {{contact.name}}", "`{{contact.name}}` is Asha Rao"),
        ];
        for (text, wanted) in cases {
            assert_eq!(filled(text).as_deref(), Some(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_or_could_grow_stays_as_sent() {
        let long = "{{contact.custom_attribute.long}}".repeat(400);
        let deep = "{% if contact %}".repeat(200) + &"{% endif %}".repeat(200);
        for text in [
            "{{contact.name",
            "{% if contact %}",
            "{% for i in (1..1000000000) %}x{% endfor %}",
            "{% assign a = 'b' %}",
            "{% include 'a' %}",
            "{{ 'a' | replace: 'a', 'aaaa' }}",
            &long,
            &deep,
        ] {
            assert_eq!(filled(text), None, "{}", &text[..text.len().min(60)]);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_rendered_within_the_limit_or_left(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "{{", "}}", "{%", "%}", "if", "endif", "case", "raw", "endraw", "contact.name", ".", "|", "upcase", "truncate: 3",
                "size", "`", " ", "'", "\"", "99999999999999999999", "-1", "é", "comment", "endcomment", "==", "[0]", "first",
            ]), 0..24)
        ) {
            let text = pieces.concat();
            if let Some(out) = filled(&text) {
                prop_assert!(out.chars().count() <= CONTENT);
            }
        }

        #[test]
        fn text_without_braces_stays(text in "[^{}`]{0,80}") {
            prop_assert_eq!(filled(&text), Some(text));
        }
    }
}
