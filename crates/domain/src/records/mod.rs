//! Records of an account, such as labels and canned responses: one file per kind of record, code that all kinds share (`record.rs`,
//! `patch.rs`, `search.rs`), and queries for a single row and for a page of rows.

pub mod canned_responses;
pub mod custom_attribute_definitions;
pub mod labels;
pub mod patch;
pub mod record;
mod search;

use parley_types::{
    error::{Error, Result},
    id::AccountId,
};
use sea_orm::{
    ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, Select,
    sea_query::{Alias, Expr},
};

use crate::page::{self, Page, PageRequest, Sort};

/// A function that returns the id of a row.
pub(super) type IdOf<E> = fn(&<E as EntityTrait>::Model) -> i64;

/// Selects the rows of an account.
pub(super) fn of_account<E: EntityTrait>(account: AccountId) -> Select<E> {
    E::find().filter(Expr::col(Alias::new("account_id")).eq(account.0))
}

/// Loads one row of an account. `kind` is the name of the resource in errors.
///
/// # Errors
/// Returns [`Error::NotFound`] if there is no such row, and [`Error::Database`] if the query fails.
pub(super) async fn one<E: EntityTrait>(db: &impl ConnectionTrait, account: AccountId, id: i64, kind: &'static str) -> Result<E::Model> {
    let row = of_account::<E>(account).filter(Expr::col(Alias::new("id")).eq(id)).one(db).await?;
    row.ok_or_else(|| Error::not_found(kind, id))
}

/// Returns a page of a query's rows.
///
/// # Errors
/// Returns [`Error::Database`] if a query fails.
pub(super) async fn rows<E: EntityTrait>(
    db: &impl ConnectionTrait,
    query: Select<E>,
    (column, id): (E::Column, IdOf<E>),
    sort: &Sort,
    page: &PageRequest,
) -> Result<Page<E::Model>> {
    let ids = page::ids(db, query, column, sort, page).await?;
    page::rows(db, E::find(), column, id, ids).await
}

/// Returns the ascending sort order by a text expression that is never NULL.
pub(super) fn by_text(text: impl Into<Expr>) -> Sort {
    Sort {
        by: Some(text.into()),
        coarse: None,
        aside: None,
        text: true,
        nullable: false,
        descending: false,
    }
}
