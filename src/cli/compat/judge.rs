//! Judges one call: whether Parley serves its route, and which documented differences apply.

use std::collections::HashSet;

use axum::http::Method;
use parley_rest::route_table::{RouteTable, normalize};
use serde_json::Map;

use super::{
    call::{Call, UNNAMED},
    coverage::Coverage,
    differences::{Applies, Differences},
    non_api::{NonApi, classify},
};

/// Maximum length in bytes of a parameter name in the report. Longer names are withheld.
const MAX_NAME_BYTES: usize = 40;

/// Maximum number of path segments in the report. The rest of a longer path is replaced by `…`.
const MAX_PARTS: usize = 12;

/// How Parley handles a recorded call, compared with Chatwoot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Parley serves the call as Chatwoot does.
    Served,
    /// Parley serves the call, but ignores parameters or differs from Chatwoot in a documented way.
    Different,
    /// Parley does not serve the call.
    Absent,
    /// Parley does not serve the call, but Chatwoot responded with 404 or a server error as well.
    Failed,
}

impl Verdict {
    /// Returns the name that the report uses for the verdict.
    pub fn name(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Different => "different",
            Self::Absent => "absent",
            Self::Failed => "failed",
        }
    }
}

/// The result of judging an API call: the verdict and the reasons for it.
#[derive(Debug, PartialEq)]
pub struct Judgement {
    /// The HTTP method as sent by the client.
    pub method: Method,
    /// The route, with placeholders for the values that the caller supplied.
    pub route: String,
    pub verdict: Verdict,
    /// Whether Chatwoot responded with 404 or a server error.
    pub has_failed: bool,
    /// Names of the parameters that Parley ignores. Anything that does not look like a name is withheld.
    pub ignored: Vec<String>,
    /// Whether Parley would reject the call because it is an update without any field that Parley understands.
    pub is_refused: bool,
    /// Indices of the documented differences that affect, or might affect, the call.
    pub differences: Vec<usize>,
    /// What to use instead of a route that Parley does not serve. Empty if no alternative is documented.
    pub instead: String,
}

/// Compares calls with the routes and differences that Parley documents.
#[derive(Debug)]
pub struct Judge {
    table: RouteTable,
    coverage: Coverage,
    /// The documented differences between Chatwoot and Parley.
    pub differences: Differences,
    /// All literal segments of documented paths. Other segments might be secrets and are never printed.
    words: HashSet<String>,
    prefix: String,
    host: Option<String>,
}

impl Judge {
    /// Creates a judge for calls to `host` below `prefix`.
    pub fn new(prefix: &str, host: Option<String>) -> Self {
        let (table, coverage) = (RouteTable::new(), Coverage::new());
        let paths = table.iter().map(|(_, path)| path).chain(coverage.paths());
        let parts = paths.flat_map(|path| path.split('/'));
        let words = parts
            .filter(|part| !part.is_empty() && !part.starts_with('{') && *part != "**")
            .map(str::to_owned)
            .collect();
        Self {
            differences: Differences::new(&table),
            words,
            table,
            coverage,
            prefix: normalize(&format!("/{prefix}")).trim_end_matches('/').to_owned(),
            host,
        }
    }

    /// Judges a call.
    ///
    /// # Errors
    /// Returns the kind of request if it is not an API call.
    pub fn judge(&self, call: Call) -> Result<Judgement, NonApi> {
        if self.host.is_some() && call.host.is_some() && self.host != call.host {
            return Err(NonApi::Elsewhere);
        }
        let mut path = normalize(&call.path);
        if !self.prefix.is_empty() {
            let below = path
                .strip_prefix(&self.prefix)
                .filter(|rest| rest.is_empty() || rest.starts_with('/'));
            // Normalize again without the prefix, which the server does not see: `.json` is dropped only from a path that begins like an
            // API path.
            path = normalize(below.ok_or(NonApi::Elsewhere)?);
        }
        if matches!(call.method, Method::OPTIONS | Method::TRACE | Method::CONNECT) {
            return Err(NonApi::Preflights);
        }
        if let Some(non_api) = classify(&path) {
            return Err(non_api);
        }
        let has_failed = call.status.is_some_and(|status| status == 404 || status >= 500);
        let Some(found) = self.table.find(&call.method, &path) else {
            return Ok(self.judge_absent(call.method, &path, has_failed));
        };
        let empty = Map::new();
        let body = call.body.as_ref();
        let difference = found.compare(
            body.map_or(&empty, |body| &body.map),
            body.is_some_and(|body| body.has_files),
            &call.query,
        );
        let differences = self
            .differences
            .of(&call.method, found.path(), &call.query, body.map(|body| &body.map));
        let shows = |index: &usize| self.differences.get(*index).applies != Applies::Sometimes;
        let is_same = difference.ignored.names.is_empty() && !differences.iter().any(shows);
        Ok(Judgement {
            route: found.path().to_owned(),
            verdict: if is_same { Verdict::Served } else { Verdict::Different },
            has_failed,
            ignored: difference.ignored.names.iter().map(|name| printable_name(name)).collect(),
            is_refused: difference.is_refused,
            differences,
            instead: String::new(),
            method: call.method,
        })
    }

    fn judge_absent(&self, method: Method, path: &str, has_failed: bool) -> Judgement {
        let listed = self.coverage.find(method.as_str(), path);
        Judgement {
            route: listed.map_or_else(|| self.mask(path), |route| route.path.clone()),
            verdict: if has_failed { Verdict::Failed } else { Verdict::Absent },
            has_failed,
            ignored: Vec::new(),
            is_refused: false,
            differences: Vec::new(),
            instead: listed.map(|route| route.instead.clone()).unwrap_or_default(),
            method,
        }
    }

    /// Returns the path with `{id}` for numbers and `{?}` for segments that occur in no documented path.
    fn mask(&self, path: &str) -> String {
        let mut masked = String::new();
        for (at, part) in path.split('/').skip(1).enumerate() {
            if at == MAX_PARTS {
                masked.push_str("/…");
                break;
            }
            masked.push('/');
            if self.words.contains(part) {
                masked.push_str(part);
            } else if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) {
                masked.push_str("{id}");
            } else if !part.is_empty() {
                masked.push_str("{?}");
            }
        }
        masked
    }
}

/// Returns the name of a parameter if it looks like a name. Otherwise returns a placeholder, because the text might be a token or an
/// address that a client put in the wrong place.
fn printable_name(name: &str) -> String {
    let (outer, inner) = name.split_once('[').unwrap_or((name, ""));
    let is_name = |text: &str| {
        let is_long = text.len() > 15;
        text.len() <= MAX_NAME_BYTES
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
            && !(is_long && text.bytes().any(|byte| byte.is_ascii_digit()))
            && !has_long_number(text)
            && !has_mixed_case(text)
    };
    let is_plain = name != UNNAMED && !outer.is_empty() && is_name(outer) && is_name(inner.trim_end_matches(']'));
    if is_plain { name.to_owned() } else { "(name withheld)".to_owned() }
}

/// Returns whether the text contains four consecutive digits, as in a phone number or an ID.
fn has_long_number(text: &str) -> bool {
    let digits: Vec<bool> = text.bytes().map(|byte| byte.is_ascii_digit()).collect();
    digits.windows(4).any(|four| four.iter().all(|is_digit| *is_digit))
}

/// Returns whether a text looks like base64: it has more than eight bytes and contains lowercase letters, but more than a third of its
/// letters are capitals. Names in `camelCase` contain fewer capitals.
fn has_mixed_case(text: &str) -> bool {
    let capitals = text.bytes().filter(u8::is_ascii_uppercase).count();
    let small = text.bytes().filter(u8::is_ascii_lowercase).count();
    text.len() > 8 && small > 0 && capitals * 2 > small
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::cli::compat::call::Body;

    static JUDGE: LazyLock<Judge> = LazyLock::new(|| Judge::new("", None));

    fn judged(judge: &Judge, method: &str, target: &str, status: u16) -> Result<Judgement, NonApi> {
        judge.judge(Call::new(method, target, Some(status)).expect("a call"))
    }

    #[test]
    fn judges_by_routes_and_documentation() {
        let judge = Judge::new("", None);
        for (method, target, status, verdict, route) in [
            (
                "GET",
                "/api/v1/accounts/7/labels",
                200,
                Verdict::Served,
                "/api/v1/accounts/{account_id}/labels",
            ),
            (
                "PUT",
                "//api/v1/accounts/7/contacts/9.json/",
                200,
                Verdict::Served,
                "/api/v1/accounts/{account_id}/contacts/{contact_id}",
            ),
            ("GET", "/api/v1/profile", 404, Verdict::Different, "/api/v1/profile"),
            (
                "GET",
                "/api/v1/accounts/7/labels?x=1",
                200,
                Verdict::Different,
                "/api/v1/accounts/{account_id}/labels",
            ),
            (
                "GET",
                "/api/v1/accounts/7/captain/x",
                200,
                Verdict::Absent,
                "/api/v1/accounts/{account_id}/captain/**",
            ),
            (
                "GET",
                "/api/v1/accounts/7/captain/x",
                502,
                Verdict::Failed,
                "/api/v1/accounts/{account_id}/captain/**",
            ),
            (
                "GET",
                "/api/v1/accounts/7/labels/SeCret/5/contacts",
                200,
                Verdict::Absent,
                "/api/v1/accounts/{id}/labels/{?}/{id}/contacts",
            ),
            ("POST", "/auth/sign_in", 200, Verdict::Absent, "/auth/**"),
            ("GET", "/cable", 101, Verdict::Different, "/cable"),
        ] {
            let judged = judged(&judge, method, target, status).expect("a call of the API");
            assert_eq!((judged.verdict, judged.route.as_str()), (verdict, route), "{method} {target}");
            assert_eq!(judged.has_failed, status == 404 || status >= 500);
            assert_eq!(
                judged.instead.is_empty(),
                matches!(verdict, Verdict::Served | Verdict::Different) || route.contains("{?}")
            );
        }
        for (method, target, non_api) in [
            ("GET", "/", NonApi::Pages),
            ("GET", "/app/accounts/1/dashboard", NonApi::Pages),
            ("GET", "/packs/js/application.js", NonApi::Pages),
            ("GET", "/rails/active_storage/blobs/x", NonApi::Files),
            ("POST", "/webhooks/telegram/1:token", NonApi::Webhooks),
            ("OPTIONS", "/api/v1/profile", NonApi::Preflights),
        ] {
            assert_eq!(judged(&judge, method, target, 200), Err(non_api), "{target}");
        }
    }

    #[test]
    fn ignores_other_prefixes_and_hosts() {
        let judge = Judge::new("chat/", Some("chat.example.org".to_owned()));
        for (target, is_api) in [
            ("/chat/api/v1/profile", true),
            ("//chat//api/v1/profile.json", true),
            ("https://chat.example.org/chat/api/v1/profile", true),
            ("https://other.example.org/chat/api/v1/profile", false),
            ("/api/v1/profile", false),
            ("/chatter/api/v1/profile", false),
        ] {
            let judged = judged(&judge, "GET", target, 200);
            assert_eq!(
                judged.as_ref().map(|call| call.route.as_str()).ok(),
                is_api.then_some("/api/v1/profile"),
                "{target}"
            );
        }
    }

    #[test]
    fn reports_ignored_body_fields() {
        let judge = Judge::new("", None);
        let mut call = Call::new("PATCH", "/api/v1/accounts/1/teams/2", Some(200)).expect("a call");
        let body = json!({"team": {"colour": "red", "ana@example.org": 1}});
        call.body = Some(Body {
            map: body.as_object().expect("an object").clone(),
            has_files: false,
        });
        let judged = judge.judge(call).expect("a call of the API");
        assert_eq!(judged.verdict, Verdict::Different);
        assert!(judged.is_refused);
        let mut ignored = judged.ignored;
        ignored.sort();
        assert_eq!(ignored, ["(name withheld)", "team[colour]"]);
    }

    #[test]
    fn withholds_values_used_as_names() {
        for name in [
            "sort",
            "utm_source",
            "team[color]",
            "a.b-c",
            "page2",
            "conversation_display_type",
            "replyToMessageId",
        ] {
            assert_eq!(printable_name(name), name);
        }
        for name in [
            "?",
            "",
            "ana@example.org",
            "W9mF2kQz8TyuVb3nXc5LpRa7",
            "491701234567",
            "dXNlcjpzZWNyZXQ",
            "a b",
            "[x]",
            "team[W9mF2kQz8TyuVb3nXc5LpRa7]",
        ] {
            assert_ne!(printable_name(name), name);
        }
    }

    proptest! {
        #[test]
        fn paths_show_only_documented_words(parts in proptest::collection::vec("[A-Za-z0-9@._%-]{0,30}", 0..20)) {
            let judge = &*JUDGE;
            let target = format!("/api/v1/{}", parts.join("/"));
            if let Ok(judged) = judged(judge, "GET", &target, 200) {
                let is_known = |part: &str| part.is_empty() || part == "…" || part == "**" || part.starts_with('{') || judge.words.contains(part);
                prop_assert!(judged.route.split('/').all(is_known), "{}", judged.route);
            }
        }
    }
}
