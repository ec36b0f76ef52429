//! Parses log lines that contain the request in quotes: the common and combined formats of nginx and Apache, and the access logs of AWS
//! load balancers.

use super::call::Call;

/// The result of parsing a line: a call, `None` if the line is valid but contains no call, or a description of what is wrong.
pub type Line = Result<Option<Call>, &'static str>;

/// Splits a line at its first quoted string. Returns the text before the string, the string's content and the text after it, or `None` if
/// there is no quoted string. A backslash escapes the next character.
fn split_quoted(line: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = line.split_once('"')?;
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some((before, &rest[..at], &rest[at + 1..])),
            _ => {}
        }
    }
    None
}

/// Parses an HTTP status, which must have three digits.
pub fn status(text: &str) -> Option<u16> {
    (text.len() == 3)
        .then(|| text.parse().ok())?
        .filter(|status| (100..600).contains(status))
}

/// Parses a line in the common or combined format: `… [time] "GET /path HTTP/1.1" 200 …`.
pub fn combined(line: &str) -> Line {
    let (before, request, after) = split_quoted(line).ok_or("no request in quotes")?;
    if !before.trim_end().ends_with(']') {
        return Err("no time in brackets before the request");
    }
    let status = after
        .split_ascii_whitespace()
        .next()
        .and_then(status)
        .ok_or("no status after the request")?;
    Call::of_request_line(request, Some(status)).map(Some)
}

/// Parses a line from an AWS application load balancer, whose fields are type, time, name, client, target, three durations, two statuses,
/// two sizes and the request.
pub fn load_balancer(line: &str) -> Line {
    let (before, request, _) = split_quoted(line).ok_or("no request in quotes")?;
    let fields: Vec<&str> = before.split_ascii_whitespace().take(13).collect();
    let is_known = fields
        .first()
        .is_some_and(|kind| ["http", "https", "h2", "grpcs", "ws", "wss"].contains(kind));
    let &[_, _, _, _, _, _, _, _, balancer_status, target_status, _, _] = fields.as_slice() else {
        return Err("fewer or more than twelve fields before the request");
    };
    if !is_known {
        return Err("the first field is not a request type");
    }
    // If no target responded, the load balancer itself generated an error response, whose status is in a separate field.
    let status = status(target_status).or_else(|| status(balancer_status));
    Call::of_request_line(request, status).map(Some)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(line: Line) -> (String, String, Option<u16>) {
        let call = line.expect("it is read").expect("a call");
        (call.method.to_string(), call.path, call.status)
    }

    #[test]
    fn reads_common_and_combined() {
        for line in [
            r#"203.0.113.9 - - [30/Nov/2026:07:46:40 +0000] "GET /api/v1/profile HTTP/1.1" 200 612"#,
            r#"203.0.113.9 - frank [30/Nov/2026:07:46:40 +0000] "GET /api/v1/profile?x=\"y HTTP/2.0" 200 612 "-" "Mozilla \"x\"""#,
            r#"chat.example.org:443 203.0.113.9 - - [30/Nov/2026:07:46:40 +0000] "GET /api/v1/profile HTTP/1.1" 200 1 "-" "-" 0.003"#,
            r#"web-1  | 203.0.113.9 - - [30/Nov/2026:07:46:40 +0000] "GET /api/v1/profile HTTP/1.1" 200 -"#,
        ] {
            assert_eq!(
                read(combined(line)),
                ("GET".to_owned(), "/api/v1/profile".to_owned(), Some(200)),
                "{line}"
            );
        }
        for line in [
            "",
            "nothing",
            r#""GET / HTTP/1.1" 200"#,
            r#"1.2.3.4 - - [x] "GET / HTTP/1.1" 20000"#,
            r#"1.2.3.4 - - [x] "GET / HTTP/1.1"#,
            r#"1.2.3.4 - - [x] "\x16\x03\x01" 400 150"#,
            r#"1.2.3.4 - - [x] "" 400 0"#,
        ] {
            assert!(combined(line).is_err(), "{line}");
        }
    }

    #[test]
    fn reads_load_balancer_logs() {
        let line = r#"https 2026-11-30T07:46:40.186641Z app/chat/50dc6c495c0c9188 203.0.113.9:2817 10.0.0.1:3000 0.086 0.048 0.037 200 404 0 57 "POST https://chat.example.org:443/api/v1/accounts/1/contacts?a=b HTTP/1.1" "curl/7.46.0" ECDHE TLSv1.2"#;
        assert_eq!(
            read(load_balancer(line)),
            ("POST".to_owned(), "/api/v1/accounts/1/contacts".to_owned(), Some(404))
        );
        let unanswered = line.replace("200 404", "502 -");
        assert_eq!(read(load_balancer(&unanswered)).2, Some(502));
        assert!(load_balancer(&line.replace(" 0.086", "")).is_err());
        assert!(load_balancer(&line.replace("https 2026", "x 2026")).is_err());
        assert!(combined(line).is_err(), "the formats are distinguished");
    }

    proptest! {
        #[test]
        fn arbitrary_input_does_not_panic(line in "\\PC{0,300}") {
            let _ = combined(&line);
            let _ = load_balancer(&line);
        }

        #[test]
        fn combined_lines_round_trip(path in "/[a-zA-Z0-9/._~%-]{0,60}", status in 100_u16..600, agent in "[^\"\\\\\\PC]{0,40}") {
            let line = format!("10.0.0.1 - - [30/Nov/2026:07:46:40 +0000] \"GET {path} HTTP/1.1\" {status} 5 \"-\" \"{agent}\"");
            prop_assert_eq!(read(combined(&line)), ("GET".to_owned(), path, Some(status)));
        }
    }
}
