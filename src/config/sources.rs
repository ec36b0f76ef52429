//! Reads and merges the sources of the configuration (defaults, file, environment and flags), and reports each problem with its source.
//! This module does not interpret the keys.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::{
    problems::{ConfigError, DeprecatedKey},
    rules,
};

const DEFAULTS: &str = include_str!("../config.default.toml");
/// Defaults for the table `fault`, which are not in the default file because the table exists only with the feature `faults`.
#[cfg(feature = "faults")]
const FAULT_DEFAULTS: &str = "[fault]\nswitch = \"\"\n";
const PREFIX: &str = "PARLEY_";
/// Suffix of an environment variable that names a file. The file holds the value of the variable without the suffix.
const FILE_SUFFIX: &str = "_FILE";

/// The environment variable that names the configuration file.
pub const FILE_VARIABLE: &str = "PARLEY_CONFIG";
/// Environment variables that the client commands read, and that are not settings of the server.
pub const CLIENT_VARIABLES: [&str; 6] = [
    "PARLEY_SERVER",
    "PARLEY_TOKEN",
    "PARLEY_CA_FILE",
    "PARLEY_SERVER_NAME",
    "PARLEY_CLIENT_CERT_FILE",
    "PARLEY_CLIENT_KEY_FILE",
];

/// Renamed keys: the deprecated name, which is accepted for one release, and the current name.
const RENAMED_KEYS: [(&str, &str); 1] = [("writer.lanes", "writer.shards")];

/// A setting given by a command-line flag.
#[derive(Debug, Clone)]
pub struct FlagValue {
    /// The flag as the user wrote it, such as `--grpc-addr`.
    pub flag: String,
    /// The dotted key, such as `grpc.addr`.
    pub key: String,
    /// The value as a string.
    pub value: String,
}

/// The sources of the configuration other than the defaults.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The configuration file named by a flag. If `None`, the file named by `PARLEY_CONFIG` is read, if that variable is set.
    pub file: Option<PathBuf>,
    /// Environment variables; those that do not start with `PARLEY_` are ignored.
    pub environment: Vec<(String, String)>,
    /// Values set by flags; later ones override earlier ones.
    pub flags: Vec<FlagValue>,
}

/// Merges all sources. In the result, every value has the type of its default and satisfies its validation rule.
///
/// # Errors
/// Returns [`ConfigError`], which lists every problem in all sources.
pub fn merge(sources: &Sources) -> Result<Merged, ConfigError> {
    let mut layers = Layers::new()?;
    let variable = |name: &str| {
        sources
            .environment
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    };
    if let Some(file) = sources.file.as_deref() {
        layers.file(file, "");
    } else if let Some(file) = variable(FILE_VARIABLE).filter(|file| !file.is_empty()) {
        layers.file(Path::new(file), " (named by PARLEY_CONFIG)");
    }
    for (name, value) in &sources.environment {
        layers.variable(name, value);
        if let Some((plain, _)) = layers.file_variable(name).filter(|(plain, _)| variable(plain).is_some()) {
            let problem = format!("environment: both {plain} and {name} are set: set only one");
            layers.problems.push(problem);
        }
    }
    for flag in &sources.flags {
        layers.set_from_text(&flag.key, &flag.value, &format!("flag {}", flag.flag));
    }
    let deprecated_keys = layers.apply_deprecated();
    if layers.problems.is_empty() {
        Ok(Merged {
            table: layers.table,
            sources: layers.sources,
            deprecated_keys,
        })
    } else {
        Err(ConfigError(layers.problems))
    }
}

/// The merged table, and the source of each value that is not a default.
#[derive(Debug)]
pub struct Merged {
    /// Configuration tables by name, each with its values by key.
    pub table: Table,
    /// The source of each value that is not a default, by dotted key.
    pub sources: BTreeMap<String, String>,
    /// The deprecated keys that are set.
    pub deprecated_keys: Vec<DeprecatedKey>,
}

struct Layers {
    table: Table,
    /// The source that last set each value, by dotted key.
    sources: BTreeMap<String, String>,
    /// Dotted keys, by the name of the environment variable that sets them.
    variables: BTreeMap<String, String>,
    /// The last value of each deprecated key, with its source.
    deprecated: BTreeMap<&'static str, (Value, String)>,
    problems: Vec<String>,
}

impl Layers {
    fn new() -> Result<Self, ConfigError> {
        let parse = |text: &str| {
            text.parse::<Table>()
                .map_err(|error| ConfigError(vec![format!("defaults: {}", error.message())]))
        };
        let table = parse(DEFAULTS)?;
        #[cfg(feature = "faults")]
        let table = {
            let mut table = table;
            table.extend(parse(FAULT_DEFAULTS)?);
            table
        };
        let mut variables = BTreeMap::new();
        for (name, keys) in &table {
            for key in keys.as_table().into_iter().flat_map(Table::keys) {
                let key = format!("{name}.{key}");
                variables.insert(variable_of(&key), key);
            }
        }
        for (deprecated, _) in RENAMED_KEYS {
            variables.insert(variable_of(deprecated), deprecated.to_owned());
        }
        #[cfg(feature = "faults")]
        variables.insert("PARLEY_FAULT".to_owned(), "fault.switch".to_owned());
        Ok(Self {
            table,
            sources: BTreeMap::new(),
            variables,
            deprecated: BTreeMap::new(),
            problems: Vec::new(),
        })
    }

    fn file(&mut self, path: &Path, named_by: &str) {
        let source = format!("file {}{named_by}", path.display());
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return self.problems.push(format!("{source}: cannot be read: {error}")),
        };
        let table = match text.parse::<Table>() {
            Ok(table) => table,
            Err(error) => {
                // Report only the message: the full error text quotes the line, which can contain a password.
                let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
                let line = before.matches('\n').count();
                return self
                    .problems
                    .push(format!("{source}: line {}: is not TOML: {}", line + 1, error.message()));
            }
        };
        for (name, keys) in table {
            match (self.table.contains_key(&name), keys) {
                (true, Value::Table(keys)) => {
                    for (key, value) in keys {
                        self.set(&format!("{name}.{key}"), value, &source);
                    }
                }
                (true, _) => self.problems.push(format!("{source}: `{name}` must be a table: write [{name}]")),
                (false, _) => {
                    let suggestion = nearest(&name, self.table.keys().map(String::as_str));
                    self.problems.push(format!("{source}: unknown table `{name}`{suggestion}"));
                }
            }
        }
    }

    fn variable(&mut self, name: &str, value: &str) {
        if !name.starts_with(PREFIX) || name == FILE_VARIABLE || CLIENT_VARIABLES.contains(&name) {
            return;
        }
        match self.variables.get(name).cloned() {
            Some(key) => self.set_from_text(&key, value, &format!("environment variable {name}")),
            None if self.file_variable(name).is_some() => self.set_from_file(name, value),
            None if is_service_link(name, value) => {}
            None => {
                let suggestion = nearest(
                    name,
                    self.variables
                        .iter()
                        .filter(|(_, key)| renamed(key).is_none())
                        .map(|(variable, _)| variable.as_str())
                        .chain(CLIENT_VARIABLES)
                        .chain([FILE_VARIABLE]),
                );
                self.problems.push(format!("environment: unknown variable {name}{suggestion}"));
            }
        }
    }

    /// If `name` is the name of a variable with the suffix `_FILE`, returns the name without the suffix, and the key whose value is read
    /// from the file. `PARLEY_TLS_CERT_FILE` does not match, because that variable sets the key `tls.cert_file` itself.
    fn file_variable<'n>(&self, name: &'n str) -> Option<(&'n str, &String)> {
        let plain = name.strip_suffix(FILE_SUFFIX)?;
        self.variables.get(plain).map(|key| (plain, key))
    }

    /// Sets a key to the content of the file that an environment variable names. A secret in the environment itself would be visible in
    /// `/proc`, in crash reports and in every child process. Trailing white space is not part of the value.
    fn set_from_file(&mut self, name: &str, path: &str) {
        let Some(key) = self.file_variable(name).map(|(_, key)| key.clone()) else {
            return;
        };
        let source = format!("file {path} (named by {name})");
        match std::fs::read_to_string(path) {
            Ok(text) => self.set_from_text(&key, text.trim_end(), &source),
            Err(error) => self.problems.push(format!("{source}: cannot be read: {error}")),
        }
    }

    /// Sets a key from a string, which is parsed as the type of the key's default.
    fn set_from_text(&mut self, key: &str, text: &str, source: &str) {
        let value = match self.get(key) {
            Some(Value::Integer(_)) => text.trim().parse().ok().map(Value::Integer),
            Some(Value::Float(_)) => text.trim().parse().ok().map(Value::Float),
            Some(Value::Boolean(_)) => text.trim().parse().ok().map(Value::Boolean),
            _ => None,
        };
        self.set(key, value.unwrap_or_else(|| Value::String(text.to_owned())), source);
    }

    /// Returns the value of a key, which can be given by its current or its deprecated name.
    fn get(&self, key: &str) -> Option<&Value> {
        let (table, key) = current_name(key).split_once('.')?;
        self.table.get(table)?.as_table()?.get(key)
    }

    fn insert(&mut self, key: &str, value: Value, source: &str) {
        self.sources.insert(key.to_owned(), source.to_owned());
        if let Some((table, key)) = key.split_once('.')
            && let Some(Value::Table(table)) = self.table.get_mut(table)
        {
            table.insert(key.to_owned(), value);
        }
    }

    /// Applies the values of deprecated keys, except where any layer sets the current key, and returns the deprecated keys that are set.
    fn apply_deprecated(&mut self) -> Vec<DeprecatedKey> {
        let mut found = Vec::new();
        for (key, replacement) in RENAMED_KEYS {
            let Some((value, source)) = self.deprecated.remove(key) else {
                continue;
            };
            let is_ignored = self.sources.contains_key(replacement);
            if !is_ignored {
                self.insert(replacement, value, &source);
            }
            found.push(DeprecatedKey {
                key,
                replacement,
                source,
                is_ignored,
            });
        }
        found
    }

    fn set(&mut self, key: &str, value: Value, source: &str) {
        let Some(default) = self.get(key) else {
            let known = self.variables.values().map(String::as_str);
            let suggestion = nearest(key, known.filter(|key| renamed(key).is_none()));
            return self.problems.push(format!("{source}: unknown key `{key}`{suggestion}"));
        };
        let value = match (default, value) {
            // Accept `1` where a float is expected: TOML distinguishes 1 from 1.0, but users do not.
            #[expect(clippy::cast_precision_loss, reason = "larger values are out of range")]
            (Value::Float(_), Value::Integer(whole)) => Value::Float(whole as f64),
            (_, value) => value,
        };
        let checked = if default.same_type(&value) {
            rules::check(current_name(key), &value)
        } else {
            Err(format!("must be {}", type_name(default)))
        };
        match checked {
            Ok(()) => match renamed(key) {
                Some((deprecated, _)) => {
                    self.deprecated.insert(deprecated, (value, source.to_owned()));
                }
                None => self.insert(key, value, source),
            },
            Err(rule) if !rules::may_be_shown(key) => self.problems.push(format!("{source}: `{key}` {rule} (value not shown)")),
            Err(rule) => self.problems.push(format!("{source}: `{key}` {rule}, not {value}")),
        }
    }
}

/// Returns the environment variable that sets a key.
fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// Returns the deprecated and the current name of a key if `key` is the deprecated one.
fn renamed(key: &str) -> Option<(&'static str, &'static str)> {
    RENAMED_KEYS.into_iter().find(|(deprecated, _)| *deprecated == key)
}

/// Returns the current name of a key, which can be given by its deprecated name.
fn current_name(key: &str) -> &str {
    renamed(key).map_or(key, |(_, current)| current)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        _ => "text",
    }
}

/// Returns `; did you mean …?`, or an empty string if no known name is similar.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    known
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map_or_else(String::new, |(_, candidate)| format!("; did you mean `{candidate}`?"))
}

/// Returns whether Kubernetes set this variable for a service named `parley` or `parley-…`, as it does in every container
/// (<https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>).
fn is_service_link(name: &str, value: &str) -> bool {
    let rest = name.strip_prefix(PREFIX).unwrap_or(name);
    if rest == "SERVICE_HOST" || rest.starts_with("SERVICE_PORT") || rest == "PORT" || rest.starts_with("PORT_") {
        return true;
    }
    // Also recognize the variables of a service such as `parley-admin`. Check the value as well, because `PARLEY_GRPC_PORT=50051` is a
    // user's mistake that must be reported.
    rest.ends_with("_SERVICE_HOST")
        || rest.contains("_SERVICE_PORT")
        || (rest.contains("_PORT") && (value.contains("://") || rest.contains("_TCP_") || rest.contains("_UDP_")))
}
