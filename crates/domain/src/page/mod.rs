//! Pages of lists: by keyset, so that the thousandth page costs what the first one does.

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

/// Which page.
#[derive(Clone, Debug, PartialEq)]
pub struct PageRequest {
    /// How many at most.
    pub size: u64,
    /// After which row.
    pub after: Option<Key>,
    /// How many to leave out.
    pub skip: u64,
}

impl PageRequest {
    /// Checks that the key came from a list with these sort keys: one value each, of its type, or null where a row may lack it.
    ///
    /// A page token carries a checksum, not a signature, so a caller can write any key. The database would compare a text with a number:
    /// `PostgreSQL` refuses that, and the NUL character in any text, while `SQLite` answers with a page of something else.
    ///
    /// # Errors
    /// [`Error::Invalid`] for `page_token`.
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

/// What a list is sorted by. Missing values come last in both directions.
#[derive(Clone, Debug)]
pub struct Sort {
    /// The value; none: the id alone.
    pub by: Option<SimpleExpr>,
    /// A coarser value in the same order, if that is what the index holds.
    pub coarse: Option<BucketedSortKey>,
    /// Where else it stands, if that is what an index is on. Only of values that may be missing.
    pub aside: Option<SideTable>,
    /// Whether it is a text.
    pub text: bool,
    /// Whether it may be missing.
    pub nullable: bool,
    /// From the highest to the lowest.
    pub descending: bool,
}

/// Where the values stand once more, in a table with an index that holds them in order: one on the rows themselves would cost every write
/// of them. It has rows for values alone.
#[derive(Clone, Debug)]
pub struct SideTable {
    /// The table.
    pub table: &'static str,
    /// Which of its rows is a row's.
    pub on: SimpleExpr,
    /// The value in it.
    pub value: SimpleExpr,
    /// The row's id in it.
    pub id: SimpleExpr,
}

/// A value that sorts as another one does, only less finely.
#[derive(Clone, Debug)]
pub struct BucketedSortKey {
    /// The value, in the row.
    pub by: SimpleExpr,
    /// How much of the finer one makes one of it.
    pub divisor: i64,
}

impl Sort {
    /// By id.
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

    /// By a column that holds texts and is never null, ascending.
    pub fn by_text_column(column: &'static str) -> Self {
        Self {
            by: Some(Expr::col(column)),
            text: true,
            ..Self::by_id(false)
        }
    }

    /// Whether a row of a list in this order can have the value.
    fn takes(&self, value: &SortValue) -> bool {
        match value {
            SortValue::Null => self.by.is_none() || self.nullable,
            SortValue::Int(_) => self.by.is_some() && !self.text,
            SortValue::Text(text) => self.by.is_some() && self.text && !text.contains('\0'),
            SortValue::Many(_) => false,
        }
    }

    /// As it is among the rows that have a value.
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

    /// Everything after a value and a little more, in a form that an index answers; without it each page would walk over all before it.
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

    /// Everything up to a value, which is not missing.
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
        fn a_key_is_taken_only_with_values_of_the_types_of_its_list(value in value(), sorts in proptest::collection::vec(sort(), 1..4), id: i64) {
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
