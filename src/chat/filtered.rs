//! Contacts and conversations that a filter lets through.

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter};

use crate::{
    chat::{
        Chat,
        caller::Caller,
        contact_list::ContactQuery,
        conversation_list::{ConversationOrder, Counts},
        filter::{self, Context, Definition, Given, Model},
        page::{self, Page, PageRequest},
    },
    db::{
        entity::conversation,
        joined::{ContactSessions, ConversationSummary},
        load,
    },
    error::{Error, Result},
    id::AccountId,
    time::Micros,
};

impl Chat {
    /// A page of the contacts that a filter lets through, with their sessions, and how many there are, if asked. Only contacts that can
    /// be named, as in lists.
    ///
    /// # Errors
    /// [`Error::Invalid`] for the filter, in the order in which Chatwoot finds fault.
    pub async fn filter_contacts(
        &self,
        caller: &Caller,
        account: AccountId,
        given: &[Given],
        query: ContactQuery,
        page: &PageRequest,
    ) -> Result<(Page<ContactSessions>, Option<u64>)> {
        caller.access(account)?;
        let filter = self.filter(account, Model::Contact, given).await?;
        self.contacts(caller, account, &ContactQuery { filter, ..query }, page).await
    }

    /// A page of the conversations that a filter lets through and the caller may see, the latest activity first, with their newest
    /// messages, and counts, if asked.
    ///
    /// # Errors
    /// [`Error::Invalid`] for the filter, in the order in which Chatwoot finds fault.
    pub async fn filter_conversations(
        &self,
        caller: &Caller,
        account: AccountId,
        given: &[Given],
        count: bool,
        page: &PageRequest,
    ) -> Result<(Page<ConversationSummary>, Option<Counts>)> {
        let access = caller.access(account)?;
        let filter = self.filter(account, Model::Conversation, given).await?;
        let mut query = conversation::Entity::find()
            .filter(conversation::Column::AccountId.eq(account))
            .filter(filter);
        if let Some(only) = &access.inboxes {
            query = query.filter(conversation::Column::InboxId.is_in(only.iter().map(|id| id.0)));
        }
        let counts = if count {
            Some(self.counts(&query, caller.user_id()).await?)
        } else {
            None
        };
        let db = self.db.read();
        let sort = ConversationOrder::LastActivityAt.sort(true);
        let ids = page::ids(db, query, conversation::Column::Id, &sort, page).await?;
        Ok((self.conversation_page(account, ids).await?, counts))
    }

    async fn filter(&self, account: AccountId, model: Model, given: &[Given]) -> Result<sea_orm::Condition> {
        let db = self.db.read();
        let definitions = definitions(db, account, model).await?;
        let context = Context {
            model,
            account,
            backend: db.get_database_backend(),
            now: Micros::now(),
        };
        filter::read(&context, given, &definitions).map_err(Error::Invalid)
    }

    /// Conversations of a page of ids, in their order.
    pub(super) async fn conversation_page(&self, account: AccountId, ids: Page<i64>) -> Result<Page<ConversationSummary>> {
        let db = self.db.read();
        let rows = conversation::Entity::find()
            .filter(conversation::Column::AccountId.eq(account))
            .filter(conversation::Column::Id.is_in(ids.items.iter().copied()))
            .all(db)
            .await?;
        let rows = page::in_order(&ids.items, rows, |row| row.id.0);
        let row = load::account(db, account).await?;
        Ok(Page {
            items: load::summaries(db, &row, rows).await?,
            next: ids.next,
        })
    }
}

#[allow(clippy::unused_async)]
async fn definitions(_db: &impl ConnectionTrait, _account: AccountId, _model: Model) -> Result<Vec<Definition>> {
    Ok(Vec::new())
}
