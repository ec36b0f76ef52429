//! Lists conversations, with filters, a sort order and counts.

use parley_storage::{
    Database, Dialect,
    entity::{
        contact_inbox, conversation, conversation_participant,
        kind::{ConversationStatus, LabelTarget},
        message,
    },
    joined::ConversationSummary,
    load,
    octets::around_conversation,
};
use parley_types::{
    error::Result,
    id::{AccountId, ContactId, InboxId, TeamId, UserId},
    time::Micros,
};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, ExprTrait, FromQueryResult, QueryFilter, QuerySelect, Select,
    sea_query::{Alias, Expr, Func, Query, SelectStatement, SimpleExpr, UnionType},
};

use crate::{
    auth::caller::{Access, Caller},
    conversations::{Conversations, order::ConversationOrder},
    filter::{
        has_label::labelled,
        selectivity::{among, are_few},
    },
    page::{self, Page, PageRequest},
    people::teams,
};

/// A filter for a list of conversations, by assignee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assigned {
    /// Matches conversations assigned to this user; `None` matches no conversation.
    To(Option<UserId>),
    /// Matches conversations with an assignee.
    Somebody,
    /// Matches conversations without an assignee.
    Nobody,
}

/// The filters and the order of a list of conversations. An empty or absent filter matches all conversations.
#[derive(Clone, Debug)]
pub struct ConversationQuery {
    /// Restricts the list to conversations with any of these statuses; empty means no restriction.
    pub statuses: Vec<ConversationStatus>,
    /// Restricts the list to conversations in any of these inboxes; empty means no restriction.
    pub inboxes: Vec<InboxId>,
    /// Restricts the list to conversations with this contact.
    pub contact: Option<ContactId>,
    /// Restricts the list to conversations assigned to this team.
    pub team: Option<TeamId>,
    /// Restricts the list to conversations of contact sessions with this source id.
    pub source_id: Option<String>,
    /// Restricts the list to conversations that match this filter by assignee.
    pub assigned: Option<Assigned>,
    /// Restricts the list to conversations with any of these labels; empty means no restriction.
    pub labels: Vec<String>,
    /// Restricts the list to conversations with an incoming or outgoing message that contains this string. One search examines a limited
    /// number of messages.
    pub text: Option<String>,
    /// Whether to return only unattended conversations: those without a first reply, and those whose contact is waiting for a reply.
    pub unattended: bool,
    /// If set, restricts the list to conversations in which this user participates; `Some(None)` matches no conversation.
    pub participant: Option<Option<UserId>>,
    /// If set, restricts the list to conversations in which a private note mentions this user; `Some(None)` matches no conversation.
    pub mentioned: Option<Option<UserId>>,
    /// Restricts the list to conversations that changed at or after this time.
    pub updated_since: Option<Micros>,
    /// The value to sort by.
    pub order: ConversationOrder,
    /// Whether to sort in descending order.
    pub descending: bool,
    /// Whether to also return [`Counts`] of the conversations.
    pub count: bool,
}

/// A page of conversations, with counts if they were requested.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The requested page of conversations.
    pub page: Page<ConversationSummary>,
    /// The counts, if the query requested them.
    pub counts: Option<Counts>,
    /// Whether the text search examined all messages. True if there was no text search.
    pub complete: bool,
}

/// Counts of the conversations that match all filters other than the filter by assignee.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromQueryResult)]
pub struct Counts {
    /// The number of conversations assigned to the caller.
    pub mine: i64,
    /// The number of conversations without an assignee.
    pub unassigned: i64,
    /// The number of conversations with or without an assignee.
    pub all: i64,
}

fn of_account(select: &mut SelectStatement, account: SimpleExpr, id: AccountId) {
    select.and_where(account.eq(id.0));
}

fn taking_part(account: AccountId, user: Option<UserId>) -> SelectStatement {
    use conversation_participant::Column;
    let mut select = Query::select();
    select.column(Column::ConversationId).from(conversation_participant::Entity);
    of_account(&mut select, Expr::col(Column::AccountId), account);
    select.and_where(Expr::col(Column::UserId).eq(user.map_or(0, i64::from)));
    select
}

/// Selects the conversations whose private notes mention a user. Mentions are links in the notes, as Chatwoot's editor writes them. A
/// partial index covers the notes that contain mentions.
fn mentioning(account: AccountId, user: Option<UserId>) -> SelectStatement {
    let mut select = Query::select();
    select.column(message::Column::ConversationId).from(message::Entity);
    of_account(&mut select, Expr::col(message::Column::AccountId), account);
    let pattern = format!("%mention://user/{}/%", user.map_or(0, i64::from));
    select
        .and_where(Expr::cust("private AND content LIKE '%mention://user/%'"))
        .and_where(Expr::col(message::Column::Content).like(pattern));
    select
}

/// Selects unattended conversations: those without a first reply, and those whose contact is waiting for a reply.
fn unattended(dialect: Dialect, account: AccountId) -> SelectStatement {
    use conversation::Column;
    let of = |column: Column| Expr::col((conversation::Entity, column));
    let mut ids = Query::select();
    ids.expr(of(Column::Id)).from(conversation::Entity);
    of_account(&mut ids, of(Column::AccountId), account);
    let waiting = if let Some(table) = dialect.waiting_table() {
        let mut waiting = Query::select();
        waiting.column(Alias::new("conversation_id")).from(Alias::new(table));
        of_account(&mut waiting, Expr::col(Column::AccountId), account);
        waiting
    } else {
        ids.clone().and_where(of(Column::WaitingSince).is_not_null()).take()
    };
    ids.and_where(of(Column::FirstReplyCreatedAt).is_null());
    ids.union(UnionType::All, waiting).take()
}

impl ConversationQuery {
    fn select(&self, account: AccountId, access: &Access) -> Select<conversation::Entity> {
        use conversation::Column;
        let mut query = conversation::Entity::find().filter(Column::AccountId.eq(account));
        if let Some(only) = &access.inboxes {
            query = query.filter(Column::InboxId.is_in(only.iter().map(|id| id.0)));
        }
        if !self.statuses.is_empty() {
            query = query.filter(Column::Status.is_in(self.statuses.iter().copied()));
        }
        if !self.inboxes.is_empty() {
            query = query.filter(Column::InboxId.is_in(self.inboxes.iter().map(|id| id.0)));
        }
        if let Some(team) = self.team {
            query = query.filter(conversation::Column::TeamId.eq(team));
        }
        if let Some(contact) = self.contact {
            query = query.filter(Column::ContactId.eq(contact));
        }
        if self.unattended {
            query = query.filter(
                Condition::any()
                    .add(Column::FirstReplyCreatedAt.is_null())
                    .add(Column::WaitingSince.is_not_null()),
            );
        }
        if let Some(user) = self.participant {
            query = query.filter(Column::Id.in_subquery(taking_part(account, user)));
        }
        if let Some(user) = self.mentioned {
            query = query.filter(Column::Id.in_subquery(mentioning(account, user)));
        }
        if let Some(since) = self.updated_since {
            query = query.filter(Column::UpdatedAt.gte(since));
        }
        if let Some(source_id) = &self.source_id {
            let mut sessions = Query::select();
            sessions.column(contact_inbox::Column::Id).from(contact_inbox::Entity);
            of_account(&mut sessions, Expr::col(contact_inbox::Column::AccountId), account);
            sessions.and_where(Expr::col(contact_inbox::Column::SourceId).eq(source_id.as_str()));
            query = query.filter(Column::ContactInboxId.in_subquery(sessions));
        }
        query
    }

    fn narrow(&self, query: Select<conversation::Entity>) -> Select<conversation::Entity> {
        use conversation::Column;
        match self.assigned {
            None => query,
            Some(Assigned::To(Some(user))) => query.filter(Column::AssigneeId.eq(user)),
            // A caller who is not a user has no assigned conversations.
            Some(Assigned::To(None)) => query.filter(Expr::value(false)),
            Some(Assigned::Somebody) => query.filter(Column::AssigneeId.is_not_null()),
            Some(Assigned::Nobody) => query.filter(Column::AssigneeId.is_null()),
        }
    }
}

impl Conversations {
    /// Returns a page of the conversations that match `query` and that the caller can access, with their newest messages. Also returns
    /// counts if `query` requests them.
    ///
    /// # Errors
    /// [`parley_types::error::Error::NotMember`] if the caller has no access to the account; [`parley_types::error::Error::NotFound`] if
    /// the team does not exist.
    pub async fn list(&self, caller: &Caller, account: AccountId, query: &ConversationQuery, page: &PageRequest) -> Result<Listed> {
        let access = caller.access(account)?;
        let db = self.context.db.read();
        if let Some(team) = query.team {
            teams::find(db, account, team).await?;
        }
        let (mut all, mut complete) = (query.select(account, access), true);
        if !query.labels.is_empty() {
            let id = Expr::col((conversation::Entity, conversation::Column::Id));
            all = all.filter(labelled(db, account, LabelTarget::Conversation, &query.labels, id).await?);
        }
        if let Some(text) = &query.text {
            let found = self.search.conversations(account, access, text).await?;
            let id = Expr::col((conversation::Entity, conversation::Column::Id));
            all = all.filter(self.context.db.dialect().id_in_list(id, &found.ids));
            complete = found.complete;
        }
        // If few conversations match, look them up by their keys and sort them. Following the order of the index instead would make SQLite,
        // which has no statistics on table sizes, scan all conversations.
        let mut few = query.contact.is_some() || query.source_id.is_some() || query.text.is_some();
        if query.unattended {
            let those = [unattended(self.context.db.dialect(), account)];
            if are_few(db, &those).await?.contains(&true) {
                let id = Expr::col((conversation::Entity, conversation::Column::Id));
                all = all.filter(among(self.context.db.dialect(), id, &those));
                few = true;
            }
        }
        let counts = if query.count {
            Some(count(db, &all, caller.user_id()).await?)
        } else {
            None
        };
        let mut sort = query.order.sort(query.descending, self.context.db.dialect());
        if few {
            (sort.coarse, sort.aside) = (None, None);
        }
        let ids = page::ids(db, query.narrow(all), conversation::Column::Id, &sort, page).await?;
        Ok(Listed {
            page: read_page(&self.context.db, account, ids).await?,
            counts,
            complete,
        })
    }
}

/// Loads the conversations for a page of ids, in the same order. The page is truncated where it would exceed its size limit.
pub(crate) async fn read_page(db: &Database, account: AccountId, ids: Page<i64>) -> Result<Page<ConversationSummary>> {
    let read = db.read();
    let all = conversation::Entity::find().filter(conversation::Column::AccountId.eq(account));
    let ids = page::fitting(
        read,
        all.clone(),
        conversation::Column::Id,
        Some(around_conversation(db.dialect())),
        ids,
    )
    .await?;
    let rows = all
        .filter(conversation::Column::Id.is_in(ids.items.iter().copied()))
        .all(read)
        .await?;
    let row = load::account(read, account).await?;
    let summaries = load::summaries(read, &row, rows).await?;
    Ok(ids.with(summaries, |summary: &ConversationSummary| summary.conversation.row.id.0))
}

/// Counts the conversations that `query` selects: all, those without an assignee, and those that are assigned to `user`.
pub(crate) async fn count(db: &impl ConnectionTrait, query: &Select<conversation::Entity>, user: Option<UserId>) -> Result<Counts> {
    let assignee = || Expr::col((conversation::Entity, conversation::Column::AssigneeId));
    let mine = Expr::case(assignee().eq(user.map_or(0, i64::from)), 1);
    let counts = query
        .clone()
        .select_only()
        .expr_as(Func::count(Expr::expr(mine)), "mine")
        .expr_as(Func::count(Expr::expr(Expr::case(assignee().is_null(), 1))), "unassigned")
        .expr_as(Expr::cust("COUNT(*)"), "all")
        .into_model::<Counts>()
        .one(db)
        .await?;
    Ok(counts.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use sea_orm::ConnectionTrait as _;

    use super::*;
    use parley_storage::{Config, Database};

    /// Creates conversations of account 1, numbered from 1, whose last activity is at these times.
    async fn database(active_at: &[i64]) -> Database {
        let config = Config {
            url: "sqlite::memory:".to_owned(),
            create: true,
            max_connections: 1,
            alone: 0,
            connect_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(5),
        };
        let db = Database::open(&config).await.unwrap();
        db.migrate().await.unwrap();
        for (number, at) in (1..).zip(active_at) {
            let sql = format!(
                "INSERT INTO conversations (account_id, id, uuid, inbox_id, contact_id, contact_inbox_id, status, additional_attributes, \
                 custom_attributes, last_activity_at, unread_count, message_count, created_at, updated_at, version) \
                 VALUES (1, {number}, x'00', 1, 1, 1, 0, '{{}}', '{{}}', {at}, 0, 0, {at}, {at}, 0)"
            );
            db.write().execute_unprepared(&sql).await.unwrap();
        }
        db
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        // The index contains only the hour: pages must neither skip nor repeat conversations at its boundaries.
        #[test]
        fn pages_by_last_activity_neither_skip_nor_repeat(
            times in prop::collection::vec((0..4_i64, -2..3_i64), 1..14), size in 1..5_u64, descending in any::<bool>(),
        ) {
            let hour = 3_600_000_000_i64;
            let times: Vec<i64> = times.into_iter().map(|(hours, micros)| (hours + 100) * hour + micros).collect();
            let mut expected: Vec<(i64, i64)> = times.iter().copied().zip(1..).collect();
            expected.sort_unstable();
            if descending {
                expected.reverse();
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let found = runtime.block_on(async {
                let db = database(&times).await;
                let sort = ConversationOrder::LastActivityAt.sort(descending, db.dialect());
                let (mut found, mut after) = (Vec::new(), None);
                loop {
                    let page = PageRequest { size, after, skip: 0 };
                    let page = page::ids(db.read(), conversation::Entity::find(), conversation::Column::Id, &sort, &page).await.unwrap();
                    found.extend(page.items);
                    after = page.next;
                    if after.is_none() {
                        return found;
                    }
                }
            });
            prop_assert_eq!(found, expected.into_iter().map(|(_, id)| id).collect::<Vec<_>>());
        }
    }
}
