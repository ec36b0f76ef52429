//! Requests of a log that are no calls of the API.

/// What a request is that is no call of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Other {
    /// Pages of the dashboard, the widget and the help center, with what belongs to them.
    Pages,
    /// Files of messages.
    Files,
    /// Webhooks of channels, which call Chatwoot.
    Webhooks,
    /// Questions of browsers whether a page may call.
    Preflights,
    /// To another host, or outside of the prefix.
    Elsewhere,
}

impl Other {
    /// The words for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pages => "pages and assets",
            Self::Files => "files",
            Self::Webhooks => "webhooks of channels",
            Self::Preflights => "CORS preflights",
            Self::Elsewhere => "other hosts or paths outside of the prefix",
        }
    }

    /// The key in JSON.
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

/// What a normalised path leads to that is not the API; none for the API.
pub fn other(path: &str) -> Option<Other> {
    let mut parts = path.split('/').skip(1);
    match (parts.next().unwrap_or_default(), parts.next(), parts.next()) {
        ("api" | "auth" | "cable", ..)
        | ("public" | "platform" | "enterprise", Some("api"), _)
        | ("survey", Some("responses"), Some(_)) => None,
        ("rails", ..) => Some(Other::Files),
        ("webhooks" | "bot" | "twilio", ..) | ("enterprise", Some("webhooks"), _) => Some(Other::Webhooks),
        _ => Some(Other::Pages),
    }
}
