//! One documented difference, with the routes and parameters that it concerns.

/// When a difference shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applies {
    /// With every call of the route.
    Always,
    /// With calls that have one of the parameters.
    Parameter,
    /// With bad input, beyond limits, in rare states: nothing that a log shows.
    Sometimes,
    /// Not by route: headers, or what the report says in words of its own.
    Elsewhere,
}

impl Applies {
    /// The word for it in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Parameter => "parameter",
            Self::Sometimes => "sometimes",
            Self::Elsewhere => "elsewhere",
        }
    }
}

/// One row of the page, by its first cell.
#[derive(Debug)]
pub struct Entry {
    /// The cell, or its beginning with `…` after it.
    pub matter: &'static str,
    pub applies: Applies,
    /// Names of parameters, or `name=start` for one whose value begins so.
    pub parameters: &'static [&'static str],
    /// Method (`*`: any) and path of routes. `A` is an account, `C` a public inbox, `P` the platform side, `{}` a parameter,
    /// and `**` at the end for all that may follow.
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
    /// Whether a row of the page is meant, by its first cell.
    pub fn is_about(&self, cell: &str) -> bool {
        match self.matter.strip_suffix('…') {
            Some(start) => cell.starts_with(start),
            None => cell == self.matter,
        }
    }
}
