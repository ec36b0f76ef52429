//! Finds the token in the headers of a request. The gRPC API, gRPC-Web, the JSON API and Server-Sent Events all use this lookup.

use http::{HeaderMap, HeaderName, header::AUTHORIZATION};

/// The headers that may contain a token. If a request has several, the first one in this order that is not blank is used, and the others
/// are ignored.
///
/// Chatwoot's header comes first: clients set it on purpose, while a proxy or a library may add `Authorization` on its own. Some proxies
/// drop headers with underscores, hence the second spelling.
const HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("api_access_token"),
    HeaderName::from_static("api-access-token"),
    AUTHORIZATION,
];

/// The accepted scheme in an `Authorization` header, with the space after it, compared without regard to case. Other schemes are ignored.
const SCHEME: &str = "bearer ";

/// Returns the token in the headers, or `None` if all headers that may contain one are absent or blank.
pub fn secret(headers: &HeaderMap) -> Option<&str> {
    HEADERS.iter().find_map(|name| {
        headers.get_all(name).iter().find_map(|value| {
            let text = value.to_str().ok()?.trim();
            let text = if *name == AUTHORIZATION { bearer(text)? } else { text };
            (!text.is_empty()).then_some(text)
        })
    })
}

fn bearer(text: &str) -> Option<&str> {
    let (scheme, secret) = text.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| secret.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(pairs: &[(&'static str, &'static str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        secret(&headers).map(str::to_owned)
    }

    #[test]
    fn reads_the_token_from_each_header() {
        assert_eq!(token(&[("api_access_token", "a")]).unwrap(), "a");
        assert_eq!(token(&[("api-access-token", "b")]).unwrap(), "b");
        assert_eq!(token(&[("authorization", "bearer  c ")]).unwrap(), "c");
        assert_eq!(token(&[("authorization", "Bearer c")]).unwrap(), "c");
        for other in ["Basic c", "Bearer", "Bearer ", "Bearerc", "c", ""] {
            assert_eq!(token(&[("authorization", other)]), None, "{other:?}");
        }
        assert_eq!(token(&[("api_access_token", " ")]), None);
    }

    #[test]
    fn follows_header_precedence() {
        let [a, b, c] = [("api_access_token", "a"), ("api-access-token", "b"), ("authorization", "Bearer c")];
        assert_eq!(token(&[c, b, a]).unwrap(), "a");
        assert_eq!(token(&[c, b]).unwrap(), "b");
        assert_eq!(token(&[("api_access_token", ""), ("api-access-token", " "), c]).unwrap(), "c");
        assert_eq!(token(&[("authorization", "Basic x"), c]).unwrap(), "c");
        assert_eq!(token(&[("api_access_token", ""), a]).unwrap(), "a");
    }
}
