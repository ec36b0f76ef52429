//! Problems with a configuration: deprecated keys, and the error that lists all problems.

use std::fmt;

/// A deprecated key that is set in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeprecatedKey {
    /// The deprecated key, such as `writer.lanes`.
    pub key: &'static str,
    /// The key that replaces the deprecated key.
    pub replacement: &'static str,
    /// The source that sets the deprecated key.
    pub source: String,
    /// Whether the value is ignored because the replacement key is also set.
    pub is_ignored: bool,
}

impl fmt::Display for DeprecatedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key,
            replacement,
            source,
            is_ignored,
        } = self;
        if *is_ignored {
            write!(
                f,
                "{source}: `{key}` is deprecated and ignored, because `{replacement}` is set: remove it"
            )
        } else {
            write!(f, "{source}: `{key}` is deprecated: use `{replacement}`")
        }
    }
}

/// All problems with a configuration, displayed one per line. Contains no secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);
