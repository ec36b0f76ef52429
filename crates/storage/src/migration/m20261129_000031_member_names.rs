//! Adds columns for the names of members within an account, and for the limits that tokens pass on to pubsub tokens and logins.
//!
//! `memberships.name` and `memberships.email` are NULL if the account uses the user's own name and address. This is the case for rows that
//! earlier versions wrote, and for members whom the operator added.

use sea_orm_migration::prelude::*;

use super::columns::{belongs, int, maybe_int, maybe_text, table, text};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // Use a transaction on SQLite too, so that a failed migration leaves no partial changes.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let added = [
            ("memberships", maybe_text("name")),
            ("memberships", maybe_text("email")),
            // Incremented by each rotation of the pubsub token, which invalidates the pubsub tokens that were derived before it.
            ("tokens", int("pubsub_generation").default(0).to_owned()),
            // The expiry of the operator's token, which also limits the token that the login link is exchanged for.
            ("logins", maybe_int("token_expires_at")),
        ];
        for (table, column) in added {
            let mut change = Table::alter().table(Alias::new(table)).take();
            manager.alter_table(change.add_column(column).to_owned()).await?;
        }
        // The names of former members that old messages show. They are stored so that an account does not see changes that the user makes
        // after leaving.
        let columns = vec![
            int("account_id"),
            int("user_id"),
            text("name"),
            maybe_text("display_name"),
            text("email"),
        ];
        let mut former = table("former_members", &["account_id", "user_id"], columns);
        former.foreign_key(&mut belongs("former_members", "user_id", "users"));
        manager.create_table(former).await
    }
}
