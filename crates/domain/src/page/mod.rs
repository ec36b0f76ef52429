//! Keyset pagination: the thousandth page costs as much as the first one.

use parley_fault::Protection;
use parley_types::error::{Error, Result, Rule};
use sea_orm::{
    ExprTrait, Order,
    sea_query::{Expr, SimpleExpr},
};

mod items;
mod keyset;
mod weight;

pub use items::{Key, Page, SortValue};
pub use keyset::{ids, ids_by};
pub use weight::{fitting, rows};

/// The requested page.
#[derive(Clone, Debug, PartialEq)]
pub struct PageRequest {
    /// Maximum number of items.
    pub size: u64,
    /// The position after which the page starts; `None` for the first page.
    pub after: Option<Key>,
    /// How many items to skip.
    pub skip: u64,
}

impl PageRequest {
    /// Checks that the page starts after a key of a list with these sort keys: one value per sort key, with the matching type, or missing
    /// if rows of the list can lack the value.
    ///
    /// A page token contains a checksum, not a signature, so a caller can forge any key. Without this check, a forged key could make the
    /// database compare a string with a number. `PostgreSQL` would return an error, as it does for NUL characters in strings, and `SQLite`
    /// would return a wrong page.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] for `page_token` if the key does not match.
    pub fn check_key(&self, sorts: &[Sort]) -> Result<()> {
        let fits = |key: &Key| {
            let parts = key.value.parts();
            parts.len() == sorts.len() && sorts.iter().zip(parts).all(|(sort, value)| sort.takes(value))
        };
        if self.after.as_ref().is_none_or(fits) || !parley_fault::is_on(Protection::TypedPageTokens) {
            return Ok(());
        }
        Err(Error::invalid(
            "page_token",
            Rule::Invalid,
            "must be the next_page_token of the same call, unchanged",
        ))
    }
}

/// A sort order of a list. Missing values sort last in both directions.
#[derive(Clone, Debug)]
pub struct Sort {
    /// The value to sort by, or `None` to sort only by id.
    pub by: Option<SimpleExpr>,
    /// A coarser value with the same order, for sort keys whose index contains only the coarser value.
    pub coarse: Option<BucketedSortKey>,
    /// A side table with the value, if the index is on that table. Only for values that can be missing.
    pub aside: Option<SideTable>,
    /// Whether the sort value is a string.
    pub text: bool,
    /// Whether the sort value can be missing.
    pub nullable: bool,
    /// Whether the order is descending.
    pub descending: bool,
}

/// A side table that repeats a column and has an index on it. An index on the original table would make every write to that table more
/// expensive. The side table contains only rows that have a value.
#[derive(Clone, Debug)]
pub struct SideTable {
    /// The name of the side table.
    pub table: &'static str,
    /// The join condition between a row and its row in the side table.
    pub on: SimpleExpr,
    /// The sort value, as stored in the side table.
    pub value: SimpleExpr,
    /// The column of the side table with the id of the row that is sorted.
    pub id: SimpleExpr,
}

/// A coarser value that has the same order as another one, such as the hour of a time.
#[derive(Clone, Debug)]
pub struct BucketedSortKey {
    /// The coarse value, which is a column of the row itself.
    pub by: SimpleExpr,
    /// The number by which the fine value is divided to obtain the coarse one.
    pub divisor: i64,
}

impl Sort {
    /// Returns a sort order that uses only the id.
    pub fn by_id(descending: bool) -> Self {
        Self {
            by: None,
            coarse: None,
            aside: None,
            text: false,
            nullable: false,
            descending,
        }
    }

    /// Returns the sort order by a text column that is never NULL, ascending.
    pub fn by_text_column(column: &'static str) -> Self {
        Self {
            by: Some(Expr::col(column)),
            text: true,
            ..Self::by_id(false)
        }
    }

    /// Returns whether a row in a list with this sort key can have the value.
    fn takes(&self, value: &SortValue) -> bool {
        match value {
            SortValue::Null => self.by.is_none() || self.nullable,
            SortValue::Int(_) => self.by.is_some() && !self.text,
            SortValue::Text(text) => self.by.is_some() && self.text && !text.contains('\0'),
            SortValue::Many(_) => false,
        }
    }

    /// Returns this sort key for a list that contains only rows with a value.
    fn valued(&self) -> Self {
        Self {
            by: self.aside.as_ref().map(|aside| aside.value.clone()).or_else(|| self.by.clone()),
            nullable: false,
            ..self.clone()
        }
    }

    fn beyond(&self, by: &SimpleExpr, value: SimpleExpr) -> SimpleExpr {
        if self.descending {
            by.clone().lt(value)
        } else {
            by.clone().gt(value)
        }
    }

    /// Returns a condition that an index can evaluate and that matches all rows after a value, and possibly a few before it. Without it,
    /// each page would scan all rows before the value.
    fn about_after(&self, value: &SortValue) -> Option<SimpleExpr> {
        let (by, bound) = match (&self.coarse, value) {
            (Some(coarse), SortValue::Int(value)) => (&coarse.by, Expr::value(value.div_euclid(coarse.divisor))),
            _ => (self.by.as_ref()?, value.expr()?),
        };
        Some(if self.descending {
            by.clone().lte(bound)
        } else {
            by.clone().gte(bound)
        })
    }

    /// Returns a condition for everything up to a value. `None` if the value is missing.
    fn up_to(&self, value: &SortValue) -> Option<SimpleExpr> {
        let (by, bound) = (self.by.clone()?, value.expr()?);
        Some(if self.descending { by.gte(bound) } else { by.lte(bound) })
    }

    fn order(&self) -> Order {
        if self.descending { Order::Desc } else { Order::Asc }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = SortValue> {
        let one = prop_oneof![
            Just(SortValue::Null),
            any::<i64>().prop_map(SortValue::Int),
            any::<String>().prop_map(SortValue::Text),
        ];
        prop_oneof![
            4 => one.clone(),
            1 => proptest::collection::vec(one, 0..4).prop_map(SortValue::Many),
        ]
    }

    fn sort() -> impl Strategy<Value = Sort> {
        any::<(bool, bool, bool)>().prop_map(|(by, text, nullable)| Sort {
            by: by.then(|| Expr::value(1)),
            text: by && text,
            nullable: by && nullable,
            ..Sort::by_id(false)
        })
    }

    proptest! {
        #[test]
        fn page_key_must_match_the_sort_types(value in value(), sorts in proptest::collection::vec(sort(), 1..4), id: i64) {
            let parts = value.parts().to_vec();
            let page = PageRequest { size: 1, after: Some(Key { value, id }), skip: 0 };
            let typed = parts.len() == sorts.len() && sorts.iter().zip(&parts).all(|(sort, part)| match part {
                SortValue::Null => sort.by.is_none() || sort.nullable,
                SortValue::Int(_) => sort.by.is_some() && !sort.text,
                SortValue::Text(text) => sort.text && !text.contains('\0'),
                SortValue::Many(_) => false,
            });
            prop_assert_eq!(page.check_key(&sorts).is_ok(), typed);
        }
    }
}
