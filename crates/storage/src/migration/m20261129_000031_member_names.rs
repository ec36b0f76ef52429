//! What an account calls its members, and the limits that tokens and logins hand on.
//!
//! `memberships.name` and `memberships.email` are null where the account shows what the user's own row says: rows of earlier releases, and
//! members whom the operator added.

use sea_orm_migration::prelude::*;

use super::columns::{belongs, int, maybe_int, maybe_text, table, text};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // SQLite too: a migration that stops halfway leaves nothing behind.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let added = [
            ("memberships", maybe_text("name")),
            ("memberships", maybe_text("email")),
            // Raised by each rotation: pubsub tokens derived before it are no longer good.
            ("tokens", int("pubsub_generation").default(0).to_owned()),
            // The expiry that the operator's token hands on to the token of the login.
            ("logins", maybe_int("token_expires_at")),
        ];
        for (table, column) in added {
            let mut change = Table::alter().table(Alias::new(table)).take();
            manager.alter_table(change.add_column(column).to_owned()).await?;
        }
        // How old messages name a member who has left: the user's own row is no longer the account's business.
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
