//! Probes whether conditions are selective. If a condition matches few rows, looking them up and sorting them is faster than scanning a
//! list and testing each row. PostgreSQL's estimates are unreliable for conditions of medium selectivity, and SQLite has no statistics, so
//! lists run their own probes.

use parley_storage::Dialect;
use parley_types::error::Result;
use sea_orm::{
    ConnectionTrait,
    sea_query::{Alias, Expr, Query, SelectStatement, SimpleExpr, UnionType},
};

/// A condition that matches at least this many rows is not selective.
const FEW: u64 = 2000;

/// For each of `queries`, which select ids, returns whether it finds fewer than [`FEW`] rows. Each query stops after [`FEW`] rows. All
/// queries become parts of one statement, so callers should not pass hundreds of them.
///
/// # Errors
/// [`parley_types::error::Error::Database`] or [`parley_types::error::Error::Unavailable`] if the query fails.
pub async fn are_few(db: &impl ConnectionTrait, queries: &[SelectStatement]) -> Result<Vec<bool>> {
    if queries.is_empty() {
        return Ok(Vec::new());
    }
    let mut all = Query::select();
    for query in queries {
        let some = query.clone().limit(FEW).take();
        let count = Query::select()
            .expr(Expr::cust("COUNT(*)"))
            .from_subquery(some, Alias::new("some"))
            .take();
        all.expr(SimpleExpr::SubQuery(None, Box::new(count.into())));
    }
    let row = db.query_one(&all).await?;
    let is_few = |nth| {
        let count: Option<i64> = row.as_ref().map(|row| row.try_get_by(nth)).transpose()?;
        Ok(count.and_then(|count| u64::try_from(count).ok()).is_none_or(|count| count < FEW))
    };
    (0..queries.len()).map(is_few).collect()
}

/// Returns a condition that matches if `id` is among the results of any of the queries, in a form that is fast for few results. Without
/// queries, the condition matches nothing.
pub fn among(dialect: Dialect, id: SimpleExpr, queries: &[SelectStatement]) -> SimpleExpr {
    let Some((first, others)) = queries.split_first() else {
        return Expr::value(false);
    };
    let mut all = first.clone();
    for other in others {
        all.union(UnionType::All, other.clone());
    }
    dialect.id_among_few(id, all)
}
