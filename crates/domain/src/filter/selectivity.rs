//! What few have: those are found one by one, and sorted, sooner than by going through a list and asking each. PostgreSQL expects the wrong way
//! in between, and SQLite knows no sizes, so a list looks for itself.

use parley_storage::Dialect;
use parley_types::error::Result;
use sea_orm::{
    ConnectionTrait,
    sea_query::{Alias, Expr, Query, SelectStatement, SimpleExpr, UnionType},
};

/// So many are not few.
const FEW: u64 = 2000;

/// Of each query of ids, whether it finds few; no more are looked at. All are parts of one statement, so they should not be hundreds.
///
/// # Errors
/// When the database cannot be read.
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

/// That an id is among those of any of some queries, in a form for few. Without a query nothing is.
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
