//! Records of an account: resources with one row each. All members can read them, and either members or administrators can create, change
//! and delete them.

use std::{marker::PhantomData, sync::Arc};

use parley_eventlog::{
    kind::EventKind,
    pending_event::{PendingEvent, Subject},
};
use parley_types::{
    error::{Error, FieldViolation, Result, Rule},
    id::AccountId,
};
use sea_orm::{ActiveModelTrait, ColumnTrait, Condition, EntityTrait, IdenStatic, IntoActiveModel, ModelTrait, QueryFilter, Select};

use super::patch::RecordPatch;
use crate::{
    auth::caller::Caller,
    context::Context,
    page::{Page, PageRequest, Sort},
    records,
    write::{
        Write,
        call::{Answer, Call},
        response_subject::ResponseSubject,
    },
};

/// The database row type for records of kind `R`.
pub type Row<R> = <<<R as Record>::Patch as RecordPatch>::Entity as EntityTrait>::Model;

/// Who may create, change and delete records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// Every member of the account.
    Members,
    /// Administrators of the account. Other members see lists, but not single records.
    Administrators,
}

/// A kind of record, implemented for its entity. [`Records`] provides the operations.
pub trait Record: EntityTrait<Model: ResponseSubject + Sync + IntoActiveModel<Self::ActiveModel>, ActiveModel: Send> {
    /// Optional values for the fields that callers can set.
    type Patch: RecordPatch<Entity = Self>;
    /// The criteria by which a list of records is filtered.
    type Query: Default + Send;

    /// The name of the resource, as used in errors.
    const KIND: &'static str;
    /// The column whose value must be unique in the account, or among the rows that match [`Record::same`].
    const UNIQUE: Self::Column;
    const WRITERS: Writers = Writers::Members;
    const CREATED: EventKind;
    const UPDATED: EventKind;
    const DELETED: EventKind;
    /// Creates the subject for events about the record.
    const SUBJECT: fn(Self::Model) -> Subject;

    /// Returns the condition that matches the rows whose unique value equals that of `row`.
    fn same(row: &Self::Model) -> Condition {
        Self::UNIQUE.eq(row.get(Self::UNIQUE)).into()
    }

    /// Filters and sorts the rows of a list. By default, all rows are returned in the order of their ids.
    fn list(rows: Select<Self>, _query: Self::Query) -> (Select<Self>, Sort) {
        (rows, Sort::by_id(false))
    }

    /// Validates a record before it is created.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if a value is not allowed. The default implementation allows all values.
    fn check(_new: &Self::Patch) -> Result<()> {
        Ok(())
    }

    /// Updates other rows that contain copies of a record's values, before the record itself is updated. The default implementation does
    /// nothing.
    ///
    /// # Errors
    /// Returns [`Error::Database`] if a statement fails.
    fn propagate(_write: &mut Write, _before: &Self::Model, _after: &Self::Model) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Ok(()))
    }
}

/// Operations on the records of one kind.
#[derive(Clone, Debug)]
pub struct Records<R> {
    context: Arc<Context>,
    kind: PhantomData<fn() -> R>,
}

/// Returns an error if another row has the same unique value. The caller holds the row lock of the account's counters, so no other write
/// can insert the value in the meantime.
async fn check_unique<R: Record>(write: &Write, row: &R::Model) -> Result<()> {
    let (account, own) = (write.account().id, R::Patch::id(row));
    let same = records::of_account::<R>(account).filter(R::same(row)).one(&write.txn).await?;
    match same.map(|row| R::Patch::id(&row)).filter(|other| *other != own) {
        None => Ok(()),
        Some(other) => Err(Error::Taken {
            violations: vec![FieldViolation::new(
                format!("{}.{}", R::KIND, R::UNIQUE.as_str()),
                Rule::Taken,
                "is taken already",
            )],
            kind: R::KIND,
            existing_id: Some(other),
        }),
    }
}

impl<R: Record> Records<R> {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
            kind: PhantomData,
        }
    }

    /// Checks that the caller may create records.
    ///
    /// # Errors
    /// Returns [`Error::NotMember`] or [`Error::Denied`] if the caller may not create records.
    pub fn authorize_create(&self, caller: &Caller, account: AccountId) -> Result<()> {
        match R::WRITERS {
            Writers::Members => caller.write_access(account).map(drop),
            Writers::Administrators => caller.administer(account).map(drop),
        }
    }

    /// Checks that the caller may change or delete a record. If only administrators may do so, other callers receive [`Error::NotFound`]
    /// rather than [`Error::Denied`] if the record does not exist.
    ///
    /// # Errors
    /// Returns [`Error::NotMember`] or [`Error::Denied`] if the caller may not change the record, and the errors of [`Self::get`].
    pub async fn authorize_change(&self, caller: &Caller, account: AccountId, id: i64) -> Result<()> {
        match R::WRITERS {
            Writers::Members => caller.write_access(account).map(drop),
            Writers::Administrators => caller.administer_seen(account, self.get(caller, account, id)).await,
        }
    }

    /// Creates a record. `new` must have a value for every field.
    ///
    /// # Errors
    /// Returns the errors of [`Self::authorize_create`] and [`Record::check`], and [`Error::Taken`] if another record has the unique value.
    pub async fn create(&self, call: Call<R::Model>, new: R::Patch) -> Result<Answer<R::Model>> {
        self.authorize_create(&call.caller, call.account)?;
        R::check(&new)?;
        let writer = &self.context.writer;
        writer
            .write(call, move |write| {
                Box::pin(async move {
                    let row = new.into_row(write.account().id, write.set.at)?;
                    check_unique::<R>(write, &row).await?;
                    let mut row = row.into_active_model().reset_all();
                    row.not_set(R::Patch::ID);
                    let row = row.insert(&write.txn).await?;
                    write.set.emit(PendingEvent::new(R::CREATED, R::SUBJECT(row.clone())));
                    Ok(row)
                })
            })
            .await
    }

    /// Returns one record.
    ///
    /// # Errors
    /// Returns [`Error::NotMember`] if the caller has no access to the account, [`Error::NotFound`] if there is no such record, and
    /// [`Error::Denied`] if only administrators may read it.
    pub async fn get(&self, caller: &Caller, account: AccountId, id: i64) -> Result<R::Model> {
        let access = caller.access(account)?;
        let row = records::one::<R>(self.context.db.read(), account, id, R::KIND).await?;
        if R::WRITERS == Writers::Administrators {
            access.administrator()?;
        }
        Ok(row)
    }

    /// Returns a page of the records of an account.
    ///
    /// # Errors
    /// Returns [`Error::NotMember`] if the caller has no access to the account.
    pub async fn list(&self, caller: &Caller, account: AccountId, query: R::Query, page: &PageRequest) -> Result<Page<R::Model>> {
        caller.access(account)?;
        let (rows, sort) = R::list(records::of_account::<R>(account), query);
        records::rows(self.context.db.read(), rows, (R::Patch::ID, R::Patch::id), &sort, page).await
    }

    /// Changes a record. If the patch changes no value, nothing is stored and no event is added.
    ///
    /// # Errors
    /// Returns the errors of [`Self::authorize_change`], [`Error::NotFound`] if there is no such record, and [`Error::Taken`] if another
    /// record has the new unique value.
    pub async fn update(&self, call: Call<R::Model>, id: i64, patch: R::Patch) -> Result<Answer<R::Model>> {
        self.authorize_change(&call.caller, call.account, id).await?;
        let writer = &self.context.writer;
        writer
            .write(call, move |write| {
                Box::pin(async move {
                    let before = records::one::<R>(&write.txn, write.account().id, id, R::KIND).await?;
                    let mut row = before.clone();
                    patch.apply(&mut row);
                    let changes = R::Patch::changes(&before, &row);
                    if changes.is_empty() {
                        return Ok(row);
                    }
                    if changes.iter().any(|change| change.field == R::UNIQUE.as_str()) {
                        check_unique::<R>(write, &row).await?;
                    }
                    R::propagate(write, &before, &row).await?;
                    R::Patch::set_updated_at(&mut row, write.set.at);
                    let row = row.into_active_model().reset_all().update(&write.txn).await?;
                    write.set.emit(PendingEvent {
                        kind: R::UPDATED,
                        subject: R::SUBJECT(row.clone()),
                        changes,
                    });
                    Ok(row)
                })
            })
            .await
    }

    /// Deletes a record.
    ///
    /// # Errors
    /// Returns the errors of [`Self::authorize_change`], and [`Error::NotFound`] if there is no such record.
    pub async fn delete(&self, call: Call<()>, id: i64) -> Result<Answer<()>> {
        self.authorize_change(&call.caller, call.account, id).await?;
        let writer = &self.context.writer;
        writer
            .write(call, move |write| {
                Box::pin(async move {
                    let row = records::one::<R>(&write.txn, write.account().id, id, R::KIND).await?;
                    row.clone().delete(&write.txn).await?;
                    write.set.emit(PendingEvent::new(R::DELETED, R::SUBJECT(row)));
                    Ok(())
                })
            })
            .await
    }
}
