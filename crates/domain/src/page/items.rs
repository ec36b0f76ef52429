//! A page of items, and where it ends.

use sea_orm::sea_query::Expr;
use sea_orm::sea_query::SimpleExpr;

/// The value that a list is sorted by, of the last row of a page.
#[derive(Clone, Debug, PartialEq)]
pub enum SortValue {
    /// None: these come last.
    Null,
    /// A number or a time.
    Int(i64),
    /// A text.
    Text(String),
    /// One for each of several sort keys.
    Many(Vec<SortValue>),
}

impl SortValue {
    pub(super) fn of(mut parts: Vec<Self>) -> Self {
        match parts.pop() {
            Some(single) if parts.is_empty() => single,
            Some(last) => {
                parts.push(last);
                Self::Many(parts)
            }
            None => Self::Null,
        }
    }

    pub(super) fn parts(&self) -> &[Self] {
        match self {
            Self::Many(parts) => parts,
            single => std::slice::from_ref(single),
        }
    }

    /// As it is compared with; none: null.
    pub(super) fn expr(&self) -> Option<SimpleExpr> {
        match self {
            Self::Int(value) => Some(Expr::value(*value)),
            Self::Text(value) => Some(Expr::value(value.clone())),
            Self::Null | Self::Many(_) => None,
        }
    }
}

/// Where a page ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// The value sorted by.
    pub value: SortValue,
    /// The id, which decides among equal values.
    pub id: i64,
}

/// A page, and where the next one starts.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// The sort key of each row, so that the page can end after any of them.
    pub keys: Vec<Key>,
    /// Where this page ended, if there are more.
    pub next: Option<Key>,
}

impl<T> Page<T> {
    /// The same page with each row made into something else.
    pub fn map<U>(self, make: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(make).collect(),
            keys: self.keys,
            next: self.next,
        }
    }

    /// Ends the page after so many rows; the next one starts with the rows that were dropped.
    pub fn truncate(&mut self, count: usize) {
        if count < self.items.len() {
            self.items.truncate(count);
            self.keys.truncate(count);
            self.next = self.keys.last().cloned();
        }
    }
}

impl Page<i64> {
    /// The rows of a page of ids, in their order. A row that was deleted meanwhile is left out.
    pub fn with<T>(self, rows: Vec<T>, id: impl Fn(&T) -> i64) -> Page<T> {
        let mut rows: std::collections::HashMap<i64, T> = rows.into_iter().map(|row| (id(&row), row)).collect();
        let (mut items, mut keys) = (Vec::with_capacity(self.keys.len()), Vec::with_capacity(self.keys.len()));
        for key in self.keys {
            if let Some(row) = rows.remove(&key.id) {
                items.push(row);
                keys.push(key);
            }
        }
        Page {
            items,
            keys,
            next: self.next,
        }
    }
}
