//! Builds SQL conditions on the labels of contacts and conversations.

use parley_storage::{
    Dialect,
    entity::{kind::LabelTarget, labeling},
};
use parley_types::{error::Result, id::AccountId};
use sea_orm::{
    ConnectionTrait, ExprTrait,
    sea_query::{Expr, Query, SelectStatement, SimpleExpr},
};

use crate::filter::selectivity::{among, are_few};

/// Returns an SQL condition that matches if the resource with the id `id` has one of the labels. Probes the selectivity if that can change
/// the query plan: if few resources have one of the labels, the condition makes the database look up these resources first.
///
/// # Errors
/// [`parley_types::error::Error::Database`] or [`parley_types::error::Error::Unavailable`] if the query fails.
pub async fn labelled(
    db: &impl ConnectionTrait,
    account: AccountId,
    kind: LabelTarget,
    labels: &[String],
    id: SimpleExpr,
) -> Result<SimpleExpr> {
    let those = those(account, kind, Some(labels));
    let dialect = Dialect::of(db);
    if !dialect.plans_by_selectivity() || !are_few(db, std::slice::from_ref(&those)).await?.contains(&true) {
        return Ok(id.in_subquery(those));
    }
    Ok(among(dialect, id, &[those]))
}

/// Returns a query for the ids of resources that have one of `labels`, or any label if `labels` is `None`.
pub(crate) fn those(account: AccountId, kind: LabelTarget, labels: Option<&[String]>) -> SelectStatement {
    use labeling::Column;
    let mut those = Query::select();
    those
        .column(Column::SubjectId)
        .from(labeling::Entity)
        .and_where(Expr::col(Column::AccountId).eq(account.0))
        .and_where(Expr::col(Column::SubjectKind).eq(kind as i16));
    if let Some(labels) = labels {
        those.and_where(Expr::col(Column::Name).is_in(labels.iter().map(String::as_str)));
    }
    those
}
