//! Lists the attachments of a conversation's messages.

use std::collections::HashMap;

use parley_storage::{
    entity::{attachment, message},
    joined::Message,
    load,
    octets::octets,
};
use parley_types::{
    error::Result,
    id::{AccountId, ConversationId, MessageId},
};
use sea_orm::{
    ColumnTrait, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter,
    sea_query::{Expr, Query},
};

use crate::{
    auth::caller::Caller,
    conversations::Conversations,
    page::{self, Page, PageRequest, Sort},
};

impl Conversations {
    /// Returns a page of the attachments of a conversation, newest first, and their total number. Each attachment is returned as the
    /// message that it belongs to, without the other attachments of that message.
    ///
    /// # Errors
    /// [`parley_types::error::Error::NotFound`] if the conversation does not exist; [`parley_types::error::Error::Denied`] if the caller
    /// has no access to the inbox.
    pub async fn list_attachments(
        &self,
        caller: &Caller,
        account: AccountId,
        id: ConversationId,
        page: &PageRequest,
    ) -> Result<(Page<Message>, i64)> {
        use attachment::Column;
        let access = caller.access(account)?;
        let db = self.context.db.read();
        let conversation = load::conversation(db, &load::account(db, account).await?, id).await?;
        access.inbox(conversation.row.inbox_id)?;
        let mut messages = Query::select();
        messages
            .column(message::Column::Id)
            .from(message::Entity)
            .and_where(Expr::col(message::Column::AccountId).eq(account.0))
            .and_where(Expr::col(message::Column::ConversationId).eq(id.0));
        let all = attachment::Entity::find()
            .filter(Column::AccountId.eq(account))
            .filter(Column::MessageId.in_subquery(messages));
        let total = i64::try_from(all.clone().count(db).await?).unwrap_or(i64::MAX);
        let ids = page::ids(db, all, Column::Id, &Sort::by_id(true), page).await?;
        let message = format!(
            "COALESCE((SELECT {} FROM messages WHERE messages.account_id = attachments.account_id AND messages.id = attachments.message_id), 0)",
            octets::<message::Entity>(self.context.db.dialect(), "messages")
        );
        let all = attachment::Entity::find().filter(Column::AccountId.eq(account));
        let ids = page::fitting(db, all.clone(), Column::Id, Some(message), ids).await?;
        let rows = all.filter(Column::Id.is_in(ids.items.iter().copied())).all(db).await?;
        let found = message::Entity::find()
            .filter(message::Column::AccountId.eq(account))
            .filter(message::Column::Id.is_in(rows.iter().map(|row| row.message_id.0)))
            .all(db)
            .await?;
        let found = load::with_senders(db, account, found).await?;
        let found: HashMap<MessageId, Message> = found.into_iter().map(|message| (message.row.id, message)).collect();
        let with = |row: attachment::Model| {
            let message = found.get(&row.message_id)?.clone();
            Some(Message {
                attachments: vec![row],
                ..message
            })
        };
        let items: Vec<Message> = rows.into_iter().filter_map(with).collect();
        let id = |message: &Message| message.attachments.first().map_or(0, |attachment| attachment.id);
        Ok((ids.with(items, id), total))
    }
}
