//! The setting that names the origins whose pages may call.

use http::HeaderValue;

/// The most origins that may be named: each preflight looks through them.
const MOST: usize = 100;

/// Origins of pages, as browsers send them in `Origin`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// No page of another origin.
    #[default]
    None,
    /// Every page.
    Any,
    /// Pages of these.
    Of(Vec<HeaderValue>),
}

impl AllowedOrigins {
    /// Reads the setting: origins with commas, `*`, or nothing.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match text.trim() {
            "" => return Ok(Self::None),
            "*" => return Ok(Self::Any),
            _ => {}
        }
        let origins: Option<Vec<_>> = text.split(',').map(|one| origin(one.trim())).collect();
        let origins =
            origins.ok_or("must be origins with commas, such as `https://desk.example.org, http://localhost:3000`, or `*`, or empty")?;
        if origins.len() > MOST {
            return Err("must be at most 100 origins");
        }
        Ok(Self::Of(origins))
    }
}

/// An origin as a browser spells it: scheme, host in small letters, and the port if it is not the scheme's own.
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
    fn refuses_what_no_browser_sends() {
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
        let many = vec!["https://a.example"; MOST + 1].join(",");
        assert!(AllowedOrigins::parse(&many).is_err());
    }
}
