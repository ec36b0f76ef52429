//! The sessions of contacts in inboxes: finding or making them, and listing them.

use std::{collections::HashMap, sync::Arc};

use sea_orm::{ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, Set};
use serde_json::Value as Json;
use uuid::Uuid;

use crate::{
    chat::{
        Chat,
        call::{Answer, Call},
        caller::Caller,
        page::{self, Page, PageRequest, Sort},
        writer::Write,
    },
    db::{
        entity::{contact_inbox, inbox},
        joined::{Contact, ContactSessions, Inbox, Session},
        load,
    },
    error::{Error, Result, Rule, Violation},
    events::{
        draft::{Change, Draft, Subject},
        kind::EventKind,
    },
    id::{AccountId, ContactId, InboxId, secret},
};

/// Finds or makes a session; whether it was made.
pub(super) async fn session(
    write: &Write,
    contact: ContactId,
    inbox: InboxId,
    source_id: Option<String>,
    hmac_verified: bool,
) -> Result<(contact_inbox::Model, bool)> {
    let account = write.account().id;
    if let Some(source_id) = &source_id {
        let existing = contact_inbox::Entity::find()
            .filter(contact_inbox::Column::AccountId.eq(account))
            .filter(contact_inbox::Column::InboxId.eq(inbox))
            .filter(contact_inbox::Column::SourceId.eq(source_id.as_str()))
            .one(&write.txn)
            .await?;
        match existing {
            Some(row) if row.contact_id == contact => return Ok((row, false)),
            Some(row) => {
                let violations = vec![Violation::new(
                    "source_id",
                    Rule::Taken,
                    "is the session of another contact in this inbox",
                )];
                return Err(Error::Taken {
                    violations,
                    kind: "contact_inbox",
                    existing_id: Some(row.id.0),
                });
            }
            None => {}
        }
    }
    let row = contact_inbox::ActiveModel {
        account_id: Set(account),
        contact_id: Set(contact),
        inbox_id: Set(inbox),
        source_id: Set(source_id.unwrap_or_else(|| Uuid::new_v4().to_string())),
        hmac_verified: Set(hmac_verified),
        pubsub_token: Set(secret()),
        created_at: Set(write.ledger.at),
        updated_at: Set(write.ledger.at),
        ..Default::default()
    };
    Ok((row.insert(&write.txn).await?, true))
}

/// A contact with its sessions.
pub(super) async fn with_sessions(db: &impl ConnectionTrait, account: AccountId, contact: Contact) -> Result<ContactSessions> {
    let id = contact.row.id;
    load::with_sessions(db, account, vec![contact])
        .await?
        .pop()
        .ok_or_else(|| Error::not_found("contact", id))
}

/// Notes that a contact has another session: its version moves, so that whoever keeps a copy learns of it.
pub(super) async fn session_added(write: &mut Write, id: ContactId, source_id: &str) -> Result<()> {
    let account = write.account().id;
    let mut contact = Arc::unwrap_or_clone(load::contact(&write.txn, account, id).await?);
    contact.row.version = write.ledger.next_seq();
    contact.row.updated_at = write.ledger.at;
    contact.row = contact.row.into_active_model().reset_all().update(&write.txn).await?;
    let contact = with_sessions(&write.txn, account, contact).await?;
    let changes = Change::new("contact_inboxes", Json::Null, source_id).into_iter().collect();
    write.ledger.emit(Draft {
        kind: EventKind::ContactUpdated,
        subject: Subject::ContactSessions(contact),
        changes,
    });
    Ok(())
}

impl Chat {
    /// Finds or makes a session of a contact in an inbox.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Denied`] without access to the inbox; [`Error::Taken`] for another contact's session.
    pub async fn create_session(
        &self,
        call: Call<Session>,
        contact: ContactId,
        inbox: InboxId,
        source_id: Option<String>,
        hmac_verified: bool,
    ) -> Result<Answer<Session>> {
        let access = call.caller.write_access(call.account)?;
        load::contact(self.db.read(), call.account, contact).await?;
        load::inbox(self.db.read(), call.account, inbox).await?;
        access.inbox(inbox)?;
        self.writer
            .write(call, move |write| {
                Box::pin(async move {
                    let account = write.account().id;
                    load::contact(&write.txn, account, contact).await?;
                    let inbox = load::inbox(&write.txn, account, inbox).await?;
                    let (row, made) = session(write, contact, inbox.row.id, source_id, hmac_verified).await?;
                    if made {
                        session_added(write, contact, &row.source_id).await?;
                    }
                    Ok(Session { row, inbox })
                })
            })
            .await
    }

    /// The contact of a session, with its sessions.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn contact_by_session(
        &self,
        caller: &Caller,
        account: AccountId,
        inbox: InboxId,
        source_id: &str,
    ) -> Result<ContactSessions> {
        caller.access(account)?;
        let db = self.db.read();
        let session = contact_inbox::Entity::find()
            .filter(contact_inbox::Column::AccountId.eq(account))
            .filter(contact_inbox::Column::InboxId.eq(inbox))
            .filter(contact_inbox::Column::SourceId.eq(source_id))
            .one(db)
            .await?
            .ok_or_else(|| Error::not_found("contact_inbox", source_id))?;
        let contact = load::contact(db, account, session.contact_id).await?;
        with_sessions(db, account, Arc::unwrap_or_clone(contact)).await
    }

    /// The caller's inboxes through which a contact can be reached, each with the name of its newest session there, or else one that a
    /// session could get. Every inbox has an API channel, and those reach anybody.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn contactable_inboxes(
        &self,
        caller: &Caller,
        account: AccountId,
        contact: ContactId,
        page: &PageRequest,
    ) -> Result<Page<(Arc<Inbox>, String)>> {
        let access = caller.access(account)?;
        let db = self.db.read();
        load::contact(db, account, contact).await?;
        let mut query = inbox::Entity::find().filter(inbox::Column::AccountId.eq(account));
        if let Some(only) = &access.inboxes {
            query = query.filter(inbox::Column::Id.is_in(only.iter().map(|id| id.0)));
        }
        let ids = page::ids(db, query, inbox::Column::Id, &Sort::by_id(false), page).await?;
        let mut inboxes = load::inboxes(db, account, ids.items.iter().copied().map(InboxId)).await?;
        let sessions = contact_inbox::Entity::find()
            .filter(contact_inbox::Column::AccountId.eq(account))
            .filter(contact_inbox::Column::ContactId.eq(contact))
            .filter(contact_inbox::Column::InboxId.is_in(ids.items.iter().copied()))
            .order_by_asc(contact_inbox::Column::Id)
            .all(db)
            .await?;
        // The newest of an inbox comes last and stays.
        let mut named: HashMap<InboxId, String> = sessions.into_iter().map(|row| (row.inbox_id, row.source_id)).collect();
        let items = ids.items.iter().filter_map(|id| {
            let inbox = inboxes.remove(&InboxId(*id))?;
            let source_id = named.remove(&inbox.row.id).unwrap_or_else(|| Uuid::new_v4().to_string());
            Some((inbox, source_id))
        });
        Ok(Page {
            items: items.collect(),
            next: ids.next,
        })
    }

    /// The sessions of a contact, oldest first.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn sessions(&self, caller: &Caller, account: AccountId, contact: ContactId, page: &PageRequest) -> Result<Page<Session>> {
        caller.access(account)?;
        let db = self.db.read();
        load::contact(db, account, contact).await?;
        let query = contact_inbox::Entity::find()
            .filter(contact_inbox::Column::AccountId.eq(account))
            .filter(contact_inbox::Column::ContactId.eq(contact));
        let ids = page::ids(db, query, contact_inbox::Column::Id, &Sort::by_id(false), page).await?;
        let rows = contact_inbox::Entity::find()
            .filter(contact_inbox::Column::Id.is_in(ids.items.iter().copied()))
            .order_by_asc(contact_inbox::Column::Id)
            .all(db)
            .await?;
        Ok(Page {
            items: load::with_inboxes(db, account, rows).await?,
            next: ids.next,
        })
    }
}
