//! Liquid templates in outgoing and automatic messages. A template can insert values of the contact, the agent, the conversation, the inbox
//! and the account.
//!
//! The language is restricted to constructs whose output cannot grow much: no loops, no assignments, no includes, and only filters whose
//! output is about as long as their input. A template that cannot be rendered is sent unchanged, as in Chatwoot.
//!
//! Callers write templates, so the CPU time for rendering is bounded: `segments` limits what the library parses, and rendering runs only on
//! compute pools. Messages from callers are rendered before they are queued for the writer. The templates of automatic messages become
//! known only while a batch is planned. The writer shard does not render them itself, but waits for a compute pool to do so, for at most
//! `BUDGET` per batch.

use std::{
    borrow::Cow,
    collections::HashMap,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use liquid::{Parser, ParserBuilder, Template};
use liquid_lib::stdlib;
use parley_compute::{Cancel, ComputePool, Rejected};
use parley_fault::Protection;
use parley_storage::{
    entity::contact,
    joined::{Conversation, Sender},
};
use parley_types::{
    error::{Error, Result, Rule},
    id::{ContactId, ConversationId},
};
use serde_json::{Map, Value as Json, json};

use crate::write::texts::{RenderedTexts, TextRequest};

pub(crate) mod dry_run;
#[cfg(feature = "faults")]
pub mod fuzz;
mod segments;

use segments::{Fault, literal_name};

/// The maximum number of characters of a rendered template, which is also the limit for message content without templates.
const CONTENT: usize = 150_000;
/// The maximum number of segments of a path such as `contact.custom_attribute.plan`.
const DEPTH: usize = 8;
/// The maximum size of custom attributes, in bytes of JSON, that a template can use. Maps that were stored before their size was limited
/// can be larger.
const ATTRIBUTE_BYTES: usize = 256 * 1024;

/// The pool that renders templates in callers' messages and checks templates in inbox settings.
static MESSAGES: ComputePool = ComputePool::new("template", 2, 256);
/// The pool that renders automatic messages. It is separate, so that callers cannot fill its queue with their templates.
static AUTOMATIC: ComputePool = ComputePool::new("automatic text", 2, 64);

/// The maximum time for a caller's templates, including the time in the queue. The deadline of the call can be earlier.
const MESSAGE_BUDGET: Duration = Duration::from_secs(5);
/// How long a writer shard waits for the automatic messages of a batch. Rendering one takes well below a millisecond, so the wait times out
/// only if the host is overloaded, in which case the templates are stored unrendered. The limit is longer in debug builds, which are slow
/// and often run on busy test hosts.
const BUDGET: Duration = Duration::from_millis(if cfg!(debug_assertions) { 10_000 } else { 250 });

/// Returns whether a string contains Liquid tags.
pub fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

/// Renders a caller's templates and returns the texts in the same order, with `None` for a template that cannot be rendered. Cancel safe.
///
/// # Errors
/// [`Error::Busy`] if too many templates are being rendered, because a valid template must not be sent unrendered.
pub async fn render(requests: Vec<TextRequest>) -> Result<Vec<Option<String>>> {
    let done = MESSAGES.run(MESSAGE_BUDGET, move |cancel| {
        let mut done = Vec::with_capacity(requests.len());
        let finished = render_each(requests, cancel, |_, text| done.push(text));
        finished.then_some(done)
    });
    match done.await {
        Ok(Some(done)) => Ok(done),
        Ok(None) => Err(Rejected::TimedOut("template").into()),
        Err(rejected) => Err(rejected.into()),
    }
}

/// Renders the templates of automatic messages, as many as `BUDGET` allows. The others are missing from the result.
pub async fn render_automatic(requests: Vec<TextRequest>) -> RenderedTexts {
    let count = requests.len();
    let done: Arc<Mutex<RenderedTexts>> = Arc::default();
    let filled = Arc::clone(&done);
    let run = AUTOMATIC.run(BUDGET, move |cancel| {
        render_each(requests, cancel, |key, text| {
            filled.lock().unwrap_or_else(PoisonError::into_inner).insert(key, text);
        })
    });
    let outcome = run.await;
    let done = std::mem::take(&mut *done.lock().unwrap_or_else(PoisonError::into_inner));
    if outcome != Ok(true) {
        tracing::warn!(
            count,
            rendered = done.len(),
            ?outcome,
            "some automatic messages were not rendered in time; storing their templates unrendered"
        );
    }
    done
}

/// Checks a template in an inbox setting. A value without Liquid tags is accepted without parsing.
///
/// # Errors
/// [`Error::Invalid`], naming `field`, if the template is invalid; [`Error::Busy`] if too many templates are being rendered.
pub async fn check(field: &str, text: Option<&str>) -> Result<()> {
    let Some(text) = text.filter(|text| is_template(text)).map(str::to_owned) else {
        return Ok(());
    };
    let checked = MESSAGES.run(MESSAGE_BUDGET, move |_| Compiled::new(&text).map(drop)).await?;
    checked.map_err(|fault| Error::invalid(field, Rule::Invalid, fault))
}

/// Renders the templates and passes each result to `put`. Returns whether all were rendered before the job was cancelled.
fn render_each(requests: Vec<TextRequest>, cancel: &Cancel, mut put: impl FnMut((ConversationId, String), Option<String>)) -> bool {
    // A template that several requests share, such as a greeting or the message of a campaign, is parsed once.
    let mut compiled: HashMap<String, Option<Compiled>> = HashMap::new();
    for request in requests {
        if cancel.is_cancelled() {
            return false;
        }
        let TextRequest {
            text,
            conversation,
            sender,
        } = request;
        let template = compiled.entry(text.clone()).or_insert_with(|| Compiled::new(&text).ok());
        let rendered = template
            .as_ref()
            .and_then(|template| template.fill(drops(&conversation, sender.as_ref(), &template.source)));
        put((conversation.row.id, text), rendered);
    }
    true
}

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

/// Returns the variables that a template can use, with Chatwoot's names. Custom attributes are omitted if the template does not name them.
fn drops(conversation: &Conversation, sender: Option<&Sender>, template: &str) -> Map<String, Json> {
    let attributes = |attributes: &Json| {
        let named = template.contains("custom_attribute") && json_bytes(attributes) <= ATTRIBUTE_BYTES;
        if named { attributes.clone() } else { json!({}) }
    };
    let contact = known_contact(conversation);
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
    who.insert("custom_attribute".to_owned(), attributes(&contact.custom_attributes));
    let about = json!({
        "id": conversation.row.id.0,
        "display_id": conversation.row.id.0,
        "contact_name": who.get("name"),
        "custom_attribute": attributes(&conversation.row.custom_attributes),
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

/// Returns the contact's data as far as the session may see it, because rendered messages are sent to the session. Anyone can submit any
/// e-mail address. Therefore, a session whose identity is confirmed neither by a signature nor by a member receives only the data that it
/// submitted itself, not the stored data of the contact with that address.
fn known_contact(conversation: &Conversation) -> Cow<'_, contact::Model> {
    let (contact, session) = (&conversation.contact.row, &conversation.session);
    if session.is_vouched_for() || !parley_fault::is_on(Protection::VisitorView) {
        return Cow::Borrowed(contact);
    }
    let submitted = session.submitted.clone().unwrap_or_default();
    Cow::Owned(contact::Model {
        id: ContactId(session.shown_contact_id()),
        name: submitted.name.unwrap_or_default(),
        email: submitted.email,
        phone_number: submitted.phone_number,
        identifier: submitted.identifier,
        custom_attributes: Json::Object(submitted.custom_attributes),
        avatar_url: submitted.avatar_url.unwrap_or_default(),
        ..contact::Model::new(contact.account_id, contact.created_at, contact.version)
    })
}

/// Splits a name into the parts that templates use, each word with a capital first letter, as in Chatwoot.
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

/// Returns the size of a value as JSON text, in bytes.
fn json_bytes(value: &Json) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // `Count` only counts the bytes written to it, so writing cannot fail.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

/// A parsed template and the literal text that was cut out of it.
struct Compiled {
    template: Template,
    /// The template text, with a variable in place of each piece of literal text.
    source: String,
    literals: Vec<String>,
}

impl Compiled {
    fn new(text: &str) -> Result<Self, Fault> {
        debug_assert!(cfg!(test) || parley_compute::is_worker(), "templates are parsed on a compute pool");
        let segments = segments::split(text)?;
        // A panic in the Liquid library counts as an invalid template.
        let parsed = catch_unwind(AssertUnwindSafe(|| PARSER.as_ref()?.parse(&segments.template).ok()));
        Ok(Self {
            template: parsed.ok().flatten().ok_or("must be a Liquid template")?,
            source: segments.template,
            literals: segments.literals,
        })
    }

    /// Renders the template. Returns `None` if rendering fails or the result is too long.
    fn fill(&self, mut drops: Map<String, Json>) -> Option<String> {
        debug_assert!(
            cfg!(test) || parley_compute::is_worker(),
            "templates are rendered on a compute pool"
        );
        for word in self.source.split(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '-' | '.')) {
            name(&mut drops, word);
        }
        for (nth, literal) in self.literals.iter().enumerate() {
            drops.insert(literal_name(nth), Json::String(literal.clone()));
        }
        let drops = liquid::to_object(&drops).ok()?;
        let mut out = Limited(Vec::new());
        let rendered = catch_unwind(AssertUnwindSafe(|| self.template.render_to(&mut out, &drops).ok()));
        rendered.ok().flatten()?;
        String::from_utf8(out.0).ok().filter(|text| text.chars().count() <= CONTENT)
    }
}

/// Adds an empty object for every missing variable along a path, because the Liquid library rejects the whole template if a variable is
/// missing.
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

/// A writer that fails once the output exceeds the number of bytes that the longest valid content can have.
struct Limited(Vec<u8>);

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > CONTENT * 4 {
            return Err(io::Error::other("the rendered text is too long"));
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
        Compiled::new(text).ok()?.fill(drops)
    }

    #[test]
    fn variables_are_rendered() {
        let cases = [
            ("Dear {{contact.name}}", "Dear Asha Rao"),
            ("{{ contact.first_name }}/{{contact.last_name | upcase}}", "Asha/RAO"),
            ("{{contact.custom_attribute.plan}}", "gold"),
            ("[{{contact.email}}{{contact.nothing.at.all}}{{who}}]", "[]"),
            ("{{contact.email | default: 'none'}}", "none"),
            ("{% if contact.custom_attribute.plan == 'gold' %}VIP{% else %}-{% endif %}", "VIP"),
            ("`{{contact.name}}` is {{contact.name}}", "`{{contact.name}}` is Asha Rao"),
            ("{% case contact.name %} {% when 'Asha Rao' %}A{% else %}B{% endcase %}", "A"),
            (
                "{% raw %}{{contact.name}}{% endraw %} {%- comment -%} {{x}} {%- endcomment -%} !",
                "{{contact.name}}!",
            ),
            ("{{\tcontact.name }}", "Asha Rao"),
        ];
        for (text, expected) in cases {
            assert_eq!(filled(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn invalid_or_unbounded_templates_are_not_rendered() {
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

    #[test]
    fn hostile_templates_stop_within_bounded_steps() {
        let long = |text: &str| text.repeat(150_000 / text.len());
        let deep = |count: usize| format!("{{{{ {}a{} }}}}", "a[".repeat(count), "]".repeat(count));
        for text in [
            deep(3187),
            long("{{"),
            long("{%"),
            long("{{a}}"),
            long("`{{"),
            long("{{'"),
            long("{% if a %}"),
            long("{% comment %}"),
            long("{% raw %}{%"),
            format!("{{% raw %}}{}", long("{%   ")),
            format!("{{{{ a{} }}}}", long(" ")),
            format!("{{% if {} a %}}{{% endif %}}", "a or ".repeat(30_000)),
        ] {
            assert_eq!(filled(&text), None, "{}", &text[..60]);
        }
        let spaces = format!("{}{{{{contact.name}}}}", " ".repeat(149_000));
        assert_eq!(filled(&spaces).map(|text| text.len()), Some(149_008));
        let elsif = format!("{{% if no %}}{}{{% endif %}}", "{% elsif no %}".repeat(98));
        assert_eq!(filled(&elsif).as_deref(), Some(""));
    }

    proptest! {
        #[test]
        fn rendered_text_stays_within_the_limit(
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
        fn text_without_braces_is_unchanged(text in "[^{}`]{0,80}") {
            prop_assert_eq!(filled(&text), Some(text));
        }
    }
}
