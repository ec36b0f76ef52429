//! Splits a template into literal text and tags before the Liquid library parses it. Splitting has no side effects, takes time linear in
//! the length of the template, and does not recurse.
//!
//! The library's parser takes quadratic time for runs of white space, recurses into brackets and blocks, and has no limits. Therefore, the
//! library never receives literal text: each piece of it is replaced by a variable (`{{__0}}`), and the number, size and nesting of the
//! remaining tags are bounded.

use parley_fault::Protection;

/// The maximum number of tags (outputs and blocks) in a template.
const TAGS: usize = 250;
/// The maximum number of block tags (`{% … %}`) in a template. It is limited because the Liquid library recurses into each `elsif`.
const BLOCK_TAGS: usize = 100;
/// The maximum size of one tag in bytes.
const TAG_BYTES: usize = 1000;
/// The maximum total size of all tags in a template, in bytes.
const ALL_TAG_BYTES: usize = 16 * 1024;
/// The maximum number of filters in a template. It is limited because each filter copies its input.
const FILTERS: usize = 100;
/// The maximum number of digits in a number. It is limited because the Liquid library panics on integers that do not fit into an `i64`.
const DIGITS: usize = 18;
/// The maximum nesting depth of brackets within a tag.
const BRACKETS: usize = 8;
/// The maximum nesting depth of blocks.
const BLOCKS: usize = 16;

/// White space that `{{-` and `-}}` strip.
const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// The reason why a template cannot be rendered, as an error message that states what would be valid.
pub type Fault = &'static str;

/// A template whose literal text has been replaced by variables, together with the replaced text.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Segments {
    /// The tags, with a variable in place of each piece of literal text.
    pub template: String,
    /// The pieces of literal text; the variable of the first one is `__0`.
    pub literals: Vec<String>,
}

/// Returns the name of the variable that holds a piece of literal text.
pub fn literal_name(nth: usize) -> String {
    format!("__{nth}")
}

/// Splits a template into literal text and tags. Text between backticks is code, so its braces are literal.
///
/// # Errors
/// [`Fault`] if a tag is not closed or a limit is exceeded.
pub fn split(text: &str) -> Result<Segments, Fault> {
    let mut cutter = Cutter {
        text,
        at: 0,
        literal: String::new(),
        out: Segments::default(),
        counts: Counts::default(),
    };
    cutter.run()?;
    Ok(cutter.out)
}

struct Cutter<'t> {
    text: &'t str,
    at: usize,
    literal: String,
    out: Segments,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    tags: usize,
    block_tags: usize,
    bytes: usize,
    filters: usize,
    blocks: usize,
}

/// Returns `fault` as an error if `count` exceeds `limit`, unless a test has disabled the limits.
fn within(count: usize, limit: usize, fault: Fault) -> Result<(), Fault> {
    if count > limit && parley_fault::is_on(Protection::TemplateLimits) {
        Err(fault)
    } else {
        Ok(())
    }
}

impl Cutter<'_> {
    fn run(&mut self) -> Result<(), Fault> {
        let mut closes = true;
        while let Some(found) = self.text[self.at..].find(['`', '{']) {
            self.literal_until(self.at + found);
            let rest = &self.text[self.at..];
            if let Some(inside) = rest.strip_prefix('`') {
                // If there is no closing backtick, there is none after a later backtick either, so search only once. Otherwise many
                // backticks would make the search quadratic.
                let end = if closes { inside.find('`') } else { None };
                closes = end.is_some();
                self.literal_until(self.at + end.map_or(1, |end| end + 2));
            } else if rest.starts_with("{{") {
                self.tag("}}")?;
            } else if rest.starts_with("{%") {
                self.tag("%}")?;
            } else {
                self.literal_until(self.at + 1);
            }
        }
        self.literal_until(self.text.len());
        self.flush();
        Ok(())
    }

    fn literal_until(&mut self, end: usize) {
        self.literal.push_str(&self.text[self.at..end]);
        self.at = end;
    }

    fn flush(&mut self) {
        if !self.literal.is_empty() {
            self.out.template.push_str("{{");
            self.out.template.push_str(&literal_name(self.out.literals.len()));
            self.out.template.push_str("}}");
            self.out.literals.push(std::mem::take(&mut self.literal));
        }
    }

    /// Reads the tag that starts at the current position.
    fn tag(&mut self, closing: &str) -> Result<(), Fault> {
        let rest = &self.text[self.at + 2..];
        let tag = Tag::read(rest, closing)?;
        self.at += 2 + tag.bytes;
        self.counts.tags += 1;
        self.counts.bytes += tag.content.len();
        self.counts.filters += tag.filters;
        within(self.counts.tags, TAGS, "must have at most 250 tags")?;
        within(self.counts.bytes, ALL_TAG_BYTES, "must have at most 16384 bytes in tags")?;
        within(self.counts.filters, FILTERS, "must have at most 100 filters")?;
        if tag.strips_before {
            self.literal.truncate(self.literal.trim_end_matches(SPACE).len());
        }
        if tag.strips_after {
            self.skip_space();
        }
        if closing == "}}" {
            self.flush();
            self.out.template.push_str("{{ ");
            self.out.template.push_str(&tag.content);
            self.out.template.push_str(" }}");
            return Ok(());
        }
        self.counts.block_tags += 1;
        within(self.counts.block_tags, BLOCK_TAGS, "must have at most 100 block tags")?;
        match tag.content.split(' ').next().unwrap_or_default() {
            "raw" => self.raw(),
            "comment" => self.comment(),
            name => {
                match name {
                    "if" | "unless" | "case" => self.counts.blocks += 1,
                    "endif" | "endunless" | "endcase" => self.counts.blocks = self.counts.blocks.saturating_sub(1),
                    _ => {}
                }
                within(self.counts.blocks, BLOCKS, "must nest blocks at most 16 levels deep")?;
                self.flush();
                self.out.template.push_str("{% ");
                self.out.template.push_str(&tag.content);
                self.out.template.push_str(" %}");
                Ok(())
            }
        }
    }

    fn skip_space(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches(SPACE).len();
    }

    /// Copies everything up to the end of a `raw` block as literal text.
    fn raw(&mut self) -> Result<(), Fault> {
        let end = self.end_tag(&["endraw"])?;
        self.literal_until(end.start);
        if end.strips_before {
            self.literal.truncate(self.literal.trim_end_matches(SPACE).len());
        }
        self.leave(&end);
        Ok(())
    }

    /// Skips everything up to the end of a `comment` block.
    fn comment(&mut self) -> Result<(), Fault> {
        let mut open = 1_usize;
        while open > 0 {
            let end = self.end_tag(&["comment", "endcomment"])?;
            open = if end.name == "comment" { open + 1 } else { open - 1 };
            self.leave(&end);
        }
        Ok(())
    }

    /// Moves the current position to the end of an end tag.
    fn leave(&mut self, tag: &EndTag) {
        self.at = tag.end;
        if tag.strips_after {
            self.skip_space();
        }
    }

    /// Finds the next block tag that contains nothing but one of the given names.
    fn end_tag(&self, names: &[&'static str]) -> Result<EndTag, Fault> {
        let mut from = self.at;
        while let Some(found) = self.text[from..].find("{%") {
            let start = from + found;
            let rest = &self.text[start + 2..];
            let inner = rest.strip_prefix('-').unwrap_or(rest).trim_start_matches(SPACE);
            for name in names {
                let Some(after) = inner.strip_prefix(name) else { continue };
                let after = after.trim_start_matches(SPACE);
                let unstripped = after.strip_prefix('-').unwrap_or(after);
                if let Some(rest_of_text) = unstripped.strip_prefix("%}") {
                    return Ok(EndTag {
                        name,
                        start,
                        end: self.text.len() - rest_of_text.len(),
                        strips_before: rest.starts_with('-'),
                        strips_after: after.starts_with('-'),
                    });
                }
            }
            // Skipped white space contains no tag: continue after it, so that each byte is examined a bounded number of times.
            from = self.text.len() - inner.len();
        }
        Err("must close every block")
    }
}

/// A tag that ends a `raw` or `comment` block, whose content is not parsed.
struct EndTag {
    name: &'static str,
    start: usize,
    end: usize,
    strips_before: bool,
    strips_after: bool,
}

/// A tag, without its braces.
struct Tag {
    /// The content, with runs of white space replaced by single spaces.
    content: String,
    /// The tag's length in bytes, including the closing braces but not the opening ones.
    bytes: usize,
    filters: usize,
    strips_before: bool,
    strips_after: bool,
}

impl Tag {
    fn read(text: &str, closing: &str) -> Result<Self, Fault> {
        let mut content = String::new();
        let (mut quote, mut depth, mut filters) = (None, 0_usize, 0);
        // The number of digits read so far of the number at the current position, or `None` within a name.
        let mut digits = Some(0_usize);
        for (at, letter) in text.char_indices() {
            if quote.is_none() && text[at..].starts_with(closing) {
                // `{{-` and `-}}` strip white space; a hyphen elsewhere is part of a name or a number.
                let strips_before = text.starts_with('-');
                let inner = content.strip_prefix('-').filter(|_| strips_before).unwrap_or(&content);
                let strips_after = text[..at].ends_with('-') && inner.ends_with('-');
                let inner = inner.strip_suffix('-').filter(|_| strips_after).unwrap_or(inner);
                return Ok(Self {
                    content: inner.trim_matches(SPACE).to_owned(),
                    bytes: at + closing.len(),
                    filters,
                    strips_before,
                    strips_after,
                });
            }
            within(at, TAG_BYTES, "must close every tag within 1000 bytes")?;
            digits = match letter {
                _ if quote.is_some() => Some(0),
                '0'..='9' => digits.map(|count| count + 1),
                letter if letter.is_alphabetic() || letter == '_' => None,
                _ => Some(0),
            };
            within(digits.unwrap_or(0), DIGITS, "must have at most 18 digits in a number")?;
            match (quote, letter) {
                (Some(open), letter) if open == letter => quote = None,
                (None, '\'' | '"') => quote = Some(letter),
                (None, '[' | '(') => depth += 1,
                (None, ']' | ')') => depth = depth.saturating_sub(1),
                (None, '|') => filters += 1,
                (None, letter) if SPACE.contains(&letter) => {
                    if !content.is_empty() && !content.ends_with(' ') {
                        content.push(' ');
                    }
                    continue;
                }
                (Some(_) | None, _) => {}
            }
            within(depth, BRACKETS, "must nest brackets at most 8 levels deep")?;
            content.push(letter);
        }
        Err("must close every tag")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The template with its literal text inserted in angle brackets.
    fn shown(text: &str) -> String {
        match split(text) {
            Ok(Segments { template, literals }) => {
                let named = literals.iter().enumerate();
                named.fold(template, |template, (nth, literal)| {
                    template.replace(&format!("{{{{{}}}}}", literal_name(nth)), &format!("<{literal}>"))
                })
            }
            Err(fault) => fault.to_owned(),
        }
    }

    #[test]
    fn separates_literal_text_from_tags() {
        let cases = [
            ("plain { text }", "<plain { text }>"),
            ("a{{b}}c", "<a>{{ b }}<c>"),
            ("a {{-  b | upcase\n -}} c", "<a>{{ b | upcase }}<c>"),
            ("{{ '}}' }}", "{{ '}}' }}"),
            ("a {{ -5 }} {{b-c -}} d", "<a >{{ -5 }}< >{{ b-c }}<d>"),
            ("`{{a}}` {{a}} `", "<`{{a}}` >{{ a }}< `>"),
            ("{% if a %}b{% endif %}", "{% if a %}<b>{% endif %}"),
            ("a{% raw %}{{b}} {% endif %} {%- endraw -%} c", "<a{{b}} {% endif %}c>"),
            ("a{%comment%}b{% comment %}c{% endcomment %}{{{% endcomment %}d", "<ad>"),
            ("{{a", "must close every tag"),
            ("{% raw %}a", "must close every block"),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn enforces_template_limits() {
        let nested = |open: &str, close: &str, count: usize| open.repeat(count) + "a" + &close.repeat(count);
        for (text, fits) in [
            (format!("{{{{ {} }}}}", nested("a[", "]", 8)), true),
            (format!("{{{{ {} }}}}", nested("a[", "]", 9)), false),
            (nested("{% if a %}", "{% endif %}", 16), true),
            (nested("{% if a %}", "{% endif %}", 17), false),
            ("{{a}}".repeat(250), true),
            ("{{a}}".repeat(251), false),
            (format!("{{{{ a{} }}}}", " | size".repeat(101)), false),
            (format!("{{{{ {} }}}}", "9".repeat(18)), true),
            (format!("{{{{ a | plus: -{} }}}}", "9".repeat(19)), false),
            (format!("{{{{ a{0} | append: '{0}' }}}}", "9".repeat(19)), true),
            (format!("{{{{ '{}' }}}}", "x".repeat(1000)), false),
            (format!("{{{{ '{}' }}}}", "x".repeat(900)).repeat(20), false),
            (format!("{{% if a %}}{}{{% endif %}}", "{% elsif a %}".repeat(99)), false),
            (format!("{}{{{{a}}}}", " ".repeat(150_000)), true),
        ] {
            assert_eq!(split(&text).is_ok(), fits, "{} bytes: {}", text.len(), &text[..text.len().min(60)]);
        }
    }
}
