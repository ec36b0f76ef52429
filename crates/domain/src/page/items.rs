//! A page of items and the position at which it ends.

use sea_orm::sea_query::Expr;
use sea_orm::sea_query::SimpleExpr;

/// The value of a sort key in the last row of a page.
#[derive(Clone, Debug, PartialEq)]
pub enum SortValue {
    /// A missing value. Rows with missing values sort last.
    Null,
    /// An integer or a time.
    Int(i64),
    /// A string.
    Text(String),
    /// The values of a list that is sorted by several keys, one per key.
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

    /// Returns the value as an SQL expression for comparisons, or `None` if it is missing or consists of several values.
    pub(super) fn expr(&self) -> Option<SimpleExpr> {
        match self {
            Self::Int(value) => Some(Expr::value(*value)),
            Self::Text(value) => Some(Expr::value(value.clone())),
            Self::Null | Self::Many(_) => None,
        }
    }
}

/// The position at which a page ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// The value that the list is sorted by.
    pub value: SortValue,
    /// The id, which orders rows with equal values.
    pub id: i64,
}

/// A page, and the position at which the next one starts.
#[derive(Clone, Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// The sort key of each item, so that the page can end after any of them.
    pub keys: Vec<Key>,
    /// The position at which this page ended; `None` if it is the last one.
    pub next: Option<Key>,
}

impl<T> Page<T> {
    /// Converts each item, and keeps the sort keys and the position of the next page.
    pub fn map<U>(self, make: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(make).collect(),
            keys: self.keys,
            next: self.next,
        }
    }

    /// Truncates the page to `count` items. The next page then starts with the first dropped item.
    pub fn truncate(&mut self, count: usize) {
        if count < self.items.len() {
            self.items.truncate(count);
            self.keys.truncate(count);
            self.next = self.keys.last().cloned();
        }
    }
}

impl Page<i64> {
    /// Replaces the ids of a page with their rows, in the order of the page. Rows that have been deleted in the meantime are left out.
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
