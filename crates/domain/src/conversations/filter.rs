//! Lists the conversations that match a filter.

use parley_storage::{entity::conversation, joined::ConversationSummary};
use parley_types::{error::Result, id::AccountId};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use crate::{
    auth::caller::Caller,
    conversations::{
        Conversations,
        list::{Counts, count, read_page},
        order::ConversationOrder,
    },
    filter::{Model, RequestedCondition, resolve::resolve},
    page::{self, Page, PageRequest},
};

impl Conversations {
    /// Returns a page of the conversations that match a filter and that the caller can access, sorted by last activity in descending order,
    /// with their newest messages. Also returns counts if `with_counts` is set.
    ///
    /// # Errors
    /// [`parley_types::error::Error::NotMember`] if the caller has no access to the account; [`parley_types::error::Error::Invalid`] for an
    /// invalid filter, with its violations in the order in which Chatwoot reports them.
    pub async fn filter(
        &self,
        caller: &Caller,
        account: AccountId,
        given: &[RequestedCondition],
        with_counts: bool,
        page: &PageRequest,
    ) -> Result<(Page<ConversationSummary>, Option<Counts>)> {
        let access = caller.access(account)?;
        let db = self.context.db.read();
        let (filter, few) = resolve(db, account, Model::Conversation, given).await?;
        let mut query = conversation::Entity::find()
            .filter(conversation::Column::AccountId.eq(account))
            .filter(filter);
        if let Some(only) = &access.inboxes {
            query = query.filter(conversation::Column::InboxId.is_in(only.iter().map(|id| id.0)));
        }
        let counts = if with_counts {
            Some(count(db, &query, caller.user_id()).await?)
        } else {
            None
        };
        let mut sort = ConversationOrder::LastActivityAt.sort(true, self.context.db.dialect());
        if few {
            // Few conversations match, so sorting them is cheap. If SQLite followed the order of the index instead, it would scan all
            // conversations.
            sort.coarse = None;
        }
        let ids = page::ids(db, query, conversation::Column::Id, &sort, page).await?;
        Ok((read_page(&self.context.db, account, ids).await?, counts))
    }
}
