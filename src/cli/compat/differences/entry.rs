//! One documented difference, with the routes and parameters that it affects.

/// When a difference applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applies {
    /// Applies to every call of the route.
    Always,
    /// Applies to calls that have one of the parameters.
    Parameter,
    /// Applies to invalid input, exceeded limits and rare states, which a log does not show.
    Sometimes,
    /// Concerns something other than a route, such as headers, or something that the report describes separately.
    Elsewhere,
}

impl Applies {
    /// Returns the name in the JSON report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Parameter => "parameter",
            Self::Sometimes => "sometimes",
            Self::Elsewhere => "elsewhere",
        }
    }
}

/// One row of the documentation page, identified by its first cell.
#[derive(Debug)]
pub struct Entry {
    /// The text of the cell, or its beginning followed by `…`.
    pub matter: &'static str,
    pub applies: Applies,
    /// Names of parameters, or `name=prefix` for a parameter whose value starts with `prefix`.
    pub parameters: &'static [&'static str],
    /// The affected routes: method (`*` for any) and path. `A` stands for an account's path, `C` for a public inbox's, `P` for the platform
    /// API's, `{}` for a parameter, and a trailing `/**` for all paths below.
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
