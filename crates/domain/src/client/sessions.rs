//! Contact sessions as visitors create, read and update them.

use std::sync::Arc;

use parley_eventlog::{
    kind::EventKind,
    pending_event::{Change, PendingEvent, Subject},
};
use parley_fault::Protection;
use parley_storage::{
    entity::{contact, contact_inbox},
    joined::{Client, Contact},
    load,
    submitted::{Relation, Submitted},
};
use parley_types::{
    attribute_limits::check_change,
    error::{Error, Result},
    id::ContactId,
};
use sea_orm::{ActiveModelTrait, IntoActiveModel, Set, Unchanged};
use serde_json::Value as Json;

pub use super::fields::ClientFields;
use super::{
    ContactSession, PublicInbox, Signature,
    identity::{self, ResolvedContact},
    names, read, session as find_session,
};
use crate::{
    contacts::{
        changes::changes,
        sessions::{NewSession, possible_duplicate, session, session_added, with_sessions},
    },
    context::Context,
    write::{
        Write,
        call::{Answer, Call},
    },
};

/// The operations that visitors can perform on their contact sessions.
#[derive(Clone, Debug)]
pub struct VisitorSessions {
    context: Arc<Context>,
}

impl VisitorSessions {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
        }
    }

    /// Finds or creates a session. Creates its contact as well unless an existing contact matches. An existing session is returned
    /// unchanged. If another contact already has the identifier, address or phone number of the new contact, the new contact is created
    /// without that value.
    ///
    /// # Errors
    /// Returns [`Error::Unsigned`] if the signature is wrong, or missing where the inbox requires one, and [`Error::NotFound`] if the inbox
    /// no longer exists.
    pub async fn create(
        &self,
        call: Call<Client>,
        public_inbox: PublicInbox,
        source_id: Option<String>,
        signature: Signature,
        new: ClientFields,
    ) -> Result<Answer<Client>> {
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let inbox = public_inbox.inbox;
                    let account = write.account().id;
                    // The inbox could have been deleted since it was looked up.
                    load::inbox(&write.txn, account, inbox.row.id).await?;
                    let known = match &source_id {
                        Some(source_id) => find_session(&write.txn, &inbox, source_id).await?,
                        None => None,
                    };
                    if let Some(row) = known {
                        let contact = load::contact(&write.txn, account, row.contact_id).await?;
                        signature.check(&inbox.channel, Some(&contact.row))?;
                        return Ok(Client { inbox, row, contact });
                    }
                    let proved = signature.check(&inbox.channel, None)?;
                    let identifier = Some(signature.identifier).filter(|identifier| !identifier.trim().is_empty());
                    let found = identity::find(write, &inbox.channel, identifier.as_deref(), proved, &new).await?;
                    let mut submitted = Submitted {
                        relation: if found.contact.is_some() {
                            Relation::Matched
                        } else {
                            Relation::Created
                        },
                        // Generate a name even if a contact was found: a missing name would reveal that the contact exists.
                        name: Some(names::made_up()),
                        ..Submitted::default()
                    };
                    identity::submit(&mut submitted, identifier.as_deref(), &new);
                    let contact = match found.contact {
                        Some(id) => id,
                        None => insert(write, &submitted, found.taken).await?,
                    };
                    let made = found.contact.is_none();
                    let new = NewSession {
                        contact,
                        inbox: inbox.row.id,
                        source_id,
                        hmac_verified: false,
                        submitted: Some(submitted),
                        possible_duplicate: found.possible_duplicate,
                    };
                    let row = session(write, new).await?.0;
                    if made {
                        let contact = load::contact(&write.txn, account, contact).await?;
                        let contact = with_sessions(&write.txn, account, Arc::unwrap_or_clone(contact)).await?;
                        write.set.emit(PendingEvent {
                            kind: EventKind::ContactCreated,
                            subject: Subject::ContactSessions(contact),
                            changes: possible_duplicate(None, found.possible_duplicate).into_iter().collect(),
                        });
                    } else {
                        session_added(write, &row).await?;
                    }
                    let contact = load::contact(&write.txn, account, contact).await?;
                    Ok(Client { inbox, row, contact })
                })
            })
            .await
    }

    /// Reads the current state of a session, bypassing the cache. A valid signature marks the session as verified.
    ///
    /// # Errors
    /// Returns [`Error::Unsigned`] if the signature is wrong, or missing where the inbox requires one, and [`Error::NotFound`] if the
    /// session no longer exists.
    pub async fn get(&self, visitor: &ContactSession, signature: &Signature, traceparent: String) -> Result<Client> {
        let known = &visitor.client;
        let now = read(self.context.db.read(), &known.inbox.channel.identifier, &known.row.source_id).await?;
        let proved = signature.check(&now.inbox.channel, Some(&now.contact.row))?;
        if !proved || now.row.hmac_verified {
            return Ok(now);
        }
        let call = Call {
            caller: Arc::clone(&visitor.caller),
            account: visitor.account(),
            key: None,
            traceparent,
        };
        let fields = ClientFields::default();
        match self.update(call, visitor, signature.clone(), fields).await? {
            Answer::Fresh(client, _) => Ok(client),
            Answer::Replayed(_) => Err(Error::Internal("a call without an idempotency key was replayed".to_owned())),
        }
    }

    /// Changes those fields of a session's contact that the session is allowed to change. `identity::resolve_conflicts` resolves conflicts with
    /// another contact that has the same address or phone number.
    ///
    /// # Errors
    /// Returns [`Error::Unsigned`] if the signature is wrong, or missing where the inbox requires one, and [`Error::NotFound`] if the
    /// session no longer exists.
    pub async fn update(
        &self,
        call: Call<Client>,
        visitor: &ContactSession,
        signature: Signature,
        fields: ClientFields,
    ) -> Result<Answer<Client>> {
        let (inbox, source_id) = (Arc::clone(&visitor.client.inbox), visitor.client.row.source_id.clone());
        let files = self.context.files.clone();
        let answer = self
            .context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let account = write.account().id;
                    let row = find_session(&write.txn, &inbox, &source_id).await?;
                    let row = row.ok_or_else(|| Error::not_found("contact_inbox", &source_id))?;
                    let contact = load::contact(&write.txn, account, row.contact_id).await?;
                    let proved = signature.check(&inbox.channel, Some(&contact.row))?;
                    let identifier = Some(signature.identifier).filter(|identifier| !identifier.trim().is_empty());
                    let mut submitted = row.submitted.clone().unwrap_or_default();
                    identity::submit(&mut submitted, identifier.as_deref(), &fields);
                    let verified = proved || row.hmac_verified;
                    let resolved =
                        identity::resolve_conflicts(&files, write, &inbox.channel, (&row, &contact.row), verified, fields).await?;
                    let id = resolved.contact;
                    change(write, &row, proved, submitted, resolved).await?;
                    let row = find_session(&write.txn, &inbox, &source_id).await?;
                    Ok(Client {
                        inbox,
                        row: row.ok_or_else(|| Error::not_found("contact_inbox", &source_id))?,
                        contact: load::contact(&write.txn, account, id).await?,
                    })
                })
            })
            .await;
        self.context.tokens.forget_session(visitor).await;
        answer
    }
}

/// Creates the contact of a new session. `taken` states which of the identifier, the e-mail address and the phone number belong to another
/// contact and are left out.
async fn insert(write: &Write, submitted: &Submitted, taken: [bool; 3]) -> Result<ContactId> {
    let free = |value: &Option<String>, taken: bool| value.clone().filter(|_| !taken);
    let row = contact::Model {
        name: submitted.name.clone().unwrap_or_default(),
        identifier: free(&submitted.identifier, taken[0]),
        email: free(&submitted.email, taken[1]),
        phone_number: free(&submitted.phone_number, taken[2]),
        custom_attributes: Json::Object(submitted.custom_attributes.clone()),
        avatar_url: submitted.avatar_url.clone().unwrap_or_default(),
        ..contact::Model::new(write.account().id, write.set.at, write.set.next_seq())
    };
    let mut row = row.into_active_model().reset_all();
    row.id = sea_orm::NotSet;
    Ok(row.insert(&write.txn).await?.id)
}

/// Stores the submitted data in the session, and applies the changes that the session is allowed to make to its contact.
async fn change(
    write: &mut Write,
    session: &contact_inbox::Model,
    proved: bool,
    mut submitted: Submitted,
    resolved: ResolvedContact,
) -> Result<()> {
    let account = write.account().id;
    let mut contact: Contact = Arc::unwrap_or_clone(load::contact(&write.txn, account, resolved.contact).await?);
    let before = contact.clone();
    if resolved.merged {
        submitted.relation = Relation::Matched;
    }
    let known = Submitted {
        relation: submitted.relation,
        ..session.submitted.clone().unwrap_or_default()
    };
    if proved || session.hmac_verified || !parley_fault::is_on(Protection::IdentityProof) {
        identity::apply_proved(&mut contact.row, resolved.fields);
    } else {
        identity::apply_unproved(&mut contact.row, &known, resolved.fields);
    }
    check_change("custom_attributes", &before.row.custom_attributes, &contact.row.custom_attributes)?;
    let stored = session.submitted.as_ref().map(|stored| stored.custom_attributes.clone());
    check_change(
        "custom_attributes",
        &Json::Object(stored.unwrap_or_default()),
        &Json::Object(submitted.custom_attributes.clone()),
    )?;
    let mut reported = changes(&before, &contact);
    let duplicate = resolved.possible_duplicate.or(session.possible_duplicate_id);
    reported.extend(Change::new("contact_inboxes.hmac_verified", false, proved).filter(|_| !session.hmac_verified));
    reported.extend(possible_duplicate(session.possible_duplicate_id, duplicate));
    let mut row = contact_inbox::ActiveModel {
        id: Unchanged(session.id),
        ..Default::default()
    };
    if session.submitted.as_ref() != Some(&submitted) {
        row.submitted = Set(Some(submitted));
    }
    if !reported.is_empty() {
        row.updated_at = Set(write.set.at);
        row.possible_duplicate_id = Set(duplicate);
        if proved {
            row.hmac_verified = Set(true);
        }
    }
    if row.is_changed() {
        row.update(&write.txn).await?;
    }
    if reported.is_empty() {
        return Ok(());
    }
    contact.row.version = write.set.next_seq();
    contact.row.updated_at = write.set.at;
    contact.row = contact.row.into_active_model().reset_all().update(&write.txn).await?;
    let contact = with_sessions(&write.txn, account, contact).await?;
    write.set.emit(PendingEvent {
        kind: EventKind::ContactUpdated,
        subject: Subject::ContactSessions(contact),
        changes: reported,
    });
    Ok(())
}
