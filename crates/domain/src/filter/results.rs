//! Contacts and conversations that a filter lets through.

use std::collections::HashSet;

use parley_storage::{
    entity::{
        contact, conversation, custom_attribute_definition,
        kind::{AttributeDisplay, AttributeModel},
    },
    joined::{ContactSessions, ConversationSummary},
};
use parley_types::{
    error::{Error, Result},
    id::AccountId,
    time::Micros,
};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, QueryFilter,
    sea_query::{Expr, SelectStatement},
};

use crate::{
    Chat,
    auth::caller::Caller,
    contacts::list::ContactQuery,
    conversations::{list::Counts, order::ConversationOrder},
    filter::{
        self, Context, Definition, Display, Given, Model,
        selectivity::{among, are_few},
    },
    page::{self, Page, PageRequest},
};

/// In so many ways, at most, it is looked whether few are looked for.
const MOST_LOOKUPS: usize = 16;

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
        let (filter, _) = self.filter(account, Model::Contact, given).await?;
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
        let (filter, few) = self.filter(account, Model::Conversation, given).await?;
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
        let mut sort = ConversationOrder::LastActivityAt.sort(true, self.db.dialect());
        if few {
            // They are sorted. In the index's order SQLite would walk over all for them.
            sort.coarse = None;
        }
        let ids = page::ids(db, query, conversation::Column::Id, &sort, page).await?;
        Ok((self.conversation_page(account, ids).await?, counts))
    }

    /// What a filter lets through, and whether that is looked up because it is among few.
    async fn filter(&self, account: AccountId, model: Model, given: &[Given]) -> Result<(Condition, bool)> {
        let db = self.db.read();
        let context = Context {
            model,
            account,
            dialect: self.db.dialect(),
            now: Micros::now(),
        };
        let definitions = self.defined(account, model, given).await?;
        let filter = filter::read(&context, given, &definitions).map_err(Error::Invalid)?;
        // Each alternative has to be among few, by any of its conditions.
        let most = MOST_LOOKUPS / filter.lookups.len().max(1);
        let lookups: Vec<_> = filter.lookups.iter().map(|group| &group[..group.len().min(most)]).collect();
        if lookups.iter().any(|group| group.is_empty()) {
            return Ok((filter.condition, false));
        }
        let all = lookups.concat();
        let mut are_few = are_few(db, &all).await?.into_iter();
        let mut few_of = |group: &[SelectStatement]| {
            let found = group.iter().zip(are_few.by_ref()).filter(|(_, are_few)| *are_few);
            found.map(|(lookup, _)| lookup.clone()).last()
        };
        let Some(looked_up) = lookups.into_iter().map(&mut few_of).collect::<Option<Vec<_>>>() else {
            return Ok((filter.condition, false));
        };
        let id = match model {
            Model::Contact => Expr::col((contact::Entity, contact::Column::Id)),
            Model::Conversation => Expr::col((conversation::Entity, conversation::Column::Id)),
        };
        let among = among(context.dialect, id, &looked_up);
        Ok((Condition::all().add(among).add(filter.condition), true))
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
