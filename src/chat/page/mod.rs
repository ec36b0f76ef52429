//! Pages of lists: by keyset, so that the thousandth page costs what the first one does.

use sea_orm::{
    ExprTrait, Order,
    sea_query::{Expr, SimpleExpr},
};

mod keyset;

pub use keyset::{ids, ids_by};

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
    fn of(mut parts: Vec<Self>) -> Self {
        match parts.pop() {
            Some(single) if parts.is_empty() => single,
            Some(last) => {
                parts.push(last);
                Self::Many(parts)
            }
            None => Self::Null,
        }
    }

    fn parts(&self) -> &[Self] {
        match self {
            Self::Many(parts) => parts,
            single => std::slice::from_ref(single),
        }
    }

    /// As it is compared with; none: null.
    fn expr(&self) -> Option<SimpleExpr> {
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

/// A page, and where the next one starts.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where this page ended, if there are more.
    pub next: Option<Key>,
}

/// What a list is sorted by. Missing values come last in both directions.
#[derive(Clone, Debug)]
pub struct Sort {
    /// The value; none: the id alone.
    pub by: Option<SimpleExpr>,
    /// A coarser value in the same order, if that is what the index holds.
    pub coarse: Option<Coarse>,
    /// Where else it stands, if that is what an index is on. Only of values that may be missing.
    pub aside: Option<Aside>,
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
pub struct Aside {
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
pub struct Coarse {
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

/// Puts rows that were read by id back into the order of the ids.
pub fn in_order<T>(ids: &[i64], rows: Vec<T>, id: impl Fn(&T) -> i64) -> Vec<T> {
    let mut rows: std::collections::HashMap<i64, T> = rows.into_iter().map(|row| (id(&row), row)).collect();
    ids.iter().filter_map(|id| rows.remove(id)).collect()
}
