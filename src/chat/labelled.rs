//! What has one of some labels, as a condition of lists.

use sea_orm::{
    ConnectionTrait, DbBackend, ExprTrait,
    sea_query::{Alias, Expr, Query, SelectStatement, SimpleExpr},
};

use crate::{
    db::entity::{kind::SubjectKind, labeling},
    error::Result,
    id::AccountId,
};

/// So many are found sooner one by one, and sorted, than by going through a list and asking each.
const FEW: u64 = 2000;

/// That the thing with this id has one of the labels. PostgreSQL is told by which way to look, because it expects the wrong one in between.
///
/// # Errors
/// When the database cannot be read.
pub async fn labelled(
    db: &impl ConnectionTrait,
    account: AccountId,
    kind: SubjectKind,
    labels: &[String],
    id: SimpleExpr,
) -> Result<SimpleExpr> {
    let those = those(account, kind, labels);
    if db.get_database_backend() == DbBackend::Sqlite || !are_few(db, those.clone()).await? {
        return Ok(id.in_subquery(those));
    }
    let those = SimpleExpr::SubQuery(None, Box::new(those.into()));
    Ok(Expr::cust_with_exprs("$1 = ANY (ARRAY $2)", [id, those]))
}

fn those(account: AccountId, kind: SubjectKind, labels: &[String]) -> SelectStatement {
    use labeling::Column;
    Query::select()
        .column(Column::SubjectId)
        .from(labeling::Entity)
        .and_where(Expr::col(Column::AccountId).eq(account.0))
        .and_where(Expr::col(Column::SubjectKind).eq(kind as i16))
        .and_where(Expr::col(Column::Name).is_in(labels.iter().map(String::as_str)))
        .take()
}

async fn are_few(db: &impl ConnectionTrait, mut those: SelectStatement) -> Result<bool> {
    let some = those.limit(FEW).take();
    let count = Query::select()
        .expr_as(Expr::cust("COUNT(*)"), "count")
        .from_subquery(some, Alias::new("some"))
        .take();
    let count: Option<i64> = db.query_one(&count).await?.map(|row| row.try_get_by("count")).transpose()?;
    Ok(count.and_then(|count| u64::try_from(count).ok()).is_none_or(|count| count < FEW))
}
