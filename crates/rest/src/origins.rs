//! The setting for the allowed CORS origins.

use http::HeaderValue;

/// Maximum number of allowed origins. There must be a limit, because each preflight request searches the whole list.
const MAX_ORIGINS: usize = 100;

/// The allowed origins of web pages, in the form of the `Origin` header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// No origin other than the server's own.
    #[default]
    None,
    /// Any origin.
    Any,
    /// Only these origins.
    Of(Vec<HeaderValue>),
}

impl AllowedOrigins {
    /// Parses the setting: origins separated by commas, `*` for any origin, or an empty string for none.
    ///
    /// # Errors
    /// Returns a description of the valid values if the setting is invalid.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match text.trim() {
            "" => return Ok(Self::None),
            "*" => return Ok(Self::Any),
            _ => {}
        }
        let origins: Option<Vec<_>> = text.split(',').map(|one| origin(one.trim())).collect();
        let origins = origins
            .ok_or("must be comma-separated origins, such as `https://desk.example.org, http://localhost:3000`, or `*`, or empty")?;
        if origins.len() > MAX_ORIGINS {
            return Err("must be at most 100 origins");
        }
        Ok(Self::Of(origins))
    }
}

/// Parses an origin as browsers send it: scheme, lower-case host, and the port unless it is the scheme's default.
fn origin(text: &str) -> Option<HeaderValue> {
    let (scheme, host) = text.split_once("://")?;
    let of_scheme = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    let of_host = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._~:[]".contains(&byte);
    let is_default = matches!(
        (scheme, host.rsplit_once(':')),
        ("https", Some((_, "443"))) | ("http", Some((_, "80")))
    );
    let is_origin =
        !scheme.is_empty() && !host.is_empty() && text.len() <= 255 && scheme.bytes().all(of_scheme) && host.bytes().all(of_host);
    (is_origin && !is_default).then(|| HeaderValue::from_str(text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_origins_as_browsers_send_them() {
        assert_eq!(AllowedOrigins::parse(" "), Ok(AllowedOrigins::None));
        assert_eq!(AllowedOrigins::parse("*"), Ok(AllowedOrigins::Any));
        let two = AllowedOrigins::parse("https://desk.example.org, http://localhost:3000").unwrap();
        let values = ["https://desk.example.org", "http://localhost:3000"].map(HeaderValue::from_static);
        assert_eq!(two, AllowedOrigins::Of(values.to_vec()));
        assert!(AllowedOrigins::parse("http://[::1]:3000,capacitor://localhost").is_ok());
    }

    #[test]
    fn rejects_invalid_origins() {
        for wrong in [
            "desk.example.org",
            "https://desk.example.org/",
            "https://Desk.example.org",
            "https://desk.example.org:443",
            "http://desk.example.org:80",
            "https://*.example.org",
            "https://a.example, *",
            "https://a.example,",
            "null",
            "://a",
            "https://",
        ] {
            assert!(AllowedOrigins::parse(wrong).is_err(), "{wrong}");
        }
        let many = vec!["https://a.example"; MAX_ORIGINS + 1].join(",");
        assert!(AllowedOrigins::parse(&many).is_err());
    }
}
