//! Normalizes the path of a request before routing, so that paths that Rails accepts reach the same routes: repeated slashes count as one,
//! then a trailing slash and the suffix `.json` are dropped. Method, query and body are unchanged, and there are no redirects.
//!
//! Everything that depends on the path runs after normalization: routing, and therefore policies, early authorization and rate limits.
//! Percent-encoded characters are not decoded: `%2F` in a source id remains part of the id, and so does `%2Ejson` at its end.

use std::borrow::Cow;

use axum::http::{
    Request, Uri,
    uri::{Parts, PathAndQuery},
};

/// The path prefixes under which `.json` is dropped. Elsewhere the suffix is part of a name, such as `/openapi.json` or the file name of an
/// attachment.
const WITH_SUFFIX: [&str; 3] = ["/api/", "/public/api/", "/platform/api/"];

/// Middleware that normalizes the path of a request.
pub fn normalize<B>(mut request: Request<B>) -> Request<B> {
    if let Some(uri) = normalized(request.uri()) {
        *request.uri_mut() = uri;
    }
    request
}

/// Normalizes a URI. Returns `None` if it is already normalized.
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
    // This cannot fail: the path was valid before, and only slashes and a suffix were removed.
    parts.path_and_query = Some(PathAndQuery::try_from(whole).ok()?);
    Uri::from_parts(parts).ok()
}

/// Normalizes a path as Rails does: merges repeated slashes, then drops a trailing slash, then the format suffix.
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
    // Keep the slash of the root path.
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
    fn normalizes_paths_like_rails() {
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
    fn preserves_query_and_authority() {
        let sent: Uri = "http://host:1//api/v1/profile/?a=//b/&c".parse().unwrap();
        assert_eq!(normalized(&sent).unwrap(), "http://host:1/api/v1/profile?a=//b/&c");
        let plain: Uri = "/api/v1/profile?a=/".parse().unwrap();
        assert_eq!(normalized(&plain), None);
    }

    #[test]
    fn normalization_is_idempotent() {
        for path in ["//a//", "/api//x.json/", "/api/x.json", "/%2F/"] {
            let once = normal(path).into_owned();
            assert_eq!(normal(&once), once, "{path}");
        }
    }
}
