//! Event filters: the events that a subscriber requests, restricted to those it may see. A filter is evaluated in memory and in SQL, with
//! the same result.

use parley_storage::entity::{event, kind::MessageType};
use parley_types::id::{ContactId, ConversationId, InboxId};
use sea_orm::{
    ColumnTrait, Condition, ExprTrait,
    sea_query::{Expr, Func},
};

use crate::{event_record::EventRecord, kind::EventKind};

/// A shard of a log. Events are assigned to shards by conversation or, if they have none, by contact, so that the events of a conversation
/// or contact stay together. Events with neither belong to shard 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The index of the shard, from 0.
    pub index: i64,
    /// The number of shards, at least 1.
    pub count: i64,
}

impl Shard {
    fn holds(self, entry: &EventRecord) -> bool {
        let by_contact = || entry.contact.map(|id| id.0);
        let number = entry.conversation.map(|id| id.0).or_else(by_contact).unwrap_or_default();
        number.rem_euclid(self.count) == self.index
    }

    fn condition(self) -> Condition {
        let columns = [event::Column::ConversationId, event::Column::ContactId].map(Expr::col);
        let number = Func::coalesce(columns.into_iter().chain([Expr::val(0)]));
        Condition::all().add(Expr::expr(number).modulo(self.count).eq(self.index))
    }
}

/// [`EventKind::ContactMerged`] as the column `kind` stores it.
const MERGED: i16 = EventKind::ContactMerged as i16;

/// Selects events. Fields are combined with AND, the values within a field with OR; an empty field matches every event. An event that has
/// no value for a non-empty field does not match.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// The [`EventKind`]s that match, as numbers.
    pub kinds: Vec<i16>,
    pub inboxes: Vec<InboxId>,
    pub conversations: Vec<ConversationId>,
    pub contacts: Vec<ContactId>,
    /// Whether all events about merged contacts match, regardless of `contacts`. Such an event is about the contact that remains, but a
    /// listed contact may be the one that was merged into it.
    pub merges: bool,
    pub message_types: Vec<MessageType>,
    /// `Some(true)` for private messages only, `Some(false)` for public messages only.
    pub private: Option<bool>,
    /// The inboxes that the subscriber may see; `None` for all. Every subscriber sees events without an inbox, unless `inboxes_only` is
    /// set.
    pub scope: Option<Vec<InboxId>>,
    /// Whether the subscriber receives only the ids of contacts that have no session in `scope`. This does not affect which events match:
    /// the module `inbox_scope` redacts those that do.
    pub own_contacts: bool,
    /// Whether events without an inbox are excluded. Only applies together with `scope`.
    pub inboxes_only: bool,
    /// The shard whose events match; `None` for all.
    pub shard: Option<Shard>,
}

impl Filter {
    /// Whether the filter matches every event.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the subscriber's scope excludes all events without an inbox.
    pub fn follows_inboxes_only(&self) -> bool {
        self.inboxes_only && self.scope.is_some()
    }

    pub fn matches(&self, entry: &EventRecord) -> bool {
        within(&self.kinds, Some(entry.kind))
            && within(&self.inboxes, entry.inbox)
            && within(&self.conversations, entry.conversation)
            && (within(&self.contacts, entry.contact) || self.merges && entry.kind == MERGED)
            && within(&self.message_types, entry.message_type)
            && self.private.is_none_or(|private| entry.private == Some(private))
            && self
                .scope
                .as_ref()
                .is_none_or(|scope| entry.inbox.map_or(!self.inboxes_only, |inbox| scope.contains(&inbox)))
            && self.shard.is_none_or(|shard| shard.holds(entry))
    }

    /// Returns the filter as a condition on the table `events`.
    pub fn condition(&self) -> Condition {
        use event::Column;
        let list = |column: Column, values: Vec<sea_orm::Value>| (!values.is_empty()).then(|| column.is_in(values));
        Condition::all()
            .add_option(list(Column::Kind, self.kinds.iter().map(|kind| (*kind).into()).collect()))
            .add_option(list(Column::InboxId, self.inboxes.iter().map(|id| id.0.into()).collect()))
            .add_option(list(
                Column::ConversationId,
                self.conversations.iter().map(|id| id.0.into()).collect(),
            ))
            .add_option(
                list(Column::ContactId, self.contacts.iter().map(|id| id.0.into()).collect()).map(|listed| {
                    Condition::any()
                        .add(listed)
                        .add_option(self.merges.then(|| Column::Kind.eq(MERGED)))
                }),
            )
            .add_option(list(
                Column::MessageType,
                self.message_types.iter().map(|kind| (*kind as i16).into()).collect(),
            ))
            .add_option(self.private.map(|private| Column::Private.eq(private)))
            .add_option(self.scope.as_ref().map(|scope| {
                Condition::any()
                    .add_option((!self.inboxes_only).then(|| Column::InboxId.is_null()))
                    .add(Column::InboxId.is_in(scope.iter().map(|id| id.0)))
            }))
            .add_option(self.shard.map(Shard::condition))
    }
}

fn within<T: PartialEq + Copy>(wanted: &[T], value: Option<T>) -> bool {
    wanted.is_empty() || value.is_some_and(|value| wanted.contains(&value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sea_orm::{ActiveModelTrait, ConnectionTrait, EntityTrait, QueryFilter, Schema};

    use super::*;
    use parley_types::{
        id::{AccountId, Seq},
        time::Micros,
    };

    type Drawn = (i16, Option<i64>, Option<i64>, Option<MessageType>, Option<bool>);

    fn entries() -> impl Strategy<Value = Vec<EventRecord>> {
        let message_type = prop_oneof![Just(MessageType::Incoming), Just(MessageType::Outgoing)];
        let one = (
            prop_oneof![1..4_i16, Just(MERGED)],
            prop::option::of(1..4_i64),
            prop::option::of(1..4_i64),
            prop::option::of(message_type),
            prop::option::of(any::<bool>()),
        );
        prop::collection::vec(one, 1..12).prop_map(|all| {
            let entry = |(nth, (kind, inbox, conversation, message_type, private)): (i64, Drawn)| EventRecord {
                account: AccountId(1),
                seq: Seq(nth),
                transaction_id: Seq(nth),
                kind,
                inbox: inbox.map(InboxId),
                conversation: conversation.map(ConversationId),
                contact: conversation.map(ContactId),
                message_type,
                private,
                occurred_at: Micros(0),
                payload: bytes::Bytes::from_static(b"x"),
            };
            (1..).zip(all).map(entry).collect()
        })
    }

    fn filters() -> impl Strategy<Value = Filter> {
        let some = || prop::collection::vec(1..4_i64, 0..3);
        (
            prop::collection::vec(1..4_i16, 0..3),
            some(),
            some(),
            prop::option::of(some()),
            prop::option::of(any::<bool>()),
            prop::option::of((0..3_i64, 1..3_i64)),
            any::<bool>(),
        )
            .prop_map(|(kinds, inboxes, conversations, scope, private, shard, merges)| Filter {
                kinds,
                merges,
                inboxes: inboxes.into_iter().map(InboxId).collect(),
                contacts: conversations.iter().copied().map(ContactId).collect(),
                conversations: conversations.into_iter().map(ConversationId).collect(),
                message_types: private.map(|_| MessageType::Incoming).into_iter().collect(),
                private,
                own_contacts: scope.is_some(),
                inboxes_only: scope.as_ref().is_some_and(|scope| scope.len() == 1),
                scope: scope.map(|scope| scope.into_iter().map(InboxId).collect()),
                shard: shard.map(|(index, more)| Shard {
                    index,
                    count: index + more,
                }),
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn memory_and_sql_filters_agree(entries in entries(), filter in filters()) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let found: Vec<Seq> = runtime.block_on(async {
                let mut options = sea_orm::ConnectOptions::new("sqlite::memory:");
                options.max_connections(1).sqlx_logging(false);
                let db = sea_orm::Database::connect(options).await.unwrap();
                db.execute(&Schema::new(db.get_database_backend()).create_table_from_entity(event::Entity)).await.unwrap();
                for entry in &entries {
                    event::ActiveModel::from(entry).insert(&db).await.unwrap();
                }
                let rows = event::Entity::find().filter(filter.condition()).all(&db).await.unwrap();
                rows.into_iter().map(|row| row.seq).collect()
            });
            let matching: Vec<Seq> = entries.iter().filter(|entry| filter.matches(entry)).map(|entry| entry.seq).collect();
            prop_assert_eq!(found, matching);
        }
    }
}
