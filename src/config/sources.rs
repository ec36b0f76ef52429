//! Where a configuration comes from, and what can be wrong with it.

use std::path::PathBuf;

/// A value given by a flag.
#[derive(Debug, Clone)]
pub struct FlagValue {
    /// The flag as it was written, such as `--grpc-addr`.
    pub flag: String,
    /// The dotted key, such as `grpc.addr`.
    pub key: String,
    /// The value as text.
    pub value: String,
}

/// Where a configuration comes from, besides the defaults.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file named by a flag. None: the one that `PARLEY_CONFIG` names, if it is set.
    pub file: Option<PathBuf>,
    /// Environment variables; those that do not start with `PARLEY_` are ignored.
    pub environment: Vec<(String, String)>,
    /// What was set by flags; later ones win.
    pub flags: Vec<FlagValue>,
}

/// Everything that is wrong with a configuration; displayed as one line each. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);
