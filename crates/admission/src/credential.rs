//! The token that a request shows, in whichever header: the same for the gRPC API, gRPC-Web, the JSON API and Server-Sent Events.

use http::{HeaderMap, HeaderName, header::AUTHORIZATION};

/// Where a token may be. When a request has several, the first here that is not blank counts, and the others are not looked at.
///
/// Chatwoot's header comes first: clients set it on purpose, while a proxy or a library may add `Authorization` by itself. Some proxies
/// drop headers with underscores, hence the second spelling.
const HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("api_access_token"),
    HeaderName::from_static("api-access-token"),
    AUTHORIZATION,
];

/// The scheme of `Authorization`, in any case, with the space behind it. Other schemes are not ours.
const SCHEME: &str = "bearer ";

/// The secret that the headers show; none if there is none, or none that is not blank.
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

    fn shown(pairs: &[(&'static str, &'static str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        secret(&headers).map(str::to_owned)
    }

    #[test]
    fn finds_a_token_in_each_header() {
        assert_eq!(shown(&[("api_access_token", "a")]).unwrap(), "a");
        assert_eq!(shown(&[("api-access-token", "b")]).unwrap(), "b");
        assert_eq!(shown(&[("authorization", "bearer  c ")]).unwrap(), "c");
        assert_eq!(shown(&[("authorization", "Bearer c")]).unwrap(), "c");
        for other in ["Basic c", "Bearer", "Bearer ", "Bearerc", "c", ""] {
            assert_eq!(shown(&[("authorization", other)]), None, "{other:?}");
        }
        assert_eq!(shown(&[("api_access_token", " ")]), None);
    }

    #[test]
    fn follows_the_precedence() {
        let [a, b, c] = [("api_access_token", "a"), ("api-access-token", "b"), ("authorization", "Bearer c")];
        assert_eq!(shown(&[c, b, a]).unwrap(), "a");
        assert_eq!(shown(&[c, b]).unwrap(), "b");
        assert_eq!(shown(&[("api_access_token", ""), ("api-access-token", " "), c]).unwrap(), "c");
        assert_eq!(shown(&[("authorization", "Basic x"), c]).unwrap(), "c");
        assert_eq!(shown(&[("api_access_token", ""), a]).unwrap(), "a");
    }
}
