//! Parses log lines that consist of words: `key=value` pairs as written by lograge and Heroku's router, and the lines that Rails itself
//! writes.

use std::collections::{HashMap, VecDeque};

use super::{
    access_log::{Line, status},
    call::Call,
};

/// Maximum number of requests whose completion has not been read yet. If there are more, the oldest are emitted without a status.
const MAX_OPEN: usize = 10_000;

/// Maximum total size in bytes of the lines that started the open requests. If it is exceeded, the oldest requests are emitted without a
/// status.
const MAX_OPEN_BYTES: usize = 16 * 1024 * 1024;

/// Maximum length in bytes of a log tag. Longer tags are ignored; the usual tag, a request ID, has 36 bytes.
const MAX_TAG_BYTES: usize = 200;

/// Parses a line of `key=value` words. Returns `None` if `method` or `path` is missing.
pub fn lograge(line: &str) -> Line {
    let value = |key: &str| {
        let mut words = line.split_ascii_whitespace().filter_map(|word| word.split_once('='));
        words.find(|(name, _)| *name == key).map(|(_, value)| value.trim_matches('"'))
    };
    let (Some(method), Some(path)) = (value("method"), value("path")) else {
        return Ok(None);
    };
    Call::new(method, path, value("status").and_then(status)).map(Some)
}

/// Reads Rails logs, in which one line starts a request and another completes it.
#[derive(Debug, Default)]
pub struct Rails {
    /// Requests that have started but not completed, keyed by the tag at the beginning of their log lines, usually the request ID. Without
    /// tags, only one request can be open at a time.
    open: HashMap<String, Open>,
    /// Tags in the order in which their requests started. Can include tags of requests that have completed.
    order: VecDeque<String>,
    /// Total size in bytes of the lines that started the open requests.
    bytes: usize,
}

/// A request that has started but not completed.
#[derive(Debug)]
struct Open {
    call: Call,
    /// Size in bytes of the line that started the request.
    bytes: usize,
}

/// The meaning of a Rails log line.
#[derive(Debug, PartialEq)]
enum Event<'a> {
    Started(&'a str, Call),
    Completed(&'a str, Option<u16>),
}

impl Rails {
    /// Reads a line. Passes completed calls to `emit`.
    ///
    /// # Errors
    /// Returns what is wrong with the line, if it starts a request but is malformed.
    pub fn line(&mut self, line: &str, emit: &mut dyn FnMut(Call)) -> Result<(), &'static str> {
        match event(line)? {
            None => {}
            Some(Event::Started(tag, call)) => {
                let bytes = line.len();
                self.bytes += bytes;
                if let Some(unfinished) = self.open.insert(tag.to_owned(), Open { call, bytes }) {
                    self.bytes -= unfinished.bytes;
                    emit(unfinished.call);
                } else {
                    self.order.push_back(tag.to_owned());
                }
                while self.open.len() > MAX_OPEN || self.bytes > MAX_OPEN_BYTES {
                    let Some(oldest) = self.order.pop_front() else { break };
                    if let Some(unfinished) = self.close(&oldest) {
                        emit(unfinished);
                    }
                }
            }
            Some(Event::Completed(tag, status)) => {
                if let Some(mut call) = self.close(tag) {
                    call.status = status;
                    emit(call);
                }
                // Requests complete roughly in the order in which they start, so the requests at the front of the queue have usually
                // completed.
                while self.order.front().is_some_and(|tag| !self.open.contains_key(tag)) {
                    self.order.pop_front();
                }
            }
        }
        // While a long request is at the front, completed requests behind it stay in the queue. Remove them before the queue outgrows the
        // map.
        if self.order.len() > 2 * MAX_OPEN {
            let open = &self.open;
            self.order.retain(|tag| open.contains_key(tag));
        }
        Ok(())
    }

    fn close(&mut self, tag: &str) -> Option<Call> {
        let Open { call, bytes } = self.open.remove(tag)?;
        self.bytes -= bytes;
        Some(call)
    }

    /// Emits the calls that were not completed.
    pub fn finish(self, emit: &mut dyn FnMut(Call)) {
        let Self { mut open, order, .. } = self;
        for tag in order {
            if let Some(unfinished) = open.remove(&tag) {
                emit(unfinished.call);
            }
        }
    }
}

/// Returns whether a line starts a request.
pub fn starts(line: &str) -> bool {
    matches!(event(line), Ok(Some(Event::Started(..))))
}

fn event(line: &str) -> Result<Option<Event<'_>>, &'static str> {
    if let Some((before, rest)) = line.split_once("Started ") {
        // `Started GET "/path" for 203.0.113.9 at …`
        if let Some((method, rest)) = rest.split_once(" \"")
            && let Some((target, _)) = rest.split_once("\" for ")
            && !method.contains(' ')
        {
            return Call::new(method, target, None).map(|call| Some(Event::Started(tag(before), call)));
        }
    } else if let Some((before, rest)) = line.split_once("Completed ") {
        let code = rest.split(' ').next().and_then(status);
        if code.is_some() {
            return Ok(Some(Event::Completed(tag(before), code)));
        }
    }
    Ok(None)
}

/// Returns the last tag in brackets if `before` ends with one; otherwise an empty string.
fn tag(before: &str) -> &str {
    let inner = before.trim_end().strip_suffix(']');
    inner
        .and_then(|inner| inner.rsplit('[').next())
        .filter(|tag| tag.len() <= MAX_TAG_BYTES)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_lograge() {
        for line in [
            "method=GET path=/api/v1/profile format=json controller=Api action=show status=200 duration=5.1",
            "I, [2026-11-30T07:46:40.1 #1]  INFO -- : [4f-1] method=GET path=/api/v1/profile format=json status=200",
            "at=info method=GET path=\"/api/v1/profile\" host=chat.example.org status=200 bytes=12",
        ] {
            let call = lograge(line).expect("it is read").expect("a call");
            assert_eq!((call.path.as_str(), call.status), ("/api/v1/profile", Some(200)), "{line}");
        }
        assert_eq!(lograge("a line of something else"), Ok(None));
        assert!(lograge("method=x path=/").is_err());
    }

    fn read(lines: &[&str]) -> Vec<(String, Option<u16>)> {
        let mut calls = Vec::new();
        let mut emit = |call: Call| calls.push((call.path, call.status));
        let mut rails = Rails::default();
        for line in lines {
            rails.line(line, &mut emit).expect("it is read");
        }
        rails.finish(&mut emit);
        calls
    }

    #[test]
    fn joins_start_and_end_of_a_request() {
        let read = read(&[
            r#"I, [2026-11-30T07:46:40.1 #1]  INFO -- : [aa-1] Started GET "/one?x=1" for 203.0.113.9 at 2026-11-30 07:46:40 +0000"#,
            r#"I, [2026-11-30T07:46:40.1 #1]  INFO -- : [bb-2] Started POST "/two" for 203.0.113.9 at 2026-11-30 07:46:40 +0000"#,
            r"I, [2026-11-30T07:46:40.1 #1]  INFO -- : [bb-2] Processing by Api::V1::ProfilesController#show as JSON",
            r#"I, [2026-11-30T07:46:40.1 #1]  INFO -- : [bb-2]   Parameters: {"a"=>"Started now"}"#,
            r"I, [2026-11-30T07:46:40.1 #1]  INFO -- : [bb-2] Completed 404 Not Found in 5ms (Views: 0.1ms)",
            r"I, [2026-11-30T07:46:40.1 #1]  INFO -- : [aa-1] Completed 200 OK in 5ms",
            r#"Started GET "/three" for ::1 at 2026-11-30"#,
            "Completed 201 Created in 1ms",
            r#"Started GET "/four" for ::1 at 2026-11-30"#,
        ]);
        let expected = [("/two", Some(404)), ("/one", Some(200)), ("/three", Some(201)), ("/four", None)];
        assert_eq!(read, expected.map(|(path, status)| (path.to_owned(), status)));
    }

    #[test]
    fn limits_unfinished_requests() {
        let mut calls = 0;
        let mut rails = Rails::default();
        rails
            .line("[first] Started GET \"/\" for ::1", &mut |_| calls += 1)
            .expect("it is read");
        for number in 0..5 * MAX_OPEN {
            let begin = format!("[{number}] Started GET \"/\" for ::1");
            rails.line(&begin, &mut |_| calls += 1).expect("it is read");
            if number % 2 == 0 {
                let end = format!("[{number}] Completed 200 OK");
                rails.line(&end, &mut |_| calls += 1).expect("it is read");
            }
            assert!(rails.open.len() <= MAX_OPEN && rails.order.len() <= 2 * MAX_OPEN);
        }
        rails.finish(&mut |_| calls += 1);
        assert_eq!(calls, 5 * MAX_OPEN + 1);
    }

    #[test]
    fn limits_bytes_of_unfinished_requests() {
        let (mut calls, mut rails) = (0, Rails::default());
        let long = "x".repeat(60_000);
        for number in 0..1000 {
            let begin = format!("[{number}] Started GET \"/{long}\" for ::1");
            rails.line(&begin, &mut |_| calls += 1).expect("it is read");
            assert!(rails.bytes <= MAX_OPEN_BYTES);
        }
        assert!(calls > 700 && rails.open.len() + calls == 1000, "{calls}");
        rails.finish(&mut |_| calls += 1);
        assert_eq!(calls, 1000);
        // A tag that is too long is not kept.
        let mut rails = Rails::default();
        let begin = format!("[{long}] Started GET \"/\" for ::1");
        rails.line(&begin, &mut |_| {}).expect("it is read");
        assert!(rails.open.contains_key(""));
    }

    proptest! {
        #[test]
        fn arbitrary_input_does_not_panic(lines in proptest::collection::vec("(\\[a\\] )?(Started GET \"|Completed )?\\PC{0,80}", 0..20)) {
            let mut rails = Rails::default();
            for line in &lines {
                let _ = rails.line(line, &mut |_| {});
                let _ = lograge(line);
            }
            rails.finish(&mut |_| {});
        }
    }
}
