//! Creates the tables for teams and their members, and adds the team to conversations.

use sea_orm_migration::prelude::*;

use super::columns::{belongs, flag, id, index, int, maybe_int, maybe_text, table, text, unique};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // Use a transaction on SQLite too, so that a failed migration leaves no partial changes.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let teams = vec![
            id(),
            int("account_id"),
            text("name"),
            maybe_text("description"),
            flag("allow_auto_assign"),
            int("created_at"),
            int("updated_at"),
        ];
        manager.create_table(table("teams", &[], teams)).await?;
        manager.create_index(unique("teams", &["account_id", "name"])).await?;
        let members = vec![int("account_id"), int("team_id"), int("user_id"), int("created_at")];
        let mut members = table("team_members", &["account_id", "team_id", "user_id"], members);
        members.foreign_key(&mut belongs("team_members", "team_id", "teams"));
        members.foreign_key(&mut belongs("team_members", "user_id", "users"));
        manager.create_table(members).await?;
        manager.create_index(index("team_members", &["account_id", "user_id"])).await?;
        let mut conversations = Table::alter().table(Alias::new("conversations")).take();
        manager
            .alter_table(conversations.add_column(maybe_int("team_id")).to_owned())
            .await?;
        let by_team = index("conversations", &["account_id", "team_id", "activity_hour"]);
        manager.create_index(by_team).await?;
        Ok(())
    }
}
