//! Snapshots: the current state as upserts, sent before the events that follow the snapshot.
//!
//! The head is read first and the rows afterwards, page by page. A change made between these reads arrives again as an event, and the copy
//! with the higher version is the newer one. So no change is missed, and no long transaction is needed.
//!
//! A snapshot contains exactly the resources about which later events can match the subscriber's filter. The subscriber's copy of any other
//! resource would silently become stale, because no event would update it.

use std::sync::Arc;

use parley_fault::Protection;
use parley_proto::{self as pb, upsert::Resource};
use parley_storage::{
    Database,
    entity::{account, contact, contact_inbox, conversation, inbox, message},
    load, octets,
};
use parley_types::{
    error::Result,
    id::{AccountId, Seq},
};
use prost::Message as _;
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, Query, SimpleExpr},
};

use crate::conversion::{CredentialsShown, ToProto as _, inbox_of};
use crate::{
    filter::Filter,
    inbox_scope::{retain_visible_sessions, show_submitted},
    kind::EventKind,
};

/// Maximum number of objects that one read returns. A read returns fewer if the objects are large.
const PAGE: u64 = 100;

/// The kind of resource that a snapshot reads next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Inboxes,
    Contacts,
    Conversations,
    Messages,
}

impl Stage {
    const ALL: [Self; 4] = [Self::Inboxes, Self::Contacts, Self::Conversations, Self::Messages];

    fn next(self) -> Option<Self> {
        let nth = Self::ALL.iter().position(|stage| *stage == self)?;
        Self::ALL.get(nth + 1).copied()
    }

    /// Returns the kinds of events that report changes to an existing resource of this stage.
    fn changes(self) -> &'static [EventKind] {
        match self {
            Self::Inboxes => &[EventKind::InboxUpdated, EventKind::InboxDeleted],
            Self::Contacts => &[EventKind::ContactUpdated, EventKind::ContactMerged, EventKind::ContactDeleted],
            Self::Conversations => &[
                EventKind::ConversationUpdated,
                EventKind::ConversationStatusChanged,
                EventKind::ConversationRead,
                EventKind::ConversationDeleted,
                EventKind::ConversationContactChanged,
                EventKind::AssigneeChanged,
                EventKind::TeamChanged,
                EventKind::FirstReplyCreated,
                EventKind::ConversationBotHandoff,
            ],
            Self::Messages => &[EventKind::MessageUpdated],
        }
    }

    /// Whether later events about a resource of this stage can match the filter. An event without a value for a filtered field does not
    /// match: events about an inbox have no conversation and no contact, events about a contact have no inbox and no conversation, and only
    /// events about a message have a message type and a private flag. Likewise, an event without an inbox does not match for a subscriber
    /// that follows only inboxes.
    fn passes(self, filter: &Filter) -> bool {
        if !parley_fault::is_on(Protection::SnapshotFilter) {
            return true;
        }
        let numbers = self.changes().iter().map(|kind| i32::from(*kind));
        let is_changed = filter.kinds.is_empty()
            || numbers
                .into_iter()
                .any(|kind| filter.kinds.iter().any(|known| i32::from(*known) == kind));
        let is_of_messages = !filter.message_types.is_empty() || filter.private.is_some();
        is_changed
            && match self {
                Self::Inboxes => filter.conversations.is_empty() && filter.contacts.is_empty() && !is_of_messages,
                Self::Contacts => {
                    filter.inboxes.is_empty() && !filter.follows_inboxes_only() && filter.conversations.is_empty() && !is_of_messages
                }
                Self::Conversations => !is_of_messages,
                Self::Messages => true,
            }
    }
}

/// The progress of a snapshot.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// The number of upserts returned so far.
    pub count: u64,
    stage: Stage,
    after: i64,
}

/// A page of a snapshot: upserts with the ids of their rows, and the id of the last row that the query returned.
#[derive(Default)]
struct Page {
    upserts: Vec<(i64, pb::Upsert)>,
    /// Whether `upserts` covers all rows that were read. Only as many rows are converted as fit into a response message; the next page
    /// reads the remaining rows again.
    is_complete: bool,
    last: Option<i64>,
}

impl Page {
    fn new(upserts: impl Iterator<Item = (i64, pb::Upsert)>, last: Option<i64>, frame_bytes: usize) -> Self {
        let (upserts, is_complete) = fitting(upserts, frame_bytes);
        Self {
            upserts,
            is_complete,
            last,
        }
    }
}

fn upsert(version: Seq, resource: Resource) -> pb::Upsert {
    pb::Upsert {
        version: version.to_wire(),
        resource: Some(resource),
    }
}

impl Snapshot {
    /// Creates a snapshot that starts with the first row of the first stage.
    pub fn new() -> Self {
        Self {
            count: 0,
            stage: Stage::Inboxes,
            after: 0,
        }
    }

    /// Returns the next upserts, or `None` when the snapshot is complete. Cancel safe: the position advances only after a page has been
    /// read.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached, and `Error::Database` if a query fails.
    pub async fn next(
        &mut self,
        db: &Database,
        account: AccountId,
        filter: &Filter,
        frame_bytes: usize,
    ) -> Result<Option<Vec<pb::Upsert>>> {
        loop {
            let mut page = match self.stage {
                stage if !stage.passes(filter) => Page::default(),
                Stage::Inboxes => inboxes(db, account, filter, self.after, frame_bytes).await?,
                Stage::Contacts => contacts(db, account, filter, self.after, frame_bytes).await?,
                Stage::Conversations => conversations(db, account, filter, self.after, frame_bytes).await?,
                Stage::Messages => messages(db, account, filter, self.after, frame_bytes).await?,
            };
            if let Some(last) = page.last {
                if let Some(scope) = filter.scope.as_ref().filter(|_| filter.own_contacts) {
                    let mut upserts: Vec<&mut pb::Upsert> = page.upserts.iter_mut().map(|(_, upsert)| upsert).collect();
                    show_submitted(db.read(), account, scope, &mut upserts).await?;
                }
                self.after = if page.is_complete {
                    last
                } else {
                    page.upserts.last().map_or(last, |(id, _)| *id)
                };
                self.count += page.upserts.len() as u64;
                return Ok(Some(page.upserts.into_iter().map(|(_, upsert)| upsert).collect()));
            }
            self.after = 0;
            let Some(next) = self.stage.next() else { return Ok(None) };
            self.stage = next;
        }
    }
}

/// Returns as many upserts as fit into a response message (at least the first one), and whether all of them fit.
fn fitting(upserts: impl Iterator<Item = (i64, pb::Upsert)>, frame_bytes: usize) -> (Vec<(i64, pb::Upsert)>, bool) {
    let (mut fit, mut bytes) = (Vec::new(), 0);
    for (id, upsert) in upserts {
        bytes += upsert.encoded_len();
        if bytes > frame_bytes && !fit.is_empty() {
            return (fit, false);
        }
        fit.push((id, upsert));
    }
    (fit, true)
}

/// Restricts a query to the inboxes that the filter names and the subscriber may see.
fn of_inboxes<C: ColumnTrait>(filter: &Filter, column: C) -> Condition {
    let named = (!filter.inboxes.is_empty()).then(|| column.is_in(filter.inboxes.iter().map(|id| id.0)));
    let seen = filter.scope.as_ref().map(|scope| column.is_in(scope.iter().map(|id| id.0)));
    Condition::all().add_option(named).add_option(seen)
}

async fn inboxes(db: &Database, account: AccountId, filter: &Filter, after: i64, frame_bytes: usize) -> Result<Page> {
    let rows = inbox::Entity::find()
        .filter(inbox::Column::AccountId.eq(account))
        .filter(inbox::Column::Id.gt(after))
        .filter(of_inboxes(filter, inbox::Column::Id))
        .order_by_asc(inbox::Column::Id)
        .limit(PAGE)
        .all(db.read())
        .await?;
    let last = rows.last().map(|row| row.id.0);
    let rows = load::with_channels(db.read(), rows).await?;
    let upserts = rows.iter().map(|row| {
        (
            row.row.id.0,
            upsert(row.row.version, Resource::Inbox(inbox_of(row, CredentialsShown::Nothing))),
        )
    });
    Ok(Page::new(upserts, last, frame_bytes))
}

/// Restricts contacts to those with a session in an inbox that the subscriber may see. Returns `None` if the subscriber may see all
/// contacts.
fn own_contacts(account: AccountId, filter: &Filter) -> Option<SimpleExpr> {
    let scope = filter.scope.as_ref().filter(|_| filter.own_contacts)?;
    let mut sessions = Query::select();
    sessions
        .column(contact_inbox::Column::ContactId)
        .from(contact_inbox::Entity)
        .and_where(Expr::col(contact_inbox::Column::AccountId).eq(account.0))
        .and_where(Expr::col(contact_inbox::Column::InboxId).is_in(scope.iter().map(|id| id.0)))
        .cond_where(contact_inbox::opens_contact());
    Some(contact::Column::Id.in_subquery(sessions))
}

async fn contacts(db: &Database, account: AccountId, filter: &Filter, after: i64, frame_bytes: usize) -> Result<Page> {
    let named = (!filter.contacts.is_empty()).then(|| contact::Column::Id.is_in(filter.contacts.iter().map(|id| id.0)));
    let ids: Vec<i64> = contact::Entity::find()
        .select_only()
        .column(contact::Column::Id)
        .filter(contact::Column::AccountId.eq(account))
        .filter(contact::Column::Id.gt(after))
        .filter(Condition::all().add_option(named).add_option(own_contacts(account, filter)))
        .order_by_asc(contact::Column::Id)
        .limit(PAGE)
        .into_tuple()
        .all(db.read())
        .await?;
    let fit = octets::fitting(db.read(), contact::Entity::find(), contact::Column::Id, None, &ids).await?;
    let rows = contact::Entity::find()
        .filter(contact::Column::Id.is_in(ids[..fit].iter().copied()))
        .order_by_asc(contact::Column::Id)
        .all(db.read())
        .await?;
    // Some of the rows may have been deleted since their ids were read; the position moves past them anyway.
    let last = ids[..fit].last().copied();
    let rows = load::with_labels(db.read(), account, rows).await?;
    let mut rows = load::with_sessions(db.read(), account, rows).await?;
    retain_visible_sessions(&mut rows, filter);
    let upserts = rows.iter().map(|row| {
        (
            row.contact.row.id.0,
            upsert(row.contact.row.version, Resource::Contact(row.to_proto())),
        )
    });
    Ok(Page::new(upserts, last, frame_bytes))
}

async fn conversations(db: &Database, account: AccountId, filter: &Filter, after: i64, frame_bytes: usize) -> Result<Page> {
    use conversation::Column;
    let contacts = (!filter.contacts.is_empty()).then(|| Column::ContactId.is_in(filter.contacts.iter().map(|id| id.0)));
    let named = (!filter.conversations.is_empty()).then(|| Column::Id.is_in(filter.conversations.iter().map(|id| id.0)));
    let all = conversation::Entity::find().filter(Column::AccountId.eq(account));
    let ids: Vec<i64> = all
        .clone()
        .select_only()
        .column(Column::Id)
        .filter(Column::Id.gt(after))
        .filter(of_inboxes(filter, Column::InboxId))
        .filter(Condition::all().add_option(contacts).add_option(named))
        .order_by_asc(Column::Id)
        .limit(PAGE)
        .into_tuple()
        .all(db.read())
        .await?;
    let around = octets::around_conversation(db.dialect());
    let fit = octets::fitting(db.read(), all.clone(), Column::Id, Some(around), &ids).await?;
    let rows = all
        .filter(Column::Id.is_in(ids[..fit].iter().copied()))
        .order_by_asc(Column::Id)
        .all(db.read())
        .await?;
    // Some of the rows may have been deleted since their ids were read; the position moves past them anyway.
    let last = ids[..fit].last().copied();
    let account: Arc<account::Model> = load::account(db.read(), account).await?;
    let rows = load::summaries(db.read(), &account, rows).await?;
    let upserts = rows.iter().map(|row| {
        (
            row.conversation.row.id.0,
            upsert(row.conversation.row.version, Resource::Conversation(row.to_proto())),
        )
    });
    Ok(Page::new(upserts, last, frame_bytes))
}

async fn messages(db: &Database, account: AccountId, filter: &Filter, after: i64, frame_bytes: usize) -> Result<Page> {
    use message::Column;
    let named = (!filter.conversations.is_empty()).then(|| Column::ConversationId.is_in(filter.conversations.iter().map(|id| id.0)));
    let contacts = (!filter.contacts.is_empty()).then(|| {
        let mut theirs = Query::select();
        theirs
            .column(conversation::Column::Id)
            .from(conversation::Entity)
            .and_where(Expr::col(conversation::Column::AccountId).eq(account.0))
            .and_where(Expr::col(conversation::Column::ContactId).is_in(filter.contacts.iter().map(|id| id.0)));
        Column::ConversationId.in_subquery(theirs)
    });
    let types = (!filter.message_types.is_empty()).then(|| Column::MessageType.is_in(filter.message_types.iter().copied()));
    let select = message::Entity::find()
        .filter(Column::AccountId.eq(account))
        .filter(Column::Id.gt(after))
        .filter(of_inboxes(filter, Column::InboxId))
        .filter(
            Condition::all()
                .add_option(named)
                .add_option(contacts)
                .add_option(types)
                .add_option(filter.private.map(|private| Column::Private.eq(private))),
        );
    let (rows, _) = load::messages_within(db.read(), select, false, PAGE).await?;
    let last = rows.last().map(|row| row.id.0);
    let rows = load::with_senders(db.read(), account, rows).await?;
    let upserts = rows
        .iter()
        .map(|row| (row.row.id.0, upsert(row.row.version, Resource::Message(row.to_proto()))));
    Ok(Page::new(upserts, last, frame_bytes))
}
