//! The labels that an account defines. Contacts and conversations store their labels by name, so a label does not have to be defined before
//! it is used, and remains on them when its definition is deleted.

use parley_eventlog::{kind::EventKind, pending_event::Subject};
use parley_storage::entity::{contact, conversation, kind::LabelTarget, label, labeling};
use parley_types::{error::Result, id::AccountId};
use sea_orm::{
    ColumnTrait, EntityTrait, ExprTrait, QueryFilter, Select,
    sea_query::{Alias, Expr, Query, SelectStatement},
};

use super::{
    by_text,
    patch::record_patch,
    record::{Record, Writers},
};
use crate::{page::Sort, write::Write};

record_patch! {
    /// The fields of a label.
    pub struct LabelPatch for label {
        /// The name, in lower case.
        title: String,
        description: Option<String>,
        /// A color in the syntax of front ends, such as `#1f93ff`.
        color: String,
        /// Whether front ends show the label in the sidebar.
        show_on_sidebar: Option<bool>,
    }
}

impl Record for label::Entity {
    type Patch = LabelPatch;
    type Query = ();
    const KIND: &'static str = "label";
    const UNIQUE: label::Column = label::Column::Title;
    const WRITERS: Writers = Writers::Administrators;
    const CREATED: EventKind = EventKind::LabelCreated;
    const UPDATED: EventKind = EventKind::LabelUpdated;
    const DELETED: EventKind = EventKind::LabelDeleted;
    const SUBJECT: fn(label::Model) -> Subject = Subject::Label;

    fn list(rows: Select<Self>, (): ()) -> (Select<Self>, Sort) {
        (rows, by_text(Expr::col((label::Entity, label::Column::Title))))
    }

    /// A new title replaces the old one on contacts and conversations.
    async fn propagate(write: &mut Write, before: &label::Model, after: &label::Model) -> Result<()> {
        if before.title == after.title {
            return Ok(());
        }
        rename(write, &before.title, &after.title).await
    }
}

/// Selects the ids of the conversations or contacts that have a label.
fn carriers(account: AccountId, kind: LabelTarget, name: &str) -> SelectStatement {
    let mut carriers = Query::select();
    carriers
        .column(labeling::Column::SubjectId)
        .from(labeling::Entity)
        .and_where(Expr::col(labeling::Column::AccountId).eq(account.0))
        .and_where(Expr::col(labeling::Column::SubjectKind).eq(kind as i16))
        .and_where(Expr::col(labeling::Column::Name).eq(name));
    carriers
}

/// Renames a label on all contacts and conversations. They need no events of their own: the event about the label, which the caller emits
/// next, makes writer shards evict all of the account's rows from their caches.
async fn rename(write: &mut Write, old: &str, new: &str) -> Result<()> {
    let (account, version) = (write.account().id, write.set.next_seq());
    conversation::Entity::update_many()
        .col_expr(conversation::Column::Version, Expr::value(version.0))
        .filter(conversation::Column::AccountId.eq(account))
        .filter(conversation::Column::Id.in_subquery(carriers(account, LabelTarget::Conversation, old)))
        .exec(&write.txn)
        .await?;
    contact::Entity::update_many()
        .col_expr(contact::Column::Version, Expr::value(version.0))
        .filter(contact::Column::AccountId.eq(account))
        .filter(contact::Column::Id.in_subquery(carriers(account, LabelTarget::Contact, old)))
        .exec(&write.txn)
        .await?;
    // If a contact or conversation already has a label with the new name, delete the old one, so that only one remains.
    let other = Alias::new("other");
    let mut both = Query::select();
    both.expr(Expr::val(1))
        .from_as(labeling::Entity, other.clone())
        .and_where(Expr::col((other.clone(), labeling::Column::AccountId)).eq(account.0))
        .and_where(Expr::col((other.clone(), labeling::Column::Name)).eq(new));
    for column in [labeling::Column::SubjectKind, labeling::Column::SubjectId] {
        both.and_where(Expr::col((other.clone(), column)).equals((labeling::Entity, column)));
    }
    labeling::Entity::delete_many()
        .filter(labeling::Column::AccountId.eq(account))
        .filter(labeling::Column::Name.eq(old))
        .filter(Expr::exists(both))
        .exec(&write.txn)
        .await?;
    labeling::Entity::update_many()
        .col_expr(labeling::Column::Name, Expr::value(new))
        .filter(labeling::Column::AccountId.eq(account))
        .filter(labeling::Column::Name.eq(old))
        .exec(&write.txn)
        .await?;
    Ok(())
}
