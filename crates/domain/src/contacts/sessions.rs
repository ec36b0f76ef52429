//! Finds, creates and lists the sessions of contacts in inboxes.

use std::{collections::HashMap, sync::Arc};

use parley_eventlog::{
    kind::EventKind,
    pending_event::{Change, PendingEvent, Subject},
};
use parley_storage::{
    entity::{contact_inbox, inbox},
    joined::{Contact, ContactSessions, Inbox, Session},
    load,
    submitted::Submitted,
};
use parley_types::{
    error::{Error, FieldViolation, Result, Rule},
    id::{AccountId, ContactId, ConversationId, InboxId, secret},
};
use sea_orm::{ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, Set};
use serde_json::Value as Json;
use uuid::Uuid;

use crate::{
    auth::caller::Caller,
    contacts::scope,
    context::Context,
    page::{self, Page, PageRequest, Sort},
    write::{
        Write,
        call::{Answer, Call},
    },
};

/// A contact session to find or create.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewSession {
    /// The contact that the session belongs to.
    pub contact: ContactId,
    /// The inbox that the session is in.
    pub inbox: InboxId,
    /// The session's source id; if `None`, a random one is generated.
    pub source_id: Option<String>,
    /// Whether to mark the session as verified.
    pub hmac_verified: bool,
    /// The data that the visitor submitted; `None` if a member or a service creates the session.
    pub submitted: Option<Submitted>,
    /// Another contact that might represent the same person as the session's contact.
    pub possible_duplicate: Option<ContactId>,
}

/// Finds or creates a session. Returns the session and whether it was created.
pub(crate) async fn session(write: &Write, new: NewSession) -> Result<(contact_inbox::Model, bool)> {
    let account = write.account().id;
    if let Some(source_id) = &new.source_id {
        let existing = contact_inbox::Entity::find()
            .filter(contact_inbox::Column::AccountId.eq(account))
            .filter(contact_inbox::Column::InboxId.eq(new.inbox))
            .filter(contact_inbox::Column::SourceId.eq(source_id.as_str()))
            .one(&write.txn)
            .await?;
        match existing {
            Some(row) if row.contact_id == new.contact => return Ok((row, false)),
            Some(row) => {
                let violations = vec![FieldViolation::new(
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
        contact_id: Set(new.contact),
        inbox_id: Set(new.inbox),
        source_id: Set(new.source_id.unwrap_or_else(|| Uuid::new_v4().to_string())),
        hmac_verified: Set(new.hmac_verified),
        submitted: Set(new.submitted),
        possible_duplicate_id: Set(new.possible_duplicate),
        pubsub_token: Set(secret()),
        created_at: Set(write.set.at),
        updated_at: Set(write.set.at),
        ..Default::default()
    };
    Ok((row.insert(&write.txn).await?, true))
}

/// Loads the sessions of a contact.
pub(crate) async fn with_sessions(db: &impl ConnectionTrait, account: AccountId, contact: Contact) -> Result<ContactSessions> {
    let id = contact.row.id;
    load::with_sessions(db, account, vec![contact])
        .await?
        .pop()
        .ok_or_else(|| Error::not_found("contact", id))
}

/// Records that a contact has a new session: changes the contact's version and adds an event, so that clients update their copies of the
/// contact.
pub(crate) async fn session_added(write: &mut Write, session: &contact_inbox::Model) -> Result<()> {
    let id = session.contact_id;
    let account = write.account().id;
    let mut contact = Arc::unwrap_or_clone(load::contact(&write.txn, account, id).await?);
    contact.row.version = write.set.next_seq();
    contact.row.updated_at = write.set.at;
    contact.row = contact.row.into_active_model().reset_all().update(&write.txn).await?;
    let contact = with_sessions(&write.txn, account, contact).await?;
    let added = Change::new("contact_inboxes", Json::Null, session.source_id.as_str());
    let duplicate = possible_duplicate(None, session.possible_duplicate_id);
    let changes = added.into_iter().chain(duplicate).collect();
    write.set.emit(PendingEvent {
        kind: EventKind::ContactUpdated,
        subject: Subject::ContactSessions(contact),
        changes,
    });
    Ok(())
}

/// Returns the change that reports that another contact, which has the same e-mail address, phone number or identifier, is a possible
/// duplicate.
pub(crate) fn possible_duplicate(before: Option<ContactId>, after: Option<ContactId>) -> Option<Change> {
    let id = |contact: Option<ContactId>| contact.map_or(Json::Null, |contact| contact.0.into());
    Change::new("contact_inboxes.possible_duplicate_contact_id", id(before), id(after))
}

/// Operations on the sessions of contacts in inboxes.
#[derive(Clone, Debug)]
pub struct Sessions {
    context: Arc<Context>,
}

impl Sessions {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
        }
    }

    /// Finds or creates a session of a contact in an inbox.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the contact or the inbox does not exist, or if the caller cannot see the contact; [`Error::Denied`] if the
    /// caller has no access to the inbox, or if `hmac_verified` is set and the caller must not mark sessions as verified; [`Error::Taken`]
    /// if the session belongs to another contact.
    pub async fn create(
        &self,
        call: Call<Session>,
        contact: ContactId,
        inbox: InboxId,
        source_id: Option<String>,
        hmac_verified: bool,
    ) -> Result<Answer<Session>> {
        let access = call.caller.write_access(call.account)?.clone();
        scope::check(self.context.db.read(), &access, call.account, contact).await?;
        load::contact(self.context.db.read(), call.account, contact).await?;
        load::inbox(self.context.db.read(), call.account, inbox).await?;
        access.inbox(inbox)?;
        if hmac_verified {
            call.caller.vouch(call.account)?;
        }
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let account = write.account().id;
                    scope::check(&write.txn, &access, account, contact).await?;
                    load::contact(&write.txn, account, contact).await?;
                    let inbox = load::inbox(&write.txn, account, inbox).await?;
                    let new = NewSession {
                        contact,
                        inbox: inbox.row.id,
                        source_id,
                        hmac_verified,
                        ..NewSession::default()
                    };
                    let (row, made) = session(write, new).await?;
                    if made {
                        session_added(write, &row).await?;
                    }
                    Ok(Session { row, inbox })
                })
            })
            .await
    }

    /// Returns the contact that a session belongs to, with all sessions of the contact that the caller can see.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the session does not exist or is in an inbox that the caller cannot see.
    pub async fn contact_of(&self, caller: &Caller, account: AccountId, inbox: InboxId, source_id: &str) -> Result<ContactSessions> {
        let access = caller.access(account)?;
        let db = self.context.db.read();
        let session = contact_inbox::Entity::find()
            .filter(contact_inbox::Column::AccountId.eq(account))
            .filter(contact_inbox::Column::InboxId.eq(inbox))
            .filter(contact_inbox::Column::SourceId.eq(source_id))
            .one(db)
            .await?
            .filter(|session| scope::session_inboxes(access).is_none_or(|inboxes| inboxes.contains(&session.inbox_id)))
            .ok_or_else(|| Error::not_found("contact_inbox", source_id))?;
        scope::check(db, access, account, session.contact_id).await?;
        let contact = load::contact(db, account, session.contact_id).await?;
        let contact = with_sessions(db, account, Arc::unwrap_or_clone(contact)).await?;
        Ok(scope::shown(contact, access))
    }

    /// Returns a page of the caller's inboxes through which a contact can be reached, each with the source id of the contact's newest
    /// session there, or a generated source id for a new session. Every inbox has an API channel, so every one of the caller's inboxes
    /// qualifies.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the contact does not exist or the caller cannot see it.
    pub async fn contactable_inboxes(
        &self,
        caller: &Caller,
        account: AccountId,
        contact: ContactId,
        page: &PageRequest,
    ) -> Result<Page<(Arc<Inbox>, String)>> {
        let access = caller.access(account)?;
        let db = self.context.db.read();
        scope::check(db, access, account, contact).await?;
        load::contact(db, account, contact).await?;
        let mut query = inbox::Entity::find().filter(inbox::Column::AccountId.eq(account));
        if let Some(only) = &access.inboxes {
            query = query.filter(inbox::Column::Id.is_in(only.iter().map(|id| id.0)));
        }
        let ids = page::ids(db, query, inbox::Column::Id, &Sort::by_id(false), page).await?;
        let ids = page::fitting(db, inbox::Entity::find(), inbox::Column::Id, None, ids).await?;
        let mut inboxes = load::inboxes(db, account, ids.items.iter().copied().map(InboxId)).await?;
        let sessions = contact_inbox::Entity::find()
            .filter(contact_inbox::Column::AccountId.eq(account))
            .filter(contact_inbox::Column::ContactId.eq(contact))
            .filter(contact_inbox::Column::InboxId.is_in(ids.items.iter().copied()))
            .order_by_asc(contact_inbox::Column::Id)
            .all(db)
            .await?;
        // Sessions are in ascending order, so the newest session in each inbox overwrites the older ones.
        let mut named: HashMap<InboxId, String> = sessions.into_iter().map(|row| (row.inbox_id, row.source_id)).collect();
        let found = ids.items.iter().filter_map(|id| inboxes.remove(&InboxId(*id))).collect();
        let found = ids.with(found, |inbox: &Arc<Inbox>| inbox.row.id.0);
        Ok(found.map(|inbox| {
            let source_id = named.remove(&inbox.row.id).unwrap_or_else(|| Uuid::new_v4().to_string());
            (inbox, source_id)
        }))
    }

    /// Returns a page of the sessions of a contact in the caller's inboxes, oldest first.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the contact does not exist or the caller cannot see it.
    pub async fn list(&self, caller: &Caller, account: AccountId, contact: ContactId, page: &PageRequest) -> Result<Page<Session>> {
        let access = caller.access(account)?;
        let db = self.context.db.read();
        scope::check(db, access, account, contact).await?;
        load::contact(db, account, contact).await?;
        let mut query = contact_inbox::Entity::find()
            .filter(contact_inbox::Column::AccountId.eq(account))
            .filter(contact_inbox::Column::ContactId.eq(contact));
        if let Some(only) = scope::session_inboxes(access) {
            query = query.filter(contact_inbox::Column::InboxId.is_in(only.iter().map(|id| id.0)));
        }
        let ids = page::ids(db, query, contact_inbox::Column::Id, &Sort::by_id(false), page).await?;
        let rows = contact_inbox::Entity::find()
            .filter(contact_inbox::Column::Id.is_in(ids.items.iter().copied()))
            .all(db)
            .await?;
        let sessions = load::with_inboxes(db, account, rows).await?;
        Ok(ids.with(sessions, |session: &Session| session.row.id.0))
    }

    /// Returns the sessions of those conversations whose contact the caller cannot see, keyed by conversation. For these conversations, the
    /// caller receives the data that the session submitted instead of the contact's data.
    ///
    /// # Errors
    /// [`Error::NotMember`] if the caller has no access to the account; [`Error::Database`] if the query fails.
    pub async fn unopened(
        &self,
        caller: &Caller,
        account: AccountId,
        conversations: impl Iterator<Item = ConversationId>,
    ) -> Result<HashMap<ConversationId, contact_inbox::Model>> {
        match caller.access(account)?.contact_inboxes() {
            None => Ok(HashMap::new()),
            // Box the query's future, so that it does not enlarge the futures of calls that do not need the query.
            Some(inboxes) => Box::pin(load::unopened_sessions(self.context.db.read(), account, inboxes, conversations)).await,
        }
    }
}
