//! Contacts and conversations that a filter lets through.

use std::collections::HashSet;

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use crate::{
    chat::{
        Chat,
        caller::Caller,
        contact_list::ContactQuery,
        conversation_list::{ConversationOrder, Counts},
        filter::{self, Context, Definition, Display, Given, Model},
        page::{self, Page, PageRequest},
    },
    db::{
        entity::{
            conversation, custom_attribute_definition,
            kind::{AttributeDisplay, AttributeModel},
        },
        joined::{ContactSessions, ConversationSummary},
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
        let sort = ConversationOrder::LastActivityAt.sort(true, self.db.backend());
        let ids = page::ids(db, query, conversation::Column::Id, &sort, page).await?;
        Ok((self.conversation_page(account, ids).await?, counts))
    }

    async fn filter(&self, account: AccountId, model: Model, given: &[Given]) -> Result<sea_orm::Condition> {
        let context = Context {
            model,
            account,
            backend: self.db.read().get_database_backend(),
            now: Micros::now(),
        };
        let definitions = self.defined(account, model, given).await?;
        filter::read(&context, given, &definitions).map_err(Error::Invalid)
    }

    /// The definitions that the conditions name.
    async fn defined(&self, account: AccountId, model: Model, given: &[Given]) -> Result<Vec<Definition>> {
        let of = match model {
            Model::Conversation => AttributeModel::Conversation,
            Model::Contact => AttributeModel::Contact,
        };
        let keys: HashSet<&str> = given.iter().map(|condition| condition.key.as_str()).collect();
        let rows = custom_attribute_definition::Entity::find()
            .filter(custom_attribute_definition::Column::AccountId.eq(account))
            .filter(custom_attribute_definition::Column::Model.eq(of))
            .filter(custom_attribute_definition::Column::Key.is_in(keys))
            .all(self.db.read())
            .await?;
        let read = |row: custom_attribute_definition::Model| Definition {
            key: row.key,
            display: match row.display_type {
                AttributeDisplay::Text | AttributeDisplay::Link | AttributeDisplay::List => Display::Text,
                AttributeDisplay::Number | AttributeDisplay::Currency | AttributeDisplay::Percent => Display::Number,
                AttributeDisplay::Date => Display::Date,
                AttributeDisplay::Checkbox => Display::Checkbox,
            },
        };
        Ok(rows.into_iter().map(read).collect())
    }
}
