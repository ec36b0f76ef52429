//! Reads HAR 1.2 files (requests with bodies, as recorded by browsers and proxies), entry by entry.
//!
//! Response bodies, headers and cookies are skipped while reading. The size of an entry is limited; the size of the file is not.

use std::{cell::Cell, fmt, io, rc::Rc};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value as Json};

use super::{
    call::{Body, Call, MAX_PARAMETERS, parameters, put},
    lenient::{List, Number, Object, Text},
};

/// Maximum size of one entry in bytes, including the parts that are skipped.
const MAX_ENTRY_BYTES: usize = 64 * 1024 * 1024;

/// Maximum number of bytes of a JSON body that are examined.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// Receives the entries of a HAR file.
pub trait Sink {
    /// Receives one entry: a call, or the reason why the entry is not a call.
    fn entry(&mut self, entry: Result<Call, &'static str>);
}

/// Reads a complete HAR file and passes its entries to `sink`.
///
/// # Errors
/// Returns a description of what is wrong with the file. Entries before the error have already been passed to `sink`.
pub fn read(source: impl io::Read, sink: &mut dyn Sink) -> Result<(), serde_json::Error> {
    let remaining = Rc::new(Cell::new(MAX_ENTRY_BYTES));
    let bounded = Bounded {
        source,
        remaining: Rc::clone(&remaining),
    };
    let mut json = serde_json::Deserializer::from_reader(bounded);
    Root { remaining, sink }.deserialize(&mut json)?;
    Ok(())
}

/// A reader that fails when its byte budget is used up. `Entries` renews the budget before each entry.
struct Bounded<R> {
    source: R,
    remaining: Rc<Cell<usize>>,
}

impl<R: io::Read> io::Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let remaining = self.remaining.get();
        if remaining == 0 {
            return Err(io::Error::other(format!(
                "an entry is larger than {} MiB",
                MAX_ENTRY_BYTES / 1024 / 1024
            )));
        }
        let length = buffer.len().min(remaining);
        let read = self.source.read(&mut buffer[..length])?;
        self.remaining.set(remaining - read);
        Ok(read)
    }
}

/// Deserializes `{"log": {"entries": […]}}`, ignoring other keys.
struct Root<'a> {
    remaining: Rc<Cell<usize>>,
    sink: &'a mut dyn Sink,
}

impl<'de> DeserializeSeed<'de> for Root<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(Keyed {
            key: "log",
            seed: Some(Log(self)),
        })
    }
}

struct Log<'a>(Root<'a>);

impl<'de> DeserializeSeed<'de> for Log<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(Keyed {
            key: "entries",
            seed: Some(Entries(self.0)),
        })
    }
}

struct Entries<'a>(Root<'a>);

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

/// Visitor that deserializes the value of one key with `seed` and skips all other keys.
struct Keyed<S> {
    key: &'static str,
    seed: Option<S>,
}

impl<'de, S: DeserializeSeed<'de, Value = ()>> Visitor<'de> for Keyed<S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with `{}`", self.key)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match self.seed.take_if(|_| key == self.key) {
                Some(seed) => map.next_value_seed(seed)?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        match self.seed {
            None => Ok(()),
            Some(_) => Err(A::Error::custom(format_args!("the key `{}` is missing", self.key))),
        }
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        self.0.remaining.set(MAX_ENTRY_BYTES);
        while let Some(entry) = entries.next_element::<Object<Entry>>()? {
            self.0.sink.entry(entry.0.call());
            self.0.remaining.set(MAX_ENTRY_BYTES);
        }
        Ok(())
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    request: Object<Request>,
    response: Object<Response>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Request {
    method: Text,
    url: Text,
    query_string: List<Pair, MAX_PARAMETERS>,
    post_data: Option<Object<PostData>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Response {
    status: Number,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Pair {
    name: Text,
    value: Text,
    file_name: Text,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PostData {
    mime_type: Text,
    text: Text,
    params: List<Pair, MAX_PARAMETERS>,
}

impl Entry {
    fn call(self) -> Result<Call, &'static str> {
        let Request {
            method,
            url,
            query_string,
            post_data,
        } = self.request.0;
        let (Some(method), Some(url)) = (method.0, url.0) else {
            return Err("the request has no method or no url");
        };
        let status = self.response.0.status.0;
        let mut call = Call::new(&method.to_ascii_uppercase(), &url, status)?;
        if call.query.is_empty() {
            put_all(&mut call.query, query_string.0);
        }
        // Without postData, the request had no body.
        call.body = match post_data {
            None => Some(Body::default()),
            Some(data) => data.0.body(),
        };
        Ok(call)
    }
}

impl PostData {
    /// Returns the parameters of the body, or `None` if they cannot be determined.
    fn body(self) -> Option<Body> {
        let kind = self.mime_type.0.unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let text = self.text.0.unwrap_or_default();
        let mut body = Body::default();
        match kind.as_str() {
            "application/x-www-form-urlencoded" | "multipart/form-data" if !self.params.0.is_empty() => {
                body.has_files = put_all(&mut body.map, self.params.0);
            }
            "application/x-www-form-urlencoded" => body.map = parameters(&text),
            kind if kind.is_empty() || kind == "application/json" || kind.ends_with("+json") => {
                if text.len() > MAX_BODY_BYTES {
                    return None;
                }
                if !text.trim().is_empty() {
                    // As on the server, a body that is not an object has no parameters.
                    body.map = match serde_json::from_str(&text) {
                        Ok(Json::Object(map)) => map,
                        Ok(_) => Map::new(),
                        Err(_) => return None,
                    };
                }
            }
            // The raw text of a multipart form is not parsed for parameter names.
            "multipart/form-data" => return None,
            _ => {}
        }
        Some(body)
    }
}

/// Inserts the names and values of form fields into a map, except for files. Returns whether any of the fields was a file.
fn put_all(map: &mut Map<String, Json>, pairs: Vec<Pair>) -> bool {
    let mut has_files = false;
    for pair in pairs {
        let Some(name) = pair.name.0 else { continue };
        if pair.file_name.0.is_some_and(|name| !name.is_empty()) {
            has_files = true;
        } else {
            put(map, &name, pair.value.0.unwrap_or_default());
        }
    }
    has_files
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[derive(Default)]
    struct Collected(Vec<Result<Call, &'static str>>);

    impl Sink for Collected {
        fn entry(&mut self, entry: Result<Call, &'static str>) {
            self.0.push(entry);
        }
    }

    fn entries(text: &[u8]) -> (Collected, Result<(), serde_json::Error>) {
        let mut collected = Collected::default();
        let ended = read(text, &mut collected);
        (collected, ended)
    }

    fn har(entries: &Json) -> Vec<u8> {
        json!({"log": {"version": "1.2", "creator": {"name": "x"}, "entries": entries, "pages": []}})
            .to_string()
            .into_bytes()
    }

    #[test]
    fn reads_queries_and_bodies() {
        let request = |data: Json| json!({"request": {"method": "POST", "url": "https://h/api/v1/x?a=1", "headers": [{"name": "api_access_token", "value": "s"}], "postData": data}, "response": {"status": 200, "content": {"text": "x"}}});
        let text = har(&json!([
            request(json!({"mimeType": "application/json; charset=utf-8", "text": "{\"contact\": {\"name\": 1}}"})),
            request(json!({"mimeType": "application/x-www-form-urlencoded", "text": "contact[name]=1"})),
            request(json!({"mimeType": "multipart/form-data; boundary=x", "params": [{"name": "contact[name]", "value": "1"}, {"name": "avatar", "fileName": "a.png"}]})),
            request(json!({"mimeType": "multipart/form-data; boundary=x", "text": "--x"})),
            request(json!({"mimeType": "application/json", "text": "{"})),
            request(json!(null)),
            {"request": {"method": "get", "url": "https://h/b", "queryString": [{"name": "c", "value": "d"}]}, "response": {"status": 0}},
            {"request": {"method": 7, "url": ["x"]}},
            {},
            {"request": {"method": "GET", "url": "/c", "queryString": {"name": "d"}, "postData": "e"}, "response": null},
            null,
            "an entry",
            {"request": null, "response": 200},
            {"request": {"method": "GET", "url": "/last"}},
        ]));
        let (collected, ended) = entries(&text);
        ended.expect("it is read");
        let bodies: Vec<_> = collected.0[..6]
            .iter()
            .map(|call| call.as_ref().expect("a call").body.clone())
            .collect();
        for body in &bodies[..3] {
            let body = body.as_ref().expect("a body");
            assert!(body.map["contact"].as_object().expect("an object").contains_key("name"));
        }
        assert!(bodies[2].as_ref().is_some_and(|body| body.has_files));
        assert_eq!(bodies[3..], [None, None, Some(Body::default())]);
        let last = collected.0[6].as_ref().expect("a call");
        assert_eq!((last.path.as_str(), last.status, &last.query["c"]), ("/b", None, &json!("d")));
        assert!(collected.0[7].is_err() && collected.0[8].is_err());
        let (odd, last) = (collected.0[9].as_ref().expect("a call"), collected.0[13].as_ref().expect("a call"));
        assert_eq!((odd.path.as_str(), odd.status, odd.query.is_empty()), ("/c", None, true));
        assert!(collected.0[10..13].iter().all(Result::is_err));
        assert_eq!(last.path, "/last");
    }

    #[test]
    fn keeps_only_the_first_pairs() {
        let many = "{},".repeat(100_000) + "{}";
        let pairs: List<Pair, MAX_PARAMETERS> = serde_json::from_str(&format!("[{many}]")).expect("it is read");
        assert_eq!(
            (pairs.0.len(), pairs.0.capacity() < 2 * MAX_PARAMETERS + 100),
            (MAX_PARAMETERS, true)
        );
    }

    #[test]
    fn emits_entries_before_a_truncation() {
        let whole = har(&json!([{"request": {"method": "GET", "url": "/a"}}, {"request": {"method": "GET", "url": "/b"}}]));
        let cut = &whole[..whole.len() - 40];
        let (collected, ended) = entries(cut);
        assert_eq!((collected.0.len(), ended.is_err()), (1, true));
        for text in ["", "{}", "[]", "{\"log\": 1}", "{\"log\": {}}", "{\"log\": {\"entries\": 1}}"] {
            assert!(entries(text.as_bytes()).1.is_err(), "{text}");
        }
    }

    #[test]
    fn limits_nesting_and_entry_size() {
        let deep = format!(
            "{{\"log\": {{\"entries\": [{{\"x\": {}1{}}}]}}}}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        let (collected, ended) = entries(deep.as_bytes());
        assert_eq!(
            (collected.0.len(), ended.is_ok()),
            (1, true),
            "skipped values are not recursed into"
        );
        let start = io::Cursor::new(b"{\"log\": {\"entries\": [{\"x\": \"".to_vec());
        let mut collected = Collected::default();
        let endless = io::Read::chain(start, io::repeat(b'x'));
        let ended = read(io::BufReader::new(endless), &mut collected).expect_err("it is refused");
        assert!(ended.to_string().contains("64 MiB"), "{ended}");
    }

    proptest! {
        #[test]
        fn arbitrary_input_does_not_panic(text in "(\\{\"log\":\\{\"entries\":\\[)?(\\{\"request\":)?[\\PC]{0,200}") {
            let _ = entries(text.as_bytes());
        }
    }
}
