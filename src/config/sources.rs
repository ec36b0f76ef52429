//! The sources of the configuration, the deprecated keys found in them, and the error that lists their problems.

use std::{fmt, path::PathBuf};

/// A value set by a flag.
#[derive(Debug, Clone)]
pub struct FlagValue {
    /// The flag as the user wrote it, such as `--grpc-addr`.
    pub flag: String,
    /// The dotted key, such as `grpc.addr`.
    pub key: String,
    /// The value as text.
    pub value: String,
}

/// The sources of the configuration other than the defaults.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file named by a flag. If `None`, the file named by `PARLEY_CONFIG`, if set.
    pub file: Option<PathBuf>,
    /// Environment variables; those that do not start with `PARLEY_` are ignored.
    pub environment: Vec<(String, String)>,
    /// Values set by flags; later ones override earlier ones.
    pub flags: Vec<FlagValue>,
}

/// A setting under a deprecated name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeprecatedKey {
    /// The deprecated key, such as `writer.lanes`.
    pub key: &'static str,
    /// The key that replaces it.
    pub replacement: &'static str,
    /// The source that sets the deprecated key.
    pub source: String,
    /// Whether the value is ignored because the replacement is set, too.
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

/// All problems of a configuration, displayed one per line. Contains no secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);
