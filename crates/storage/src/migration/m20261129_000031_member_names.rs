//! The names of members within an account, and the limits that tokens pass on to pubsub tokens and logins.
//!
//! `memberships.name` and `memberships.email` are NULL if the account uses the user's own name and address: in rows of earlier versions,
//! and for members whom the operator added.

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
            // Incremented by each rotation, which invalidates the pubsub tokens derived before.
            ("tokens", int("pubsub_generation").default(0).to_owned()),
            // The expiry that the operator's token passes on to the token of the login.
            ("logins", maybe_int("token_expires_at")),
        ];
        for (table, column) in added {
            let mut change = Table::alter().table(Alias::new(table)).take();
            manager.alter_table(change.add_column(column).to_owned()).await?;
        }
        // The names that old messages show for a former member: the account must not see later changes of the user.
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
