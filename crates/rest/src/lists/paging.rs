//! Pagination by page number, as in Chatwoot, and by opaque cursor, for clients with large lists. All lists share it.

use serde_json::{Value as Json, json};

use crate::{
    errors::sentence::Complaint,
    openapi::{
        About,
        schema::{Schema, flag, integer, text},
    },
    params::fields::Fields,
};

/// The maximum value of `per_page`.
const MOST: i64 = 100;
/// The maximum number of rows that the service skips.
const FARTHEST: i64 = 1_000_000;

/// The requested rows of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Number of rows to skip.
    pub skip: i32,
    /// Number of rows to request.
    pub size: i32,
    /// The page token to continue from; empty for the start.
    pub token: String,
    /// Number of requested rows to return: 0 for a page beyond [`FARTHEST`].
    pub rows: usize,
    /// Whether the response contains the cursor of the next page.
    told: bool,
}

impl Window {
    /// Parses `page`, `cursor` and `per_page`. `usual` is the default page size; 0 selects that of the service. If `cursor` is present,
    /// even if empty, the page number is ignored.
    pub fn read(fields: &mut Fields<'_>, usual: i32) -> Self {
        let window = Self::unnumbered(fields, usual);
        if by_cursor(fields) { window } else { window.at(fields.page()) }
    }

    /// Like [`Self::read`], for a list without page numbers.
    pub fn unnumbered(fields: &mut Fields<'_>, usual: i32) -> Self {
        let mut size = usual;
        if fields.filled("per_page") {
            match fields.integer("per_page").filter(|size| (1..=MOST).contains(size)) {
                Some(asked) => size = i32::try_from(asked).unwrap_or(usual),
                None => fields.complain(Complaint::new("per_page", &format!("must be between 1 and {MOST}"))),
            }
        }
        Self {
            told: by_cursor(fields) || fields.filled("per_page"),
            token: fields.text("cursor").unwrap_or_default(),
            ..Self::first(size)
        }
    }

    /// Like [`Self::read`], for a list with page numbers only.
    pub fn numbered(fields: &Fields<'_>, usual: i32) -> Self {
        Self::first(usual).at(fields.page())
    }

    fn first(size: i32) -> Self {
        Self {
            skip: 0,
            size,
            token: String::new(),
            // 0 selects the service's default size.
            rows: usize::try_from(size).ok().filter(|rows| *rows > 0).unwrap_or(usize::MAX),
            told: false,
        }
    }

    fn at(self, page: i64) -> Self {
        let skip = i32::try_from((page - 1).saturating_mul(self.size.into()));
        match skip.ok().filter(|skip| i64::from(*skip) <= FARTHEST) {
            Some(skip) => Self { skip, ..self },
            None => Self { size: 1, rows: 0, ..self },
        }
    }

    /// Whether to count all rows: only on the first page of a cursor.
    pub fn counts(&self) -> bool {
        self.token.is_empty()
    }

    /// Adds to `meta` whether there are more rows and the cursor of the next page, if the client asked for them.
    pub fn tell(&self, meta: &mut Json, next_page_token: &str) {
        if self.told {
            let next = Some(next_page_token).filter(|token| !token.is_empty() && self.rows > 0);
            meta["has_more"] = json!(next.is_some());
            meta["next_cursor"] = json!(next);
        }
    }

    /// Like [`Self::tell`], for a message search, which may be incomplete.
    pub fn tell_found(&self, meta: &mut Json, next_page_token: &str, complete: bool) {
        self.tell(meta, next_page_token);
        if self.told {
            meta["complete"] = json!(complete);
        }
    }

    /// The window of a further page of the same response.
    pub fn page(&self, token: String, size: usize) -> Self {
        Self {
            skip: 0,
            size: size.try_into().unwrap_or(self.size),
            token,
            ..self.clone()
        }
    }

    /// The token with which this response itself continues when the service has cut the page by bytes. Empty for clients that receive the
    /// cursor of the next page.
    pub fn cut(&self, next_page_token: String) -> String {
        if self.told || self.rows == 0 {
            String::new()
        } else {
            next_page_token
        }
    }

    /// Whether the response needs a `meta` object only for pagination.
    pub fn is_told(&self) -> bool {
        self.told
    }
}

fn by_cursor(fields: &Fields<'_>) -> bool {
    fields.given("cursor") && fields.raw("cursor") != Some(&Json::Null)
}

/// Describes the parameters that [`Window::read`] parses.
pub fn taken(about: About) -> About {
    taken_unnumbered(about.query("page", integer().note("From 1.")))
}

/// Describes the parameters that [`Window::unnumbered`] parses.
pub fn taken_unnumbered(about: About) -> About {
    about
        .query("per_page", integer().note("1 to 100. The answer then tells how to go on."))
        .query(
            "cursor",
            text().note("next_cursor of the page before; empty for the first one. Costs the same on every page."),
        )
}

/// Describes the keys that [`Window::tell_found`] adds.
pub fn told_found(meta: Schema) -> Schema {
    told(meta).optional(
        "complete",
        flag().note("Whether all messages were looked at: not beyond the bound of a search, nor while the index is far behind."),
    )
}

/// Describes the keys that [`Window::tell`] adds.
pub fn told(meta: Schema) -> Schema {
    meta.optional("has_more", flag()).optional("next_cursor", text().or_null())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Params;

    fn window(json: Json) -> Result<Window, String> {
        let Json::Object(map) = json else { panic!("an object") };
        let params = Params { map, ..Default::default() };
        let mut fields = params.fields();
        let window = Window::read(&mut fields, 15);
        fields.verdict().map(|()| window).map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn pages_are_those_of_the_product_unless_asked_otherwise() {
        let shown = |json| {
            window(json)
                .map(|window| (window.skip, window.size, window.rows, window.told))
                .unwrap()
        };
        assert_eq!(shown(json!({})), (0, 15, 15, false));
        assert_eq!(shown(json!({"page": "3"})), (30, 15, 15, false));
        assert_eq!(shown(json!({"page": i64::MAX})), (0, 1, 0, false));
        assert_eq!(shown(json!({"page": 2, "per_page": "100"})), (100, 100, 100, true));
        assert_eq!(shown(json!({"page": 2, "cursor": ""})), (0, 15, 15, true));
        for bad in [json!(0), json!(101), json!("x"), json!([1])] {
            assert!(
                window(json!({"per_page": bad}))
                    .unwrap_err()
                    .contains("Per page must be between 1 and 100"),
                "{bad}"
            );
        }
    }

    #[test]
    fn only_those_who_ask_are_told() {
        let tell = |json, next| {
            let mut meta = json!({});
            window(json).unwrap().tell(&mut meta, next);
            meta
        };
        assert_eq!(tell(json!({}), "abc"), json!({}));
        assert_eq!(tell(json!({"cursor": ""}), "abc"), json!({"has_more": true, "next_cursor": "abc"}));
        assert_eq!(tell(json!({"per_page": 5}), ""), json!({"has_more": false, "next_cursor": null}));
        assert!(!window(json!({"cursor": "abc"})).unwrap().counts());
    }
}
