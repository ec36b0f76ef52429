//! The targets: a parser and the tokens of its format each.

use parley::cli;
use tokio::runtime::Runtime;

/// A parser of untrusted input.
pub struct Target {
    /// The name of the target and of its corpus folder.
    pub name: &'static str,
    /// Parses an input.
    pub run: fn(&Runtime, &[u8]),
    /// Tokens of the format, which mutations insert.
    pub words: &'static [&'static [u8]],
}

const JSON: &[&[u8]] = &[
    b"{\"a\":",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"{\"\":0},",
    b"[0],",
    b"0,",
    b"1e999,",
    b"9007199254740993,",
    b"\"\\u0000\"",
    b"\"a\":",
    b"null",
    b"\\",
];

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "json",
        run: |_, input| parley_rest::fuzz::json(input),
        words: JSON,
    },
    Target {
        name: "forms",
        run: |_, input| parley_rest::fuzz::form(input),
        words: &[b"a[]=&", b"a[b]=1&", b"[", b"]", b"[b]", b"[]", b"&", b"=", b"%00", b"%5B%5D"],
    },
    Target {
        name: "multipart",
        run: |runtime, input| runtime.block_on(parley_rest::fuzz::multipart(input)),
        words: &[
            b"--x\r\n",
            b"--x--\r\n",
            b"\r\n",
            b"\r\n\r\n",
            b"Content-Disposition: form-data; name=\"a[]\"",
            b"; filename=\"b\"",
            b"Content-Type: text/plain\r\n",
            b"--",
        ],
    },
    Target {
        name: "cable",
        run: |_, input| parley_rest::fuzz::cable_frame(input),
        words: &[
            b"{\"command\":\"subscribe\",\"identifier\":\"",
            b"\\\"",
            b"\"}",
            b"{",
            b"[",
            b"\"channel\":\"RoomChannel\"",
            b"\"data\":",
        ],
    },
    Target {
        name: "filters",
        run: |_, input| {
            if let Some(filter) = parley_rest::fuzz::filter(input) {
                parley_grpc::fuzz::filter(&filter);
            }
            parley_grpc::fuzz::filter(input);
        },
        words: &[
            b"{\"payload\":[",
            b"{\"attribute_key\":\"status\",\"filter_operator\":\"equal_to\",\"values\":[",
            b"],\"query_operator\":\"AND\"},",
            b"]}",
            b"0,",
            b"\"open\",",
            b"{\"\":0},",
        ],
    },
    Target {
        name: "cursors",
        run: |_, input| parley_grpc::fuzz::cursor(input),
        words: &[b"\x01", b"\xff", b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"],
    },
    Target {
        name: "page_tokens",
        run: |_, input| parley_grpc::fuzz::page_token(input),
        words: &[
            b"\0\0\0\0\0\0\0\0\0\0\0\0",
            b"\x03\x01",
            b"\x03\xff",
            b"\x01\0\0\0\0\0\0\0\x01",
            b"\x02\0\0\0\x01a",
            b"\0",
        ],
    },
    Target {
        name: "attributes",
        run: |_, input| parley_grpc::fuzz::attributes(input),
        // Field 9, `custom_attributes`; an entry; empty values; a list of values.
        words: &[
            b"\x4a\x06",
            b"\x0a\x04\x0a\x01a\x12\0",
            b"\x0a\0",
            b"\x32\x02",
            b"\x2a\x02",
            b"\x1a\x01x",
            b"\x11\0\0\0\0\0\0\xf0\x7f",
        ],
    },
    Target {
        name: "compat",
        run: |_, input| cli::compat_fuzz::file(input),
        words: &[
            b"\n",
            b"\" 200 ",
            b"\"GET /api/v1/accounts/1/contacts?page=2 HTTP/1.1\"",
            b"{\"log\":{\"entries\":[",
            b"{\"request\":{\"method\":\"GET\",\"url\":\"",
            b"]}}",
            b"method=POST path=/api/v1/ status=422",
            b"Started GET \"/",
            b"Completed 200 OK in 5ms",
            b"[0b8a4d2e-6c1f-4a53-9d7e-2f1c3b5a7d90] ",
            b"\\x22",
            b"%",
            b"\x1f\x8b\x08",
            b"        ",
        ],
    },
    Target {
        name: "templates",
        run: |_, input| parley_domain::messages::liquid::fuzz::template(input),
        words: &[
            b"{{contact.name}}",
            b"{{ contact.custom_attribute.long | upcase | truncate: 5 }}",
            b"{% if contact.email %}",
            b"{% elsif contact.name == 'a' %}",
            b"{% endif %}",
            b"{% case contact.name %}{% when 'a' %}",
            b"{% raw %}",
            b"{% endraw %}",
            b"{{-",
            b"-}}",
            b"a[",
            b"]",
            b" | default: ",
            b"'",
            b"`",
            b"                                ",
            b"9999999999",
        ],
    },
];
