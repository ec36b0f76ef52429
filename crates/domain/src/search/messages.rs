//! Searches the messages of an account, page by page.

use parley_storage::{
    Dialect,
    entity::{conversation, kind::MessageType, message},
    joined::Message,
    load,
};
use parley_types::{
    error::Result,
    id::{AccountId, ContactId, ConversationId, InboxId},
    time::Micros,
};
use sea_orm::{
    ColumnTrait, EntityTrait, ExprTrait, Order, QueryFilter, QueryOrder, QuerySelect, Select,
    sea_query::{Expr, Query, SimpleExpr},
};

use super::{
    LOOK, LOOKS, PLAIN, Search, index, pieces,
    scan::{self, Scan},
};
use crate::{
    auth::caller::{Access, Caller},
    page::{Key, PageRequest, Sort, SortValue},
};

/// The filters of a search. An empty or absent filter matches all messages.
#[derive(Clone, Debug, Default)]
pub struct MessageSearch {
    /// The string to search for.
    pub text: String,
    /// Only messages in one of these inboxes match.
    pub inboxes: Vec<InboxId>,
    /// Only messages in one of these conversations match.
    pub conversations: Vec<ConversationId>,
    /// Only messages in conversations with this contact match.
    pub contact: Option<ContactId>,
    /// Only messages of one of these types match.
    pub types: Vec<MessageType>,
    /// Only messages created at or after this time match.
    pub since: Option<Micros>,
    /// Only messages created before this time match.
    pub before: Option<Micros>,
}

/// A page of search results.
#[derive(Clone, Debug)]
pub struct SearchResults {
    /// The messages, newest first.
    pub messages: Vec<Message>,
    /// The position after which the next page starts, even though that page can turn out to be empty. `None` if no messages remain to be
    /// examined.
    pub next: Option<Key>,
    /// Whether the search covers all messages.
    pub complete: bool,
}

impl MessageSearch {
    /// Returns whether the search is limited to so few conversations that reading their messages is faster than having the index return all
    /// matches.
    pub(super) fn is_narrow(&self) -> bool {
        self.contact.is_some() || !self.conversations.is_empty()
    }

    pub(super) fn select(&self, account: AccountId, access: &Access) -> Select<message::Entity> {
        use message::Column;
        let mut query = message::Entity::find().filter(Column::AccountId.eq(account));
        if let Some(only) = &access.inboxes {
            query = query.filter(Column::InboxId.is_in(only.iter().map(|id| id.0)));
        }
        if !self.inboxes.is_empty() {
            query = query.filter(Column::InboxId.is_in(self.inboxes.iter().map(|id| id.0)));
        }
        if !self.conversations.is_empty() {
            query = query.filter(Column::ConversationId.is_in(self.conversations.iter().map(|id| id.0)));
        }
        if let Some(contact) = self.contact {
            let mut theirs = Query::select();
            theirs
                .column(conversation::Column::Id)
                .from(conversation::Entity)
                .and_where(Expr::col(conversation::Column::AccountId).eq(account.0))
                .and_where(Expr::col(conversation::Column::ContactId).eq(contact.0));
            query = query.filter(Column::ConversationId.in_subquery(theirs));
        }
        if !self.types.is_empty() {
            query = query.filter(Column::MessageType.is_in(self.types.iter().copied()));
        }
        if let Some(since) = self.since {
            query = query.filter(Column::CreatedAt.gte(since));
        }
        if let Some(before) = self.before {
            query = query.filter(Column::CreatedAt.lt(before));
        }
        query
    }
}

/// Returns a condition that uses the index to select candidates for a case-folded search string.
pub(super) fn found(dialect: Dialect, account: AccountId, folded: &str) -> SimpleExpr {
    dialect.message_in_index(account, &index::entry(dialect.message_index(), account, folded.to_owned()))
}

impl Search {
    /// Returns a page of the messages that contain the search string.
    ///
    /// # Errors
    /// [`parley_types::error::Error::NotMember`] if the caller has no access to the account; [`parley_types::error::Error::Busy`] if too
    /// many searches are running.
    pub async fn messages(&self, caller: &Caller, account: AccountId, search: &MessageSearch, page: &PageRequest) -> Result<SearchResults> {
        let access = caller.access(account)?;
        page.check_key(&[Sort::by_id(true)])?;
        let _permit = self.limit.permit().await?;
        let folded = pieces::fold(&search.text);
        let by_index = pieces::indexed(&folded) && !search.is_narrow();
        let mut complete = if by_index {
            index::catch_up(&self.context.db, account).await?
        } else {
            // A narrow search scans all messages of its conversations, page by page.
            search.is_narrow()
        };
        let db = self.context.db.read();
        let (mut last, mut skip) = (page.after.as_ref().map_or(i64::MAX, |key| key.id), page.skip);
        let mut rows: Vec<message::Model> = Vec::new();
        let mut more = true;
        let mut scan = Scan::new(&folded);
        'looks: for number in 0..LOOKS {
            let mut query = search.select(account, access).filter(message::Column::Id.lt(last));
            let asks_index = by_index && (number >= PLAIN || scan.should_ask_index());
            if asks_index {
                query = query.filter(found(self.context.db.dialect(), account, &folded));
            }
            query = if search.is_narrow() {
                // The unary plus keeps the query planner from scanning all messages of the account in index order, although only a few of
                // them belong to the given conversations.
                query.order_by(Expr::cust("+\"messages\".\"id\""), Order::Desc)
            } else {
                query.order_by_desc(message::Column::Id)
            };
            let look = scan::sizes(query.limit(LOOK), db).await?;
            let ended = (look.len() as u64) < LOOK;
            let mut left = look.as_slice();
            while !left.is_empty() {
                if scan.is_exhausted() {
                    break 'looks;
                }
                if by_index && !asks_index && scan.should_ask_index() {
                    continue 'looks;
                }
                let slice = scan.next(left);
                left = &left[slice.len()..];
                let rows_of = if asks_index || search.is_narrow() {
                    scan::with_ids(account, slice)
                } else {
                    scan::between(search.select(account, access), slice)
                };
                let read = rows_of.order_by_desc(message::Column::Id).all(db).await?;
                for (row, holds) in scan.holding(read, |row| row.content.as_deref()).await? {
                    if holds && skip == 0 && rows.len() as u64 == page.size {
                        break 'looks;
                    }
                    last = row.id.0;
                    match (holds, skip) {
                        (true, 0) => rows.push(row),
                        (true, _) => skip -= 1,
                        _ => {}
                    }
                }
            }
            if ended {
                more = false;
                break;
            }
        }
        if !by_index && !more {
            complete = true;
        }
        let next = more.then_some(Key {
            value: SortValue::Null,
            id: last,
        });
        Ok(SearchResults {
            messages: load::with_senders(db, account, rows).await?,
            next,
            complete,
        })
    }
}
