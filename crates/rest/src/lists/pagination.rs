//! Pagination by page number, as in Chatwoot, and by opaque cursor, for clients that read large lists. Shared by all lists.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value as Json;

use crate::{errors::field_error::FieldError, openapi::RouteDescription, params::fields::ParamReader};

/// The maximum value of `per_page`.
const MAX_PER_PAGE: i64 = 100;
/// The maximum number of rows that the gRPC service skips.
const MAX_SKIP: i64 = 1_000_000;

/// The range of a list's rows that a request selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageWindow {
    /// Number of rows to skip before the first returned row.
    pub skip: i32,
    /// Number of rows to request from the gRPC service.
    pub size: i32,
    /// The page token to continue from; empty for the start.
    pub token: String,
    /// Maximum number of rows to return; 0 for a page beyond [`MAX_SKIP`].
    pub rows: usize,
    /// Whether the response contains the cursor of the next page.
    with_cursor: bool,
}

impl PageWindow {
    /// Parses `page`, `cursor` and `per_page`. `usual` is the default page size; 0 selects the service's default. If `cursor` is present,
    /// even if empty, the page number is ignored.
    pub fn read(fields: &mut ParamReader<'_>, usual: i32) -> Self {
        let window = Self::unnumbered(fields, usual);
        if by_cursor(fields) { window } else { window.at(fields.page()) }
    }

    /// Like [`Self::read`], for a list that is paginated only by cursor.
    pub fn unnumbered(fields: &mut ParamReader<'_>, usual: i32) -> Self {
        let mut size = usual;
        if fields.has_value("per_page") {
            match fields.integer("per_page").filter(|size| (1..=MAX_PER_PAGE).contains(size)) {
                Some(requested) => size = i32::try_from(requested).unwrap_or(usual),
                None => fields.add_error(FieldError::new("per_page", &format!("must be between 1 and {MAX_PER_PAGE}"))),
            }
        }
        Self {
            with_cursor: by_cursor(fields) || fields.has_value("per_page"),
            token: fields.text("cursor").unwrap_or_default(),
            ..Self::first(size)
        }
    }

    /// Like [`Self::read`], for a list that is paginated only by page number.
    pub fn numbered(fields: &ParamReader<'_>, usual: i32) -> Self {
        Self::first(usual).at(fields.page())
    }

    fn first(size: i32) -> Self {
        Self {
            skip: 0,
            size,
            token: String::new(),
            // A size of 0 selects the service's default page size.
            rows: usize::try_from(size).ok().filter(|rows| *rows > 0).unwrap_or(usize::MAX),
            with_cursor: false,
        }
    }

    fn at(self, page: i64) -> Self {
        let skip = i32::try_from((page - 1).saturating_mul(self.size.into()));
        match skip.ok().filter(|skip| i64::from(*skip) <= MAX_SKIP) {
            Some(skip) => Self { skip, ..self },
            None => Self { size: 1, rows: 0, ..self },
        }
    }

    /// Returns whether to count all rows of the list. A list that is paginated by cursor is counted only for its first page.
    pub fn counts(&self) -> bool {
        self.token.is_empty()
    }

    /// Returns the cursor of the next page, or `None` if the client did not ask for cursors.
    pub fn cursor(&self, next_page_token: &str) -> Option<Cursor> {
        let next = Some(next_page_token).filter(|token| !token.is_empty() && self.rows > 0);
        self.with_cursor.then(|| Cursor {
            has_more: next.is_some(),
            next_cursor: next.map(str::to_owned),
        })
    }

    /// Like [`Self::cursor`], for a message search. `complete` is whether all messages were searched.
    pub fn search_cursor(&self, next_page_token: &str, complete: Option<bool>) -> Option<SearchCursor> {
        self.cursor(next_page_token).map(|cursor| SearchCursor { cursor, complete })
    }

    /// Returns the window with which to fetch a further page for the same response, starting at `token`.
    pub fn page(&self, token: String, size: usize) -> Self {
        Self {
            skip: 0,
            size: size.try_into().unwrap_or(self.size),
            token,
            ..self.clone()
        }
    }

    /// Returns the token of the page with which this response must continue because the service cut the current page at its byte limit. The
    /// token is empty if the client receives the cursor of the next page instead.
    pub fn cut(&self, next_page_token: String) -> String {
        if self.with_cursor || self.rows == 0 {
            String::new()
        } else {
            next_page_token
        }
    }
}

fn by_cursor(fields: &ParamReader<'_>) -> bool {
    fields.is_present("cursor") && fields.raw("cursor") != Some(&Json::Null)
}

// The position at which a list continues on the next page.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Cursor {
    has_more: bool,
    next_cursor: Option<String>,
}

// The position at which the result of a message search continues.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct SearchCursor {
    #[serde(flatten)]
    cursor: Cursor,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    complete: Option<bool>,
}

// The metadata of a list, and the position at which it continues: a [`Cursor`] or a [`SearchCursor`].
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct PageMeta<M, C = Cursor> {
    #[serde(flatten)]
    pub meta: M,
    #[serde(flatten)]
    pub cursor: Option<C>,
}

/// Describes the parameters that [`PageWindow::read`] parses, for the `OpenAPI` document.
pub fn page_params(description: RouteDescription) -> RouteDescription {
    cursor_params(description.query::<i64>("page"))
}

/// Describes the parameters that [`PageWindow::unnumbered`] parses, for the `OpenAPI` document.
pub fn cursor_params(description: RouteDescription) -> RouteDescription {
    description.query::<i64>("per_page").query::<String>("cursor")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::params::Params;

    fn window(json: Json) -> Result<PageWindow, String> {
        let Json::Object(map) = json else { panic!("an object") };
        let params = Params { map, ..Default::default() };
        let mut fields = params.fields();
        let window = PageWindow::read(&mut fields, 15);
        fields.finish().map(|()| window).map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn defaults_to_chatwoots_pages() {
        let parsed = |json| {
            window(json)
                .map(|window| (window.skip, window.size, window.rows, window.with_cursor))
                .unwrap()
        };
        assert_eq!(parsed(json!({})), (0, 15, 15, false));
        assert_eq!(parsed(json!({"page": "3"})), (30, 15, 15, false));
        assert_eq!(parsed(json!({"page": i64::MAX})), (0, 1, 0, false));
        assert_eq!(parsed(json!({"page": 2, "per_page": "100"})), (100, 100, 100, true));
        assert_eq!(parsed(json!({"page": 2, "cursor": ""})), (0, 15, 15, true));
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
    fn cursor_is_returned_on_request() {
        let cursor = |json, next| json!(window(json).unwrap().cursor(next));
        assert_eq!(cursor(json!({}), "abc"), Json::Null);
        assert_eq!(
            cursor(json!({"cursor": ""}), "abc"),
            json!({"has_more": true, "next_cursor": "abc"})
        );
        assert_eq!(cursor(json!({"per_page": 5}), ""), json!({"has_more": false, "next_cursor": null}));
        assert!(!window(json!({"cursor": "abc"})).unwrap().counts());
    }
}
