//! The statements that store a batch of messages. Whatever the number of messages, there is one statement on PostgreSQL and four to six on
//! SQLite.

use std::collections::HashSet;

use parley_storage::{Database, entity::message};
use parley_types::{error::Result, id::AccountId};
use sea_orm::{DatabaseTransaction, EntityTrait, IntoActiveModel};
use sqlx::PgConnection;

use super::batches::MessageBatches;
use crate::{
    files::rows,
    write::{NewRows, plan::Plan, store::BatchStore},
};

mod columns;
mod postgres;
mod sqlite;

impl BatchStore for MessageBatches {
    async fn store_postgres(connection: &mut PgConnection, plans: &[&Plan<Self>], unlocked: bool) -> Result<HashSet<AccountId>> {
        postgres::store(connection, plans, unlocked).await
    }

    async fn store_locked_postgres(connection: &mut PgConnection, plan: &Plan<Self>) -> Result<()> {
        postgres::store_attachments(connection, plan).await
    }

    async fn store_sqlite(db: &Database, plans: &[&Plan<Self>]) -> Result<()> {
        sqlite::store(db, plans).await
    }

    async fn store_rows(txn: &DatabaseTransaction, new: NewRows) -> Result<()> {
        if !new.messages.is_empty() {
            let messages = new.messages.into_iter().map(IntoActiveModel::into_active_model);
            message::Entity::insert_many(messages).exec_without_returning(txn).await?;
        }
        rows::store(txn, &new.claims, &new.attachments).await
    }
}
