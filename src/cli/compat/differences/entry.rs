//! One documented difference from Chatwoot, with the routes and parameters that it affects.

/// When a documented difference applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applies {
    /// Applies to every call of the route.
    Always,
    /// Applies to calls that have at least one of the entry's parameters.
    Parameter,
    /// Applies to invalid input, exceeded limits and rare states, which a log does not show.
    Sometimes,
    /// Concerns something other than a route, such as headers, or something that the report describes separately.
    Elsewhere,
}

impl Applies {
    /// Returns the name that the JSON report uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Parameter => "parameter",
            Self::Sometimes => "sometimes",
            Self::Elsewhere => "elsewhere",
        }
    }
}

/// One row of the page that documents the differences, identified by its first cell.
#[derive(Debug)]
pub struct Entry {
    /// The text of the row's first cell, or the beginning of the text followed by `…`.
    pub matter: &'static str,
    pub applies: Applies,
    /// Names of the parameters that are affected, or `name=prefix` for a parameter whose value starts with `prefix`.
    pub parameters: &'static [&'static str],
    /// The affected routes: method (`*` for any) and path. `A` stands for the path prefix of an account, `C` for that of a public inbox,
    /// `P` for that of the platform API, `{}` for a parameter, and a trailing `/**` for all paths below.
    pub routes: &'static [&'static str],
}

pub const fn always(matter: &'static str, routes: &'static [&'static str]) -> Entry {
    entry(matter, Applies::Always, &[], routes)
}

pub const fn with(matter: &'static str, parameters: &'static [&'static str], routes: &'static [&'static str]) -> Entry {
    entry(matter, Applies::Parameter, parameters, routes)
}

pub const fn sometimes(matter: &'static str, routes: &'static [&'static str]) -> Entry {
    entry(matter, Applies::Sometimes, &[], routes)
}

pub const fn elsewhere(matter: &'static str) -> Entry {
    entry(matter, Applies::Elsewhere, &[], &[])
}

const fn entry(matter: &'static str, applies: Applies, parameters: &'static [&'static str], routes: &'static [&'static str]) -> Entry {
    Entry {
        matter,
        applies,
        parameters,
        routes,
    }
}

impl Entry {
    /// Returns whether this entry describes the row with the given first cell.
    pub fn describes(&self, cell: &str) -> bool {
        match self.matter.strip_suffix('…') {
            Some(start) => cell.starts_with(start),
            None => cell == self.matter,
        }
    }
}
