//! Checks the files that hold secrets: those named by variables with the suffix `_FILE`, and the private key. Starting a server reads these
//! files too, but this check also reports whether other users can read them.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{Finding, failed, passed, warning};
use crate::config::{Config, sources::CLIENT_VARIABLES};

/// The permission bits for others. Those for the group are not checked, because mounted secrets are often made readable for a group.
const OTHERS: u32 = 0o007;

/// Variables that end in `_FILE` because the key that they set does, such as `tls.cert_file`. Of the files that they name, only the private
/// key is a secret; it is checked separately.
const NOT_SECRET: [&str; 3] = ["PARLEY_TLS_CERT_FILE", "PARLEY_TLS_KEY_FILE", "PARLEY_TLS_CLIENT_CA_FILE"];

/// Checks each file that holds a secret. Returns no findings if there are no such files.
pub(super) fn secrets(config: &Config) -> Vec<Finding> {
    const SUBJECT: &str = "secrets";
    let mut files: Vec<(String, PathBuf)> = std::env::vars_os()
        .filter_map(|(name, path)| Some((name.into_string().ok()?, path.into())))
        .filter(|(name, _)| name.starts_with("PARLEY_") && name.ends_with("_FILE"))
        .filter(|(name, _)| !CLIENT_VARIABLES.contains(&name.as_str()) && !NOT_SECRET.contains(&name.as_str()))
        .collect();
    files.sort();
    if !config.tls.key_file.is_empty() {
        files.push(("tls.key_file".to_owned(), config.tls.key_file.clone().into()));
    }
    let (all, mut found) = (files.len(), Vec::new());
    for (name, file) in files {
        found.extend(examine(SUBJECT, &name, &file));
    }
    if found.is_empty() && all > 0 {
        return vec![passed(
            SUBJECT,
            format!("{all} files with secrets can be read, but not by other users"),
        )];
    }
    found
}

fn examine(subject: &'static str, name: &str, file: &Path) -> Option<Finding> {
    let shown = file.display();
    let (text, mode) = match std::fs::read(file).and_then(|text| Ok((text, std::fs::metadata(file)?.mode()))) {
        Ok(read) => read,
        Err(error) => return Some(failed(subject, format!("{name} = {shown} cannot be read: {error}"))),
    };
    if text.trim_ascii().is_empty() {
        return Some(warning(
            subject,
            format!("{name} = {shown} is empty: the setting is treated as not set"),
        ));
    }
    (mode & OTHERS != 0).then(|| {
        let mode = mode & 0o777;
        warning(
            subject,
            format!("{name} = {shown} has the mode {mode:o}, so every user of this machine can read it: chmod 640 {shown}"),
        )
    })
}
