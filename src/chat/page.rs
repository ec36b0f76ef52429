//! Pages of lists: by keyset, so that the thousandth page costs what the first one does.

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, ExprTrait, Order, QueryFilter, QueryOrder, QuerySelect, Select,
    sea_query::{Expr, NullOrdering, SimpleExpr},
};

use crate::error::Result;

/// The value that a list is sorted by, of the last row of a page.
#[derive(Clone, Debug, PartialEq)]
pub enum SortValue {
    /// None: these come last.
    Null,
    /// A number or a time.
    Int(i64),
    /// A text.
    Text(String),
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
    /// Whether it is a text.
    pub text: bool,
    /// Whether it may be missing.
    pub nullable: bool,
    /// From the highest to the lowest.
    pub descending: bool,
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
            text: false,
            nullable: false,
            descending,
        }
    }

    fn beyond(&self, by: &SimpleExpr, value: SimpleExpr) -> SimpleExpr {
        if self.descending {
            by.clone().lt(value)
        } else {
            by.clone().gt(value)
        }
    }

    /// What comes after a key, in this order.
    fn after(&self, id: &SimpleExpr, key: &Key) -> Condition {
        let next_id = self.beyond(id, Expr::value(key.id));
        let Some(by) = &self.by else { return Condition::all().add(next_id) };
        let value = match &key.value {
            SortValue::Null => return Condition::all().add(by.clone().is_null()).add(next_id),
            SortValue::Int(value) => Expr::value(*value),
            SortValue::Text(value) => Expr::value(value.clone()),
        };
        Condition::any()
            .add(self.beyond(by, value.clone()))
            .add(Condition::all().add(by.clone().eq(value)).add(next_id))
            .add_option(self.nullable.then(|| by.clone().is_null()))
    }

    /// The same, as the index knows it: everything after a key, and a little more.
    fn about_after(&self, key: &Key) -> Option<SimpleExpr> {
        let (coarse, SortValue::Int(value)) = (self.coarse.as_ref()?, &key.value) else {
            return None;
        };
        let bound = Expr::value(value / coarse.divisor);
        Some(if self.descending {
            coarse.by.clone().lte(bound)
        } else {
            coarse.by.clone().gte(bound)
        })
    }
}

/// The ids of a page of a query, with one more row looked at to know whether there are more.
///
/// # Errors
/// When the database cannot be read.
pub async fn ids<E: EntityTrait>(
    db: &impl ConnectionTrait,
    query: Select<E>,
    id: E::Column,
    sort: &Sort,
    page: &PageRequest,
) -> Result<Page<i64>> {
    let id_of: SimpleExpr = id.into_expr();
    let order = if sort.descending { Order::Desc } else { Order::Asc };
    let mut query = query.select_only().expr_as(id_of.clone(), "id");
    if let Some(coarse) = &sort.coarse {
        query = query.order_by(coarse.by.clone(), order.clone());
    }
    if let Some(by) = &sort.by {
        query = query.expr_as(by.clone(), "sort_value");
        query = if sort.nullable {
            query.order_by_with_nulls(by.clone(), order.clone(), NullOrdering::Last)
        } else {
            query.order_by(by.clone(), order.clone())
        };
    }
    query = query.order_by(id_of.clone(), order);
    if let Some(key) = &page.after {
        query = query.filter(sort.after(&id_of, key));
        if let Some(bound) = sort.about_after(key) {
            query = query.filter(bound);
        }
    }
    let query = query.offset(page.skip).limit(page.size + 1);
    let mut keys = read(db, query, sort).await?;
    let more = keys.len() as u64 > page.size;
    keys.truncate(usize::try_from(page.size).unwrap_or(usize::MAX));
    let next = if more { keys.last().cloned() } else { None };
    Ok(Page {
        items: keys.into_iter().map(|key| key.id).collect(),
        next,
    })
}

async fn read<E: EntityTrait>(db: &impl ConnectionTrait, query: Select<E>, sort: &Sort) -> Result<Vec<Key>> {
    Ok(if sort.by.is_none() {
        let rows: Vec<i64> = query.into_tuple().all(db).await?;
        rows.into_iter()
            .map(|id| Key {
                value: SortValue::Null,
                id,
            })
            .collect()
    } else if sort.text {
        let rows: Vec<(i64, Option<String>)> = query.into_tuple().all(db).await?;
        rows.into_iter()
            .map(|(id, value)| Key {
                value: value.map_or(SortValue::Null, SortValue::Text),
                id,
            })
            .collect()
    } else {
        let rows: Vec<(i64, Option<i64>)> = query.into_tuple().all(db).await?;
        rows.into_iter()
            .map(|(id, value)| Key {
                value: value.map_or(SortValue::Null, SortValue::Int),
                id,
            })
            .collect()
    })
}

/// Puts rows that were read by id back into the order of the ids.
pub fn in_order<T>(ids: &[i64], rows: Vec<T>, id: impl Fn(&T) -> i64) -> Vec<T> {
    let mut rows: std::collections::HashMap<i64, T> = rows.into_iter().map(|row| (id(&row), row)).collect();
    ids.iter().filter_map(|id| rows.remove(id)).collect()
}
