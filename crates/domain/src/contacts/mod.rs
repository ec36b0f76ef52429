//! Creates, reads, updates and deletes contacts. The module `sessions` handles their sessions.

pub mod answers;
pub(crate) mod changes;
pub(crate) mod erasure;
pub mod list;
pub mod merge;
pub mod notes;
pub(crate) mod scope;
pub mod search;
pub mod sessions;
pub mod texts;

use crate::contacts::answers::CreatedContact;
use std::sync::Arc;

use parley_eventlog::{
    erasure::erase,
    kind::EventKind,
    pending_event::{Change, PendingEvent, Subject},
};
use parley_fault::Protection;
use parley_storage::{
    entity::{contact, contact_inbox, conversation, kind::LabelTarget},
    joined::{Contact, ContactSessions},
    load,
};
use parley_types::{
    attribute_limits::check_change,
    error::{Error, FieldViolation, Result, Rule},
    id::{AccountId, ContactId, InboxId},
};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, EntityTrait, ExprTrait, IntoActiveModel, QueryFilter,
    sea_query::{Expr, Query},
};
use serde_json::{Map, Value as Json};

use crate::{
    attributes::{AttributesPatch, set_labels},
    auth::caller::{Access, Caller},
    contacts::{
        changes::changes,
        erasure::erase_copies,
        sessions::{NewSession, session, with_sessions},
        texts::ContactTexts,
    },
    context::Context,
    files::avatars,
    inboxes::delete_conversations,
    write::{
        Write,
        call::{Answer, Call},
    },
};

const IDENTIFIER: &str = "only a caller who sees every inbox of a contact may change its identifier";

/// The data for creating a contact.
#[derive(Clone, Debug)]
pub struct NewContact {
    /// The contact's name; can be empty.
    pub name: String,
    /// The optional texts, such as the e-mail address and the phone number.
    pub texts: ContactTexts,
    /// Whether the contact is blocked from the start.
    pub blocked: bool,
    /// Additional attributes, which programs set. Custom attributes, by contrast, are defined by the account.
    pub additional_attributes: Map<String, Json>,
    /// Custom attributes, which the account defines.
    pub custom_attributes: Map<String, Json>,
    /// The URL of the avatar; can be empty.
    pub avatar_url: String,
    /// A session to create together with the contact: its inbox, and its source id if the client chose one.
    pub session: Option<(InboxId, Option<String>)>,
}

/// Changes to a contact; `None` leaves a field unchanged.
#[derive(Clone, Debug, Default)]
pub struct ContactPatch {
    /// The contact's new name.
    pub name: Option<String>,
    /// Changes to the optional texts, such as the e-mail address and the phone number.
    pub texts: ContactTexts,
    /// Whether the contact is blocked.
    pub blocked: Option<bool>,
    /// The new URL of the avatar.
    pub avatar_url: Option<String>,
    /// The labels that replace all existing labels.
    pub labels: Option<Vec<String>>,
    /// Changes to the additional attributes, which programs set. Custom attributes, by contrast, are defined by the account.
    pub additional_attributes: AttributesPatch,
    /// Changes to the custom attributes, which the account defines.
    pub custom_attributes: AttributesPatch,
}

/// Checks that no other contact in the account has the same e-mail address, phone number or identifier. While this write holds the row lock
/// of the account, no other write can store one of these values. The unique indexes catch violations that this check misses.
async fn check_unique(write: &Write, access: &Access, row: &contact::Model, except: Option<ContactId>) -> Result<()> {
    use contact::Column;
    let unique = [
        (Column::Email, "email", &row.email),
        (Column::PhoneNumber, "phone_number", &row.phone_number),
        (Column::Identifier, "identifier", &row.identifier),
    ];
    let mut any = Condition::any();
    for (column, _, value) in &unique {
        any = any.add_option(value.as_ref().map(|value| column.eq(value.as_str())));
    }
    if any.is_empty() {
        return Ok(());
    }
    let taken = contact::Entity::find()
        .filter(Column::AccountId.eq(row.account_id))
        .filter(any)
        .filter(Column::Id.ne(except.unwrap_or_default()))
        .all(&write.txn)
        .await?;
    let mut existing = None;
    let mut violations = Vec::new();
    for (column, field, value) in unique {
        let has = |other: &&contact::Model| {
            let theirs = match column {
                Column::Email => &other.email,
                Column::PhoneNumber => &other.phone_number,
                _ => &other.identifier,
            };
            value.is_some() && theirs == value
        };
        if let Some(other) = taken.iter().find(has) {
            // Do not reveal the id of the other contact, because the caller might not be allowed to see that contact.
            if access.contact_inboxes().is_some() {
                violations.push(FieldViolation::new(field, Rule::Taken, "is that of another contact"));
            } else {
                existing = existing.or(Some(other.id.0));
                violations.push(FieldViolation::new(field, Rule::Taken, format!("is that of contact {}", other.id)));
            }
        }
    }
    if violations.is_empty() {
        Ok(())
    } else {
        Err(Error::Taken {
            violations,
            kind: "contact",
            existing_id: existing,
        })
    }
}

/// Marks all sessions of a contact as unverified. Returns the change to report, or `None` if no session was verified.
async fn end_proofs(write: &Write, contact: ContactId) -> Result<Option<Change>> {
    use contact_inbox::Column;
    let ended = contact_inbox::Entity::update_many()
        .col_expr(Column::HmacVerified, Expr::value(false))
        .col_expr(Column::UpdatedAt, Expr::value(write.set.at.0))
        .filter(Column::AccountId.eq(write.account().id))
        .filter(Column::ContactId.eq(contact))
        .filter(Column::HmacVerified.eq(true))
        .exec(&write.txn)
        .await?;
    let any = ended.rows_affected > 0;
    Ok(Change::new("contact_inboxes.hmac_verified", true, false).filter(|_| any))
}

/// Operations on contacts.
#[derive(Clone, Debug)]
pub struct Contacts {
    context: Arc<Context>,
}

impl Contacts {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
        }
    }

    /// Creates a contact, and a session if `new` requests one.
    ///
    /// # Errors
    /// [`Error::Taken`] with every field whose value another contact has; [`Error::NotFound`] if the inbox does not exist;
    /// [`Error::Denied`] if the caller has no access to the inbox; [`Error::Invalid`] if a service that is limited to inboxes names no
    /// inbox, because it could not see the new contact.
    pub async fn create(&self, call: Call<CreatedContact>, new: NewContact) -> Result<Answer<CreatedContact>> {
        let access = call.caller.write_access(call.account)?.clone();
        if let Some((inbox, _)) = &new.session {
            load::inbox(self.context.db.read(), call.account, *inbox).await?;
            access.inbox(*inbox)?;
        } else if access.contact_inboxes().is_some() {
            return Err(Error::invalid(
                "inbox_id",
                Rule::Required,
                "must be given: the token is limited to inboxes, and sees contacts with a session there",
            ));
        }
        let files = self.context.files.clone();
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let account = write.account().id;
                    let mut avatar_url = new.avatar_url;
                    avatars::replace(&files, write, "avatar_url", "", &mut avatar_url).await?;
                    if let Some((inbox, _)) = &new.session {
                        load::inbox(&write.txn, account, *inbox).await?;
                    }
                    let mut row = contact::Model {
                        name: new.name,
                        blocked: new.blocked,
                        additional_attributes: Json::Object(new.additional_attributes),
                        custom_attributes: Json::Object(new.custom_attributes),
                        avatar_url,
                        ..contact::Model::new(account, write.set.at, write.set.next_seq())
                    };
                    new.texts.apply(&mut row);
                    check_unique(write, &access, &row, None).await?;
                    let mut row = row.into_active_model().reset_all();
                    row.id = sea_orm::NotSet;
                    let row = row.insert(&write.txn).await?;
                    let mut made = None;
                    if let Some((inbox, source_id)) = new.session {
                        let new = NewSession {
                            contact: row.id,
                            inbox,
                            source_id,
                            ..NewSession::default()
                        };
                        made = Some(session(write, new).await?.0);
                    }
                    let contact = with_sessions(
                        &write.txn,
                        account,
                        Contact {
                            row,
                            labels: Vec::new(),
                            seen_at: None,
                        },
                    )
                    .await?;
                    let session = made.and_then(|made| contact.sessions.iter().find(|session| session.row.id == made.id).cloned());
                    write.set.emit(PendingEvent::new(
                        EventKind::ContactCreated,
                        Subject::ContactSessions(contact.clone()),
                    ));
                    Ok(CreatedContact {
                        contact: scope::shown(contact, &access),
                        session,
                    })
                })
            })
            .await
    }

    /// Returns one contact with its sessions in the caller's inboxes.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the contact does not exist or the caller cannot see it.
    pub async fn get(&self, caller: &Caller, account: AccountId, id: ContactId) -> Result<ContactSessions> {
        let access = caller.access(account)?;
        let db = self.context.db.read();
        scope::check(db, access, account, id).await?;
        let contact = load::contact(db, account, id).await?;
        let contact = with_sessions(db, account, Arc::unwrap_or_clone(contact)).await?;
        Ok(scope::shown(contact, access))
    }

    /// Changes a contact. If the identifier changes, the contact's sessions become unverified, because they proved the previous identifier.
    ///
    /// # Errors
    /// [`Error::Taken`] with every field whose value another contact has; [`Error::NotFound`] if the contact does not exist or the caller
    /// cannot see it; [`Error::Denied`] for a change of the identifier if the contact has a session in an inbox that the caller cannot see.
    pub async fn update(&self, call: Call<ContactSessions>, id: ContactId, patch: ContactPatch) -> Result<Answer<ContactSessions>> {
        let access = call.caller.write_access(call.account)?.clone();
        let files = self.context.files.clone();
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let account = write.account().id;
                    scope::check(&write.txn, &access, account, id).await?;
                    let mut contact = Arc::unwrap_or_clone(load::contact(&write.txn, account, id).await?);
                    let before = contact.clone();
                    let row = &mut contact.row;
                    row.name = patch.name.unwrap_or_else(|| row.name.clone());
                    patch.texts.apply(row);
                    row.blocked = patch.blocked.unwrap_or(row.blocked);
                    if let Some(mut avatar_url) = patch.avatar_url {
                        avatars::replace(&files, write, "contact.avatar_url", &row.avatar_url, &mut avatar_url).await?;
                        row.avatar_url = avatar_url;
                    }
                    patch.additional_attributes.apply(&mut row.additional_attributes);
                    patch.custom_attributes.apply(&mut row.custom_attributes);
                    for (field, before, after) in [
                        (
                            "contact.additional_attributes",
                            &before.row.additional_attributes,
                            &row.additional_attributes,
                        ),
                        ("contact.custom_attributes", &before.row.custom_attributes, &row.custom_attributes),
                    ] {
                        check_change(field, before, after)?;
                    }
                    contact.labels = patch.labels.unwrap_or(contact.labels);
                    let mut changes = changes(&before, &contact);
                    if before.row.identifier != contact.row.identifier {
                        // Reject callers who cannot see all of the contact's sessions: a session that proves the new identifier can access
                        // the contact's conversations in all inboxes.
                        if parley_fault::is_on(Protection::Vouching) && scope::reaches_beyond(&write.txn, &access, account, id).await? {
                            return Err(Error::Denied(IDENTIFIER));
                        }
                        changes.extend(end_proofs(write, id).await?);
                    }
                    if !changes.is_empty() {
                        check_unique(write, &access, &contact.row, Some(id)).await?;
                        contact.row.version = write.set.next_seq();
                        contact.row.updated_at = write.set.at;
                        contact.row = contact.row.into_active_model().reset_all().update(&write.txn).await?;
                    }
                    if before.labels != contact.labels {
                        set_labels(&write.txn, account, LabelTarget::Contact, id.0, &contact.labels).await?;
                    }
                    let contact = with_sessions(&write.txn, account, contact).await?;
                    if !changes.is_empty() {
                        let subject = Subject::ContactSessions(contact.clone());
                        write.set.emit(PendingEvent {
                            kind: EventKind::ContactUpdated,
                            subject,
                            changes,
                        });
                    }
                    Ok(scope::shown(contact, &access))
                })
            })
            .await
    }

    /// Deletes a contact with its sessions, conversations, messages and notes, and erases its data from the event log.
    ///
    /// # Errors
    /// [`Error::Denied`] for agents; [`Error::NotFound`] if the contact does not exist; [`Error::Precondition`] while the contact is
    /// online.
    pub async fn delete(&self, call: Call<()>, id: ContactId) -> Result<Answer<()>> {
        call.caller.administer(call.account)?;
        let files = self.context.files.clone();
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let account = write.account().id;
                    let contact = load::contact(&write.txn, account, id).await?;
                    if contact.online(write.set.at) {
                        return Err(Error::Precondition("the contact is online, please try again later"));
                    }
                    let mut conversations = Query::select();
                    conversations
                        .column(conversation::Column::Id)
                        .from(conversation::Entity)
                        .and_where(Expr::col(conversation::Column::AccountId).eq(account.0))
                        .and_where(Expr::col(conversation::Column::ContactId).eq(id.0));
                    erase_copies(&write.txn, account, id).await?;
                    delete_conversations(&write.txn, account, conversations).await?;
                    avatars::remove_replaced(&files, write, &contact.row.avatar_url).await?;
                    set_labels(&write.txn, account, LabelTarget::Contact, id.0, &[]).await?;
                    contact::Entity::delete_by_id(id).exec(&write.txn).await?;
                    erase(&write.txn, account, id, write.set.next_seq(), write.set.at).await?;
                    write
                        .set
                        .emit(PendingEvent::new(EventKind::ContactDeleted, Subject::Contact(contact)));
                    Ok(())
                })
            })
            .await
    }
}
