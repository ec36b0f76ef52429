//! What the lists that an account keeps have in common: one row by its number, a page of rows, and what must be unique.

pub mod canned_responses;
pub mod custom_attribute_definitions;
pub mod labels;

use parley_types::{
    error::{Error, FieldViolation, Result, Rule},
    id::AccountId,
};
use sea_orm::{
    ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, Select,
    sea_query::{Alias, Expr},
};

use crate::page::{self, Page, PageRequest, Sort};

/// Reads the id of a row.
pub(super) type IdOf<E> = fn(&<E as EntityTrait>::Model) -> i64;

/// The rows of an account.
pub(super) fn of_account<E: EntityTrait>(account: AccountId) -> Select<E> {
    E::find().filter(Expr::col(Alias::new("account_id")).eq(account.0))
}

/// One row of an account; `kind` is its name in refusals.
///
/// # Errors
/// [`Error::NotFound`].
pub(super) async fn one<E: EntityTrait>(db: &impl ConnectionTrait, account: AccountId, id: i64, kind: &'static str) -> Result<E::Model> {
    let row = of_account::<E>(account).filter(Expr::col(Alias::new("id")).eq(id)).one(db).await?;
    row.ok_or_else(|| Error::not_found(kind, id))
}

/// A page of a query's rows.
///
/// # Errors
/// When the database cannot be read.
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

/// Refuses what another row of the account has. Under the lock of the account's log, so nobody takes it meanwhile.
///
/// # Errors
/// [`Error::Taken`], with the other's id.
pub(super) async fn free<E: EntityTrait>(
    db: &impl ConnectionTrait,
    same: Select<E>,
    own: Option<i64>,
    id: IdOf<E>,
    (kind, field): (&'static str, &'static str),
) -> Result<()> {
    let other = same.one(db).await?.map(|row| id(&row));
    match other.filter(|other| Some(*other) != own) {
        None => Ok(()),
        Some(other) => Err(Error::Taken {
            violations: vec![FieldViolation::new(field, Rule::Taken, "is taken already")],
            kind,
            existing_id: Some(other),
        }),
    }
}

/// By a text of the rows.
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
