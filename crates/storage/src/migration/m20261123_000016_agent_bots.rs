//! Creates the table for agent bots, and adds the ids of bots to inboxes and tokens.

use sea_orm_migration::prelude::*;

use super::columns::{belongs, id, index, int, maybe_int, table, text};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // Use a transaction on SQLite too, so that a failed migration leaves no partial changes.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let bots = vec![
            id(),
            maybe_int("account_id"),
            text("name"),
            text("description"),
            text("outgoing_url"),
            text("avatar_url"),
            int("created_at"),
            int("updated_at"),
        ];
        let mut bots = table("agent_bots", &[], bots);
        bots.foreign_key(&mut belongs("agent_bots", "account_id", "accounts"));
        manager.create_table(bots).await?;
        manager.create_index(index("agent_bots", &["account_id"])).await?;
        // The bot is stored in the row of the inbox and not in a separate table, so that reading an inbox includes its bot.
        let active = ColumnDef::new(Alias::new("agent_bot_active"))
            .boolean()
            .not_null()
            .default(false)
            .take();
        for (table, column) in [
            ("inboxes", maybe_int("agent_bot_id")),
            ("inboxes", active),
            ("tokens", maybe_int("agent_bot_id")),
        ] {
            let mut change = Table::alter().table(Alias::new(table)).take();
            manager.alter_table(change.add_column(column).to_owned()).await?;
        }
        manager.create_index(index("inboxes", &["agent_bot_id"])).await?;
        manager.create_index(index("tokens", &["agent_bot_id"])).await?;
        Ok(())
    }
}
