//! Pages of lists: by number, as the product has them, and by an opaque cursor, for those with much data. The same everywhere.

use serde_json::{Value as Json, json};

use crate::{
    errors::sentence::Complaint,
    openapi::{
        About,
        schema::{Schema, flag, integer, text},
    },
    params::fields::Fields,
};

/// The most that a page asked for by `per_page` may hold.
const MOST: i64 = 100;
/// The most that the service leaves out before a page.
const FARTHEST: i64 = 1_000_000;

/// Which rows of a list are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// How many to leave out.
    pub skip: i32,
    /// How many to ask for.
    pub size: i32,
    /// Where to go on; empty: from the start.
    pub token: String,
    /// How many of those asked for are shown: none of a page beyond what can be left out.
    pub rows: usize,
    /// Whether the answer tells how to go on.
    told: bool,
}

impl Window {
    /// What `page`, `cursor` and `per_page` ask for; `usual` is the size of a page without `per_page`, 0 what the service takes. With
    /// `cursor`, which may be empty, there are no page numbers.
    pub fn read(fields: &mut Fields<'_>, usual: i32) -> Self {
        let window = Self::unnumbered(fields, usual);
        if by_cursor(fields) { window } else { window.at(fields.page()) }
    }

    /// As [`Self::read`], of a list whose pages have no numbers.
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

    /// As [`Self::read`], of a list whose pages have nothing but numbers.
    pub fn numbered(fields: &Fields<'_>, usual: i32) -> Self {
        Self::first(usual).at(fields.page())
    }

    fn first(size: i32) -> Self {
        Self {
            skip: 0,
            size,
            token: String::new(),
            // 0 is the service's own size.
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

    /// Whether everything is to be counted: not again on each further page of a cursor.
    pub fn counts(&self) -> bool {
        self.token.is_empty()
    }

    /// Adds to `meta` whether there are more and where they begin, to those who asked for it.
    pub fn tell(&self, meta: &mut Json, next_page_token: &str) {
        if self.told {
            let next = Some(next_page_token).filter(|token| !token.is_empty() && self.rows > 0);
            meta["has_more"] = json!(next.is_some());
            meta["next_cursor"] = json!(next);
        }
    }

    /// As [`Self::tell`], of a search in messages, which may not have come to its end.
    pub fn tell_found(&self, meta: &mut Json, next_page_token: &str, complete: bool) {
        self.tell(meta, next_page_token);
        if self.told {
            meta["complete"] = json!(complete);
        }
    }

    /// A further page of the same answer.
    pub fn page(&self, token: String, size: usize) -> Self {
        Self {
            skip: 0,
            size: size.try_into().unwrap_or(self.size),
            token,
            ..self.clone()
        }
    }

    /// Where the answer itself goes on when the service cut the page by bytes. It does not for those who are told how to go on.
    pub fn cut(&self, next_page_token: String) -> String {
        if self.told || self.rows == 0 {
            String::new()
        } else {
            next_page_token
        }
    }

    /// Whether the answer has a `meta` for this alone.
    pub fn is_told(&self) -> bool {
        self.told
    }
}

fn by_cursor(fields: &Fields<'_>) -> bool {
    fields.given("cursor") && fields.raw("cursor") != Some(&Json::Null)
}

/// The parameters that [`Window::read`] reads.
pub fn taken(about: About) -> About {
    taken_unnumbered(about.query("page", integer().note("From 1.")))
}

/// The parameters that [`Window::unnumbered`] reads.
pub fn taken_unnumbered(about: About) -> About {
    about
        .query("per_page", integer().note("1 to 100. The answer then tells how to go on."))
        .query(
            "cursor",
            text().note("next_cursor of the page before; empty for the first one. Costs the same on every page."),
        )
}

/// What [`Window::tell_found`] adds.
pub fn told_found(meta: Schema) -> Schema {
    told(meta).optional(
        "complete",
        flag().note("Whether all messages were looked at: not beyond the bound of a search, nor while the index is far behind."),
    )
}

/// What [`Window::tell`] adds.
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
