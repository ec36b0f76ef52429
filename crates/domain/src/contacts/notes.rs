//! Notes that members write about contacts.

use std::sync::Arc;

use parley_eventlog::{
    kind::EventKind,
    pending_event::{Change, PendingEvent, Subject},
};
use parley_storage::{
    entity::{
        contact,
        contact_note::{self, Column, Entity, Model},
    },
    joined::Note,
    load,
};
use parley_types::{
    error::{Error, Result},
    id::{AccountId, ContactId, NoteId},
};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, ModelTrait, QueryFilter, Set, sea_query::Expr,
};

use crate::{
    auth::caller::{Access, Caller},
    contacts::scope,
    context::Context,
    page::{Page, PageRequest, Sort},
    records,
    write::call::{Answer, Call},
};

/// Returns the note with this id. A note about a contact other than the given one is reported as not found.
async fn of_contact(db: &impl ConnectionTrait, access: &Access, account: AccountId, contact: ContactId, id: NoteId) -> Result<Model> {
    scope::check(db, access, account, contact).await?;
    let row = records::one::<Entity>(db, account, id.0, "note").await?;
    if row.contact_id == contact {
        Ok(row)
    } else {
        Err(Error::not_found("note", id))
    }
}

async fn check_contact(db: &impl ConnectionTrait, access: &Access, account: AccountId, id: ContactId) -> Result<()> {
    scope::check(db, access, account, id).await?;
    records::one::<contact::Entity>(db, account, id.0, "contact").await.map(drop)
}

/// Loads the authors of notes.
async fn signed(db: &impl ConnectionTrait, account: AccountId, rows: Vec<Model>) -> Result<Vec<Note>> {
    let agents = load::agents(db, account, rows.iter().filter_map(|row| row.user_id)).await?;
    let sign = |row: Model| Note {
        author: row.user_id.and_then(|user| agents.get(&user)).map(Arc::clone),
        row,
    };
    Ok(rows.into_iter().map(sign).collect())
}

async fn sign(db: &impl ConnectionTrait, row: Model) -> Result<Note> {
    let mut notes = signed(db, row.account_id, vec![row]).await?;
    notes.pop().ok_or_else(|| Error::Internal("a note was lost".to_owned()))
}

/// Moves the notes about one contact to another.
///
/// # Errors
/// [`Error::Database`] or [`Error::Unavailable`] if the update fails.
pub(crate) async fn hand_over(db: &impl ConnectionTrait, account: AccountId, from: ContactId, to: ContactId) -> Result<()> {
    Entity::update_many()
        .col_expr(Column::ContactId, Expr::value(to.0))
        .filter(Column::AccountId.eq(account))
        .filter(Column::ContactId.eq(from))
        .exec(db)
        .await?;
    Ok(())
}

/// Operations on notes about contacts.
#[derive(Clone, Debug)]
pub struct ContactNotes {
    context: Arc<Context>,
}

impl ContactNotes {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
        }
    }

    /// Adds a note to a contact.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the contact does not exist or the caller cannot see it.
    pub async fn create(&self, call: Call<Note>, contact: ContactId, content: String) -> Result<Answer<Note>> {
        let access = call.caller.write_access(call.account)?.clone();
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let (account, at) = (write.account().id, write.set.at);
                    check_contact(&write.txn, &access, account, contact).await?;
                    let row = contact_note::ActiveModel {
                        account_id: Set(account),
                        contact_id: Set(contact),
                        user_id: Set(write.caller.user_id()),
                        content: Set(content),
                        created_at: Set(at),
                        updated_at: Set(at),
                        ..Default::default()
                    };
                    let row = row.insert(&write.txn).await?;
                    let note = sign(&write.txn, row).await?;
                    write
                        .set
                        .emit(PendingEvent::new(EventKind::ContactNoteCreated, Subject::Note(note.clone())));
                    Ok(note)
                })
            })
            .await
    }

    /// Returns one note about a contact, with its author.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the note does not exist, or if it is about another contact.
    pub async fn get(&self, caller: &Caller, account: AccountId, contact: ContactId, id: NoteId) -> Result<Note> {
        let access = caller.access(account)?;
        let row = of_contact(self.context.db.read(), access, account, contact, id).await?;
        sign(self.context.db.read(), row).await
    }

    /// Returns a page of the notes about a contact, newest first.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the contact does not exist or the caller cannot see it.
    pub async fn list(&self, caller: &Caller, account: AccountId, contact: ContactId, page: &PageRequest) -> Result<Page<Note>> {
        let access = caller.access(account)?;
        let db = self.context.db.read();
        check_contact(db, access, account, contact).await?;
        let query = records::of_account::<Entity>(account).filter(Column::ContactId.eq(contact));
        let key = (Column::Id, (|row| row.id.0) as records::IdOf<Entity>);
        let found = records::rows(db, query, key, &Sort::by_id(true), page).await?;
        let notes = signed(db, account, found.items).await?;
        Ok(Page {
            items: notes,
            keys: found.keys,
            next: found.next,
        })
    }

    /// Changes a note. If the caller is a user, that user becomes the author.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the note does not exist, or if it is about another contact.
    pub async fn update(&self, call: Call<Note>, contact: ContactId, id: NoteId, content: Option<String>) -> Result<Answer<Note>> {
        let access = call.caller.write_access(call.account)?.clone();
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let before = of_contact(&write.txn, &access, write.account().id, contact, id).await?;
                    let mut row = before.clone();
                    row.content = content.unwrap_or(row.content);
                    row.user_id = write.caller.user_id().or(row.user_id);
                    let changes: Vec<Change> = [
                        Change::new("content", before.content, row.content.clone()),
                        Change::new("author_id", before.user_id.map(i64::from), row.user_id.map(i64::from)),
                    ]
                    .into_iter()
                    .flatten()
                    .collect();
                    if changes.is_empty() {
                        return sign(&write.txn, row).await;
                    }
                    row.updated_at = write.set.at;
                    let row = row.into_active_model().reset_all().update(&write.txn).await?;
                    let note = sign(&write.txn, row).await?;
                    write.set.emit(PendingEvent {
                        kind: EventKind::ContactNoteUpdated,
                        subject: Subject::Note(note.clone()),
                        changes,
                    });
                    Ok(note)
                })
            })
            .await
    }

    /// Deletes a note.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the note does not exist, or if it is about another contact.
    pub async fn delete(&self, call: Call<()>, contact: ContactId, id: NoteId) -> Result<Answer<()>> {
        let access = call.caller.write_access(call.account)?.clone();
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let row = of_contact(&write.txn, &access, write.account().id, contact, id).await?;
                    let note = sign(&write.txn, row.clone()).await?;
                    row.delete(&write.txn).await?;
                    write
                        .set
                        .emit(PendingEvent::new(EventKind::ContactNoteDeleted, Subject::Note(note)));
                    Ok(())
                })
            })
            .await
    }
}
