//! Escapes caller-supplied text in human-readable output: log lines in text format, and the output of commands.

use std::fmt::{self, Write};

use parley_fault::Protection;
use tracing_subscriber::{
    field::RecordFields,
    fmt::{
        FormatFields,
        format::{DefaultFields, Writer},
    },
};

/// Whether a character can end a line, control a terminal, or reorder the text around it: control characters, line and paragraph
/// separators, and bidirectional text controls.
pub fn is_unsafe(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Writes text to `writer`, replacing unsafe characters with Rust escape sequences such as `\n` and `\u{1b}`.
///
/// # Errors
/// Returns any error from `writer`.
pub fn write(writer: &mut impl Write, text: &str) -> fmt::Result {
    for character in text.chars() {
        if is_unsafe(character) {
            write!(writer, "{}", character.escape_default())?;
        } else {
            writer.write_char(character)?;
        }
    }
    Ok(())
}

/// Like [`write()`], but returns a new string.
pub fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    // Writing to a String cannot fail.
    let _ = write(&mut line, text);
    line
}

/// Formats the fields of log lines, including the message, so that no value can begin a new line.
#[derive(Clone, Copy, Debug)]
pub struct EscapedFields;

impl<'writer> FormatFields<'writer> for EscapedFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut line = String::new();
        DefaultFields::new().format_fields(Writer::new(&mut line), fields)?;
        if !parley_fault::is_on(Protection::EscapedFields) {
            return writer.write_str(&line);
        }
        write(&mut writer, &line)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn unsafe_characters_are_escaped() {
        assert_eq!(escaped("a\n\u{1b}[2J\u{202e}b\u{9b}"), r"a\n\u{1b}[2J\u{202e}b\u{9b}");
        assert_eq!(escaped("Ünïcode – „quoted“ \\n"), "Ünïcode – „quoted“ \\n");
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn field_values_cannot_start_a_log_line() {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .fmt_fields(EscapedFields);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let name = "x\n2026 INFO parley::audit: administrative call\r\u{1b}[2J";
            let span = tracing::info_span!("call", %name);
            let _entered = span.enter();
            tracing::info!(who = %name, other = name, "said {name}");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
        assert!(!text.contains('\r') && !text.contains('\u{1b}'), "{text:?}");
        assert!(text.contains(r"x\n2026 INFO"), "{text:?}");
    }
}
