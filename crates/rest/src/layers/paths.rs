//! Normalises the path of a request before it is routed, so that clients of Rails reach the same routes: repeated slashes count as one, a
//! slash at the end and then the suffix `.json` are dropped. Method, query and body stay as they are, and nothing is redirected.
//!
//! Everything that looks at a path comes after this: routing, and with it policy, early checks and rates. Percent-encoded characters are
//! not decoded here: `%2F` in a source id stays a part of it, and so does `%2Ejson` at the end of one.

use std::borrow::Cow;

use axum::http::{
    Request, Uri,
    uri::{Parts, PathAndQuery},
};

/// What the suffix `.json` is dropped from. Elsewhere it belongs to a name: `/openapi.json`, a file of a message.
const WITH_SUFFIX: [&str; 3] = ["/api/", "/public/api/", "/platform/api/"];

/// The request with its path normalised.
pub fn normalize<B>(mut request: Request<B>) -> Request<B> {
    if let Some(uri) = normalized(request.uri()) {
        *request.uri_mut() = uri;
    }
    request
}

/// The URI with its path normalised; none if it is already.
fn normalized(uri: &Uri) -> Option<Uri> {
    let path = match normal(uri.path()) {
        Cow::Borrowed(path) if path.len() == uri.path().len() => return None,
        path => path,
    };
    let whole = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.into_owned(),
    };
    let mut parts: Parts = uri.clone().into_parts();
    // It was a path before, and has lost nothing but slashes and a suffix.
    parts.path_and_query = Some(PathAndQuery::try_from(whole).ok()?);
    Uri::from_parts(parts).ok()
}

/// As Rails does: squeeze slashes, drop the one at the end, then the format.
pub(crate) fn normal(path: &str) -> Cow<'_, str> {
    let mut path = if path.contains("//") {
        let mut squeezed = String::with_capacity(path.len());
        for character in path.chars() {
            if character != '/' || !squeezed.ends_with('/') {
                squeezed.push(character);
            }
        }
        Cow::Owned(squeezed)
    } else {
        Cow::Borrowed(path)
    };
    let bare = path.strip_suffix('/').unwrap_or(&path);
    let has_suffix = WITH_SUFFIX.iter().any(|root| bare.starts_with(root));
    let bare = if has_suffix {
        bare.strip_suffix(".json").unwrap_or(bare)
    } else {
        bare
    };
    // The root has nothing to lose.
    let length = bare.len().max(1).min(path.len());
    match &mut path {
        Cow::Borrowed(path) => *path = &path[..length],
        Cow::Owned(path) => path.truncate(length),
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_rails() {
        for (sent, routed) in [
            ("/", "/"),
            ("//", "/"),
            ("///", "/"),
            ("/cable/", "/cable"),
            ("//cable//", "/cable"),
            ("/api/v1/profile", "/api/v1/profile"),
            ("/api/v1/profile/", "/api/v1/profile"),
            ("/api/v1/profile.json", "/api/v1/profile"),
            ("/api/v1/profile.json/", "/api/v1/profile"),
            ("//api//v1///profile.json//", "/api/v1/profile"),
            ("/api/v1/profile.json.json", "/api/v1/profile.json"),
            ("/api/v1/.json", "/api/v1/"),
            ("/public/api/v1/inboxes/a.json", "/public/api/v1/inboxes/a"),
            ("/platform/api/v1/users/1.json", "/platform/api/v1/users/1"),
            (
                "/public/api/v1/inboxes/a/contacts/b%2Fc%2Ejson",
                "/public/api/v1/inboxes/a/contacts/b%2Fc%2Ejson",
            ),
            (
                "/public/api/v1/inboxes/a/contacts/b%2F%2F/",
                "/public/api/v1/inboxes/a/contacts/b%2F%2F",
            ),
            ("/openapi.json", "/openapi.json"),
            ("/openapi.json/", "/openapi.json"),
            ("/files/x/data.json", "/files/x/data.json"),
            ("/api/v1/contacts/ä//b", "/api/v1/contacts/ä/b"),
            ("*", "*"),
            ("", ""),
        ] {
            assert_eq!(normal(sent), routed, "{sent}");
        }
    }

    #[test]
    fn keeps_the_query_and_the_authority() {
        let sent: Uri = "http://host:1//api/v1/profile/?a=//b/&c".parse().unwrap();
        assert_eq!(normalized(&sent).unwrap(), "http://host:1/api/v1/profile?a=//b/&c");
        let plain: Uri = "/api/v1/profile?a=/".parse().unwrap();
        assert_eq!(normalized(&plain), None);
    }

    #[test]
    fn is_stable() {
        for path in ["//a//", "/api//x.json/", "/api/x.json", "/%2F/"] {
            let once = normal(path).into_owned();
            assert_eq!(normal(&once), once, "{path}");
        }
    }
}
