//! Pages of lists: by keyset, so that the thousandth page costs what the first one does.

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, ExprTrait, Order, QueryFilter, QueryOrder, QueryResult, QuerySelect, QueryTrait,
    Select,
    sea_query::{Alias, Expr, JoinType, NullOrdering, SimpleExpr},
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

    fn order(&self) -> Order {
        if self.descending { Order::Desc } else { Order::Asc }
    }
}

/// A query with the id, and in which order the ids of equal rows come.
struct Listed<'a, E: EntityTrait> {
    query: Select<E>,
    id: SimpleExpr,
    sorts: &'a [Sort],
    descending: bool,
}

impl<E: EntityTrait> Listed<'_, E> {
    /// What comes after a key, in this order.
    fn after(&self, key: &Key) -> Condition {
        let (mut any, mut same) = (Condition::any(), Condition::all());
        for (sort, value) in self.sorts.iter().zip(key.value.parts()) {
            let Some(by) = &sort.by else { continue };
            if let Some(value) = value.expr() {
                let mut beyond = Condition::any().add(sort.beyond(by, value.clone()));
                if sort.nullable {
                    beyond = beyond.add(by.clone().is_null());
                }
                any = any.add(same.clone().add(beyond));
                same = same.add(by.clone().eq(value));
            } else {
                same = same.add(by.clone().is_null());
            }
        }
        let id = self.id.clone();
        let next = if self.descending { id.lt(key.id) } else { id.gt(key.id) };
        any.add(same.add(next))
    }

    /// The keys of the rows after one, beginning with the first that is not left out.
    async fn keys(&self, db: &impl ConnectionTrait, after: Option<&Key>, skip: u64, limit: u64) -> Result<Vec<Key>> {
        let mut query = self.query.clone().select_only().expr_as(self.id.clone(), "id");
        for (nth, sort) in self.sorts.iter().enumerate() {
            if let Some(coarse) = &sort.coarse {
                query = query.order_by(coarse.by.clone(), sort.order());
            }
            if let Some(by) = &sort.by {
                query = query.expr_as(by.clone(), format!("sort_value_{nth}"));
                query = if sort.nullable {
                    query.order_by_with_nulls(by.clone(), sort.order(), NullOrdering::Last)
                } else {
                    query.order_by(by.clone(), sort.order())
                };
            }
        }
        query = query.order_by(self.id.clone(), if self.descending { Order::Desc } else { Order::Asc });
        if let Some(key) = after {
            query = query.filter(self.after(key));
            if let ([sort, ..], [value, ..]) = (self.sorts, key.value.parts())
                && !sort.nullable
                && let Some(bound) = sort.about_after(value)
            {
                query = query.filter(bound);
            }
        }
        let rows = db.query_all(query.offset(skip).limit(limit).as_query()).await?;
        rows.iter().map(|row| read(row, self.sorts)).collect()
    }
}

fn read(row: &QueryResult, sorts: &[Sort]) -> Result<Key> {
    let mut values = Vec::with_capacity(sorts.len());
    for (nth, sort) in sorts.iter().enumerate() {
        // The id stands first.
        let value = match (&sort.by, sort.text) {
            (None, _) => None,
            (Some(_), true) => row.try_get_by::<Option<String>, _>(nth + 1)?.map(SortValue::Text),
            (Some(_), false) => row.try_get_by::<Option<i64>, _>(nth + 1)?.map(SortValue::Int),
        };
        values.push(value.unwrap_or(SortValue::Null));
    }
    Ok(Key {
        value: SortValue::of(values),
        id: row.try_get_by(0)?,
    })
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
    ids_by(db, query, id, std::slice::from_ref(sort), page).await
}

/// As [`ids`], sorted by several values, the first of which says in which order ids decide. The first is read from an index, and what is equal
/// in it is sorted by the others.
///
/// # Errors
/// When the database cannot be read.
pub async fn ids_by<E: EntityTrait>(
    db: &impl ConnectionTrait,
    query: Select<E>,
    id: E::Column,
    sorts: &[Sort],
    page: &PageRequest,
) -> Result<Page<i64>> {
    let listed = Listed {
        query,
        id: id.into_expr(),
        sorts,
        descending: sorts.first().is_some_and(|sort| sort.descending),
    };
    let limit = page.size + 1;
    let mut keys = match sorts {
        [first, rest @ ..] if first.nullable => valued_first(db, &listed, first, rest, page, limit).await?,
        _ => listed.keys(db, page.after.as_ref(), page.skip, limit).await?,
    };
    let more = keys.len() as u64 > page.size;
    keys.truncate(usize::try_from(page.size).unwrap_or(usize::MAX));
    let next = if more { keys.last().cloned() } else { None };
    Ok(Page {
        items: keys.into_iter().map(|key| key.id).collect(),
        next,
    })
}

/// Rows with a first value and rows without one are two lists, each of which an index holds in order. No index holds both with the missing
/// ones last in both directions.
async fn valued_first<E: EntityTrait>(
    db: &impl ConnectionTrait,
    listed: &Listed<'_, E>,
    first: &Sort,
    rest: &[Sort],
    page: &PageRequest,
    limit: u64,
) -> Result<Vec<Key>> {
    let Some(by) = &first.by else { return Ok(Vec::new()) };
    let value = first.coarse.as_ref().map_or(by, |coarse| &coarse.by);
    let (after_valued, after_missing) = match &page.after {
        Some(key) if key.value.parts().first() == Some(&SortValue::Null) => (None, Some(key)),
        after => (after.as_ref(), None),
    };
    let (mut keys, mut skip) = (Vec::new(), page.skip);
    if after_missing.is_none() {
        let mut query = listed.query.clone();
        if let Some(aside) = &first.aside {
            QueryTrait::query(&mut query).join(JoinType::InnerJoin, Alias::new(aside.table), aside.on.clone());
        } else {
            query = query.filter(value.clone().is_not_null());
        }
        let sorts: Vec<Sort> = std::iter::once(first.valued()).chain(rest.iter().cloned()).collect();
        let valued = Listed {
            query,
            id: first.aside.as_ref().map_or_else(|| listed.id.clone(), |aside| aside.id.clone()),
            sorts: &sorts,
            descending: listed.descending,
        };
        keys = valued.keys(db, after_valued, page.skip, limit).await?;
        if keys.len() as u64 == limit {
            return Ok(keys);
        }
        skip = if keys.is_empty() && skip > 0 {
            let mut before = valued.query.clone();
            if let Some(key) = after_valued {
                before = before.filter(valued.after(key));
            }
            let before = before
                .select_only()
                .expr_as(Expr::val(1).count(), "count")
                .into_tuple::<i64>()
                .one(db)
                .await?;
            skip.saturating_sub(before.and_then(|count| u64::try_from(count).ok()).unwrap_or_default())
        } else {
            0
        };
    }
    let by_id = [Sort::by_id(listed.descending)];
    let missing = Listed {
        query: listed.query.clone().filter(value.clone().is_null()),
        id: listed.id.clone(),
        sorts: if rest.is_empty() { &by_id } else { rest },
        descending: listed.descending,
    };
    // In this list the missing value stands in no key.
    let after = after_missing.map(|key| Key {
        value: SortValue::of(key.value.parts()[1..].to_vec()),
        id: key.id,
    });
    for key in missing.keys(db, after.as_ref(), skip, limit - keys.len() as u64).await? {
        let parts = if rest.is_empty() { &[] } else { key.value.parts() };
        keys.push(Key {
            value: SortValue::of(std::iter::once(&SortValue::Null).chain(parts).cloned().collect()),
            id: key.id,
        });
    }
    Ok(keys)
}

/// Puts rows that were read by id back into the order of the ids.
pub fn in_order<T>(ids: &[i64], rows: Vec<T>, id: impl Fn(&T) -> i64) -> Vec<T> {
    let mut rows: std::collections::HashMap<i64, T> = rows.into_iter().map(|row| (id(&row), row)).collect();
    ids.iter().filter_map(|id| rows.remove(id)).collect()
}
