//! Reads the keys of a page in index order, starting where the previous page ended.

use parley_types::error::Result;
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, ExprTrait, Order, QueryFilter, QueryOrder, QueryResult, QuerySelect, QueryTrait,
    Select,
    sea_query::{Alias, Expr, JoinType, NullOrdering, SimpleExpr},
};

use super::{Key, Page, PageRequest, Sort, SortValue};

/// A query with its sort keys, and the direction in which rows with equal sort values are ordered by id.
struct Listed<'a, E: EntityTrait> {
    query: Select<E>,
    id: SimpleExpr,
    sorts: &'a [Sort],
    descending: bool,
}

impl<E: EntityTrait> Listed<'_, E> {
    /// Returns a condition for the rows that sort after a key.
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

    /// Reads the keys of up to `limit` rows after the position `after`, skipping the first `skip` rows.
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
        let query = self.beginning_after(query, after);
        let rows = db.query_all(query.offset(skip).limit(limit).as_query()).await?;
        rows.iter().map(|row| read(row, self.sorts)).collect()
    }
}

impl<E: EntityTrait> Listed<'_, E> {
    fn beginning_after(&self, query: Select<E>, after: Option<&Key>) -> Select<E> {
        let Some(key) = after else { return query };
        let query = query.filter(self.after(key));
        match (self.sorts, key.value.parts()) {
            ([sort, ..], [value, ..]) if !sort.nullable => query.filter(Condition::all().add_option(sort.about_after(value))),
            _ => query,
        }
    }

    /// Restricts the query to rows that can be among the first `rows` rows after a position. These are the rows up to the first sort value
    /// of the last such row, which an index finds. Only these rows have to be sorted by the other sort values, whereas without this
    /// condition, SQLite would sort all rows.
    async fn narrowed(self, db: &impl ConnectionTrait, after: Option<&Key>, rows: u64) -> Result<Self> {
        let first = match self.sorts {
            [first, _, ..] if first.by.is_some() => first,
            _ => return Ok(self),
        };
        let by_first = Listed {
            query: self.beginning_after(self.query.clone(), after),
            id: self.id.clone(),
            sorts: std::slice::from_ref(first),
            descending: self.descending,
        };
        let last = by_first.keys(db, None, rows.saturating_sub(1), 1).await?;
        let up_to = last.first().and_then(|key| first.up_to(&key.value));
        Ok(Self {
            query: self.query.filter(Condition::all().add_option(up_to)),
            ..self
        })
    }
}

fn read(row: &QueryResult, sorts: &[Sort]) -> Result<Key> {
    let mut values = Vec::with_capacity(sorts.len());
    for (nth, sort) in sorts.iter().enumerate() {
        // Column 0 is the id, so the sort values start at column 1.
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

/// Reads one page of the ids that a query finds. Reads one more row than the page contains, to find out whether there is a next page.
///
/// # Errors
/// Returns [`Error::Invalid`](parley_types::error::Error::Invalid) if the key belongs to another list, and
/// [`Error::Database`](parley_types::error::Error::Database) if a query fails.
pub async fn ids<E: EntityTrait>(
    db: &impl ConnectionTrait,
    query: Select<E>,
    id: E::Column,
    sort: &Sort,
    page: &PageRequest,
) -> Result<Page<i64>> {
    ids_by(db, query, id, std::slice::from_ref(sort), page).await
}

/// Like [`ids`], but sorts by several values. The first value is read from an index, and its direction also applies to ids. The other
/// values order rows whose first values are equal.
///
/// # Errors
/// Same as [`ids`].
pub async fn ids_by<E: EntityTrait>(
    db: &impl ConnectionTrait,
    query: Select<E>,
    id: E::Column,
    sorts: &[Sort],
    page: &PageRequest,
) -> Result<Page<i64>> {
    page.check_key(sorts)?;
    let listed = Listed {
        query,
        id: id.into_expr(),
        sorts,
        descending: sorts.first().is_some_and(|sort| sort.descending),
    };
    let limit = page.size + 1;
    let mut keys = match sorts {
        [first, rest @ ..] if first.nullable => valued_first(db, &listed, first, rest, page, limit).await?,
        _ => {
            let listed = listed.narrowed(db, page.after.as_ref(), page.skip + limit).await?;
            listed.keys(db, page.after.as_ref(), page.skip, limit).await?
        }
    };
    let more = keys.len() as u64 > page.size;
    keys.truncate(usize::try_from(page.size).unwrap_or(usize::MAX));
    let next = if more { keys.last().cloned() } else { None };
    Ok(Page {
        items: keys.iter().map(|key| key.id).collect(),
        keys,
        next,
    })
}

/// Reads two lists, first the rows that have the first sort value and then the rows that lack it, because an index returns each of them in
/// order. No single index would return all rows with missing values last in both directions.
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
        let valued = valued.narrowed(db, after_valued, page.skip + limit).await?;
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
    // The keys of this list do not contain the first sort value, which is missing in all of its rows.
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
