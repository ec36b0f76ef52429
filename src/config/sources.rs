//! The sources of the configuration, and the error that lists their problems.

use std::path::PathBuf;

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

/// All problems of a configuration, displayed one per line. Contains no secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);
