//! Classification of requests that are not API calls.

/// The kinds of requests that are not API calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NonApi {
    /// Pages of the dashboard, the widget and the help center, with their assets.
    Pages,
    /// Uploaded files, such as attachments of messages.
    Files,
    /// Webhooks that messaging channels, such as Telegram, send to Chatwoot.
    Webhooks,
    /// CORS preflight requests.
    Preflights,
    /// Requests to another host, or with a path outside the prefix.
    Elsewhere,
}

impl NonApi {
    /// Returns the name of the kind in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pages => "pages and assets",
            Self::Files => "files",
            Self::Webhooks => "channel webhooks",
            Self::Preflights => "CORS preflights",
            Self::Elsewhere => "other hosts, or paths outside the prefix",
        }
    }

    /// Returns the key of the kind in the JSON report.
    pub fn key(self) -> &'static str {
        match self {
            Self::Pages => "pages",
            Self::Files => "files",
            Self::Webhooks => "webhooks",
            Self::Preflights => "preflights",
            Self::Elsewhere => "elsewhere",
        }
    }
}

/// Classifies a normalized path, or returns `None` if it belongs to the API.
pub fn classify(path: &str) -> Option<NonApi> {
    let mut parts = path.split('/').skip(1);
    match (parts.next().unwrap_or_default(), parts.next(), parts.next()) {
        ("api" | "auth" | "cable", ..)
        | ("public" | "platform" | "enterprise", Some("api"), _)
        | ("survey", Some("responses"), Some(_)) => None,
        ("rails", ..) => Some(NonApi::Files),
        ("webhooks" | "bot" | "twilio", ..) | ("enterprise", Some("webhooks"), _) => Some(NonApi::Webhooks),
        _ => Some(NonApi::Pages),
    }
}
