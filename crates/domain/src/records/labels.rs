//! The labels that an account defines. Labels of contacts and conversations are names and need no definition.

use std::sync::Arc;

use parley_eventlog::{
    kind::EventKind,
    pending_event::{Change, PendingEvent, Subject},
};
use parley_storage::entity::{contact, conversation, kind::LabelTarget, label, labeling};
use parley_types::{
    error::Result,
    id::{AccountId, LabelId},
};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, EntityTrait, ExprTrait, IntoActiveModel, ModelTrait, QueryFilter, Set,
    sea_query::{Alias, Expr, Query, SelectStatement},
};

use crate::{
    auth::caller::Caller,
    context::Context,
    page::{Page, PageRequest},
    records,
    write::{
        Write,
        call::{Answer, Call},
    },
};

/// The name of the resource in errors.
const KIND: &str = "label";

/// A label to create.
#[derive(Clone, Debug)]
pub struct NewLabel {
    /// The name, in lower case.
    pub title: String,
    pub description: Option<String>,
    /// A colour in the syntax of front ends, such as `#1f93ff`.
    pub color: String,
    /// Whether front ends show it in the sidebar.
    pub show_on_sidebar: Option<bool>,
}

/// Changes to a label; `None` leaves a value unchanged.
#[derive(Clone, Debug, Default)]
pub struct LabelPatch {
    /// The name, in lower case.
    pub title: Option<String>,
    pub description: Option<Option<String>>,
    /// A colour in the syntax of front ends, such as `#1f93ff`.
    pub color: Option<String>,
    /// Whether front ends show it in the sidebar.
    pub show_on_sidebar: Option<Option<bool>>,
}

async fn free(write: &Write, title: &str, own: Option<LabelId>) -> Result<()> {
    let same = records::of_account::<label::Entity>(write.account().id).filter(label::Column::Title.eq(title));
    records::free(&write.txn, same, own.map(i64::from), |row| row.id.0, (KIND, "label.title")).await
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

/// Renames a label on all contacts and conversations. The event of the label, which the caller emits next, covers all of them: writer
/// shards that see it evict the account's rows from their caches.
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
    // If a contact or conversation has both labels, only one remains.
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

/// Operations on labels.
#[derive(Clone, Debug)]
pub struct Labels {
    context: Arc<Context>,
}

impl Labels {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
        }
    }

    /// Creates a label.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::Denied`] unless the caller is an administrator, and [`parley_types::error::Error::Taken`] if
    /// another label has the title.
    pub async fn create(&self, call: Call<label::Model>, new: NewLabel) -> Result<Answer<label::Model>> {
        call.caller.administer(call.account)?;
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let at = write.set.at;
                    free(write, &new.title, None).await?;
                    let row = label::ActiveModel {
                        account_id: Set(write.account().id),
                        title: Set(new.title),
                        description: Set(new.description),
                        color: Set(new.color),
                        show_on_sidebar: Set(new.show_on_sidebar),
                        created_at: Set(at),
                        updated_at: Set(at),
                        ..Default::default()
                    };
                    let row = row.insert(&write.txn).await?;
                    write
                        .set
                        .emit(PendingEvent::new(EventKind::LabelCreated, Subject::Label(row.clone())));
                    Ok(row)
                })
            })
            .await
    }

    /// Returns one label. Only administrators may read single labels.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::NotFound`] if there is no such label, and [`parley_types::error::Error::Denied`] unless the
    /// caller is an administrator.
    pub async fn get(&self, caller: &Caller, account: AccountId, id: LabelId) -> Result<label::Model> {
        let access = caller.access(account)?;
        let row = records::one::<label::Entity>(self.context.db.read(), account, id.0, KIND).await?;
        access.administrator()?;
        Ok(row)
    }

    /// Checks first that a label exists and then that the caller may change it.
    ///
    /// # Errors
    /// As [`Labels::get`].
    pub async fn authorize_change(&self, caller: &Caller, account: AccountId, id: LabelId) -> Result<()> {
        caller.administer_seen(account, self.get(caller, account, id)).await
    }

    /// Returns a page of the labels of an account, by title.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::NotMember`] if the caller has no access to the account.
    pub async fn list(&self, caller: &Caller, account: AccountId, page: &PageRequest) -> Result<Page<label::Model>> {
        caller.access(account)?;
        let sort = records::by_text(Expr::col((label::Entity, label::Column::Title)));
        let key = (label::Column::Id, (|row| row.id.0) as records::IdOf<label::Entity>);
        records::rows(
            self.context.db.read(),
            records::of_account::<label::Entity>(account),
            key,
            &sort,
            page,
        )
        .await
    }

    /// Changes a label. A new title replaces the old one on contacts and conversations.
    ///
    /// # Errors
    /// As [`Labels::get`], and [`parley_types::error::Error::Taken`] if another label has the title.
    pub async fn update(&self, call: Call<label::Model>, id: LabelId, patch: LabelPatch) -> Result<Answer<label::Model>> {
        self.authorize_change(&call.caller, call.account, id).await?;
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let before = records::one::<label::Entity>(&write.txn, write.account().id, id.0, KIND).await?;
                    let mut row = before.clone();
                    row.title = patch.title.unwrap_or(row.title);
                    row.description = patch.description.unwrap_or(row.description);
                    row.color = patch.color.unwrap_or(row.color);
                    row.show_on_sidebar = patch.show_on_sidebar.unwrap_or(row.show_on_sidebar);
                    let changes: Vec<Change> = [
                        Change::new("title", before.title.clone(), row.title.clone()),
                        Change::new("description", before.description, row.description.clone()),
                        Change::new("color", before.color, row.color.clone()),
                        Change::new("show_on_sidebar", before.show_on_sidebar, row.show_on_sidebar),
                    ]
                    .into_iter()
                    .flatten()
                    .collect();
                    if changes.is_empty() {
                        return Ok(row);
                    }
                    if row.title != before.title {
                        free(write, &row.title, Some(id)).await?;
                        rename(write, &before.title, &row.title).await?;
                    }
                    row.updated_at = write.set.at;
                    let row = row.into_active_model().reset_all().update(&write.txn).await?;
                    write.set.emit(PendingEvent {
                        kind: EventKind::LabelUpdated,
                        subject: Subject::Label(row.clone()),
                        changes,
                    });
                    Ok(row)
                })
            })
            .await
    }

    /// Deletes a label. Contacts and conversations keep its name.
    ///
    /// # Errors
    /// As [`Labels::get`].
    pub async fn delete(&self, call: Call<()>, id: LabelId) -> Result<Answer<()>> {
        self.authorize_change(&call.caller, call.account, id).await?;
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let row = records::one::<label::Entity>(&write.txn, write.account().id, id.0, KIND).await?;
                    row.clone().delete(&write.txn).await?;
                    write.set.emit(PendingEvent::new(EventKind::LabelDeleted, Subject::Label(row)));
                    Ok(())
                })
            })
            .await
    }
}
