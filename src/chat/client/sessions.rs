//! Sessions as contacts make, show and change them.

use std::sync::Arc;

use sea_orm::{ActiveModelTrait, ColumnTrait, Condition, EntityTrait, IntoActiveModel, QueryFilter};
use serde_json::{Map, Value as Json, json};

use super::{Door, Guest, Signature, names, read, session as find_session};
use crate::{
    chat::{
        Chat,
        call::{Answer, Call},
        contact_merge::merge,
        contacts::changes,
        files::Files,
        sessions::{session, session_added, with_sessions},
        writer::Write,
    },
    db::{
        entity::{contact, contact_inbox},
        joined::{Client, Contact},
        load,
    },
    error::{Error, Result},
    events::{
        draft::{Change, Draft, Subject},
        kind::EventKind,
    },
    id::ContactId,
};

/// What a contact says of itself; what is none is not said.
#[derive(Clone, Debug, Default)]
pub struct ClientFields {
    /// The address, in lower case.
    pub email: Option<String>,
    /// The name.
    pub name: Option<String>,
    /// The number.
    pub phone_number: Option<String>,
    /// The picture.
    pub avatar_url: Option<String>,
    /// Attributes that the account defined.
    pub custom_attributes: Map<String, Json>,
}

impl Chat {
    /// Finds or makes a session, and its contact. What was found stays as it is.
    ///
    /// # Errors
    /// [`Error::Unsigned`].
    pub async fn create_client_session(
        &self,
        call: Call<Client>,
        door: Door,
        source_id: Option<String>,
        signature: Signature,
        new: ClientFields,
    ) -> Result<Answer<Client>> {
        self.writer
            .write(call, move |write| {
                Box::pin(async move {
                    let inbox = door.inbox;
                    let account = write.account().id;
                    // The inbox may have gone since it was looked up.
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
                    signature.check(&inbox.channel, None)?;
                    let identifier = Some(signature.identifier).filter(|identifier| !identifier.trim().is_empty());
                    let found = found(write, identifier.as_deref(), &new).await?;
                    let made = found.is_none();
                    let contact = match found {
                        Some(id) => id,
                        None => insert(write, identifier, new).await?,
                    };
                    let row = session(write, contact, inbox.row.id, source_id, false).await?.0;
                    if made {
                        let contact = load::contact(&write.txn, account, contact).await?;
                        let contact = with_sessions(&write.txn, account, Arc::unwrap_or_clone(contact)).await?;
                        write
                            .ledger
                            .emit(Draft::new(EventKind::ContactCreated, Subject::ContactSessions(contact)));
                    } else {
                        session_added(write, contact, &row.source_id).await?;
                    }
                    let contact = load::contact(&write.txn, account, contact).await?;
                    Ok(Client { inbox, row, contact })
                })
            })
            .await
    }

    /// A session as it stands now, whatever was kept of it. A proof that holds marks it as verified.
    ///
    /// # Errors
    /// [`Error::Unsigned`]; [`Error::NotFound`] if it has gone.
    pub async fn client_session(&self, guest: &Guest, signature: &Signature, traceparent: String) -> Result<Client> {
        let known = &guest.client;
        let now = read(self.db.read(), &known.inbox.channel.identifier, &known.row.source_id).await?;
        let proved = signature.check(&now.inbox.channel, Some(&now.contact.row))?;
        if !proved || now.row.hmac_verified {
            return Ok(now);
        }
        let call = Call {
            caller: Arc::clone(&guest.caller),
            account: guest.account(),
            key: None,
            traceparent,
        };
        let said = ClientFields::default();
        match self.update_client_session(call, guest, signature.clone(), said).await? {
            Answer::Fresh(client, _) => Ok(client),
            Answer::Repeated(_) => Err(Error::Internal("a call without a key was repeated".to_owned())),
        }
    }

    /// Changes the contact of a session. If another contact has the address or the number, that one takes this one in.
    ///
    /// # Errors
    /// [`Error::Unsigned`]; [`Error::NotFound`].
    pub async fn update_client_session(
        &self,
        call: Call<Client>,
        guest: &Guest,
        signature: Signature,
        said: ClientFields,
    ) -> Result<Answer<Client>> {
        let (inbox, source_id) = (Arc::clone(&guest.client.inbox), guest.client.row.source_id.clone());
        let files = self.files.clone();
        let answer = self
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let account = write.account().id;
                    let row = find_session(&write.txn, &inbox, &source_id).await?;
                    let row = row.ok_or_else(|| Error::not_found("contact_inbox", &source_id))?;
                    let contact = load::contact(&write.txn, account, row.contact_id).await?;
                    let proved = signature.check(&inbox.channel, Some(&contact.row))?;
                    let (id, said) = merged(&files, write, contact.row.id, said).await?;
                    change(write, id, &row, said, proved).await?;
                    let row = find_session(&write.txn, &inbox, &source_id).await?;
                    Ok(Client {
                        inbox,
                        row: row.ok_or_else(|| Error::not_found("contact_inbox", &source_id))?,
                        contact: load::contact(&write.txn, account, id).await?,
                    })
                })
            })
            .await;
        self.forget_guest(guest).await;
        answer
    }
}

/// Contacts with one of these values, in the order in which they count.
async fn holders(write: &Write, values: &[(contact::Column, Option<&str>)]) -> Result<Vec<contact::Model>> {
    let mut any = Condition::any();
    for (column, value) in values {
        any = any.add_option(value.map(|value| column.eq(value)));
    }
    if any.is_empty() {
        return Ok(Vec::new());
    }
    let rows = contact::Entity::find()
        .filter(contact::Column::AccountId.eq(write.account().id))
        .filter(any);
    Ok(rows.all(&write.txn).await?)
}

/// The contact that a new session is of: by identifier, then e-mail, then phone number.
async fn found(write: &Write, identifier: Option<&str>, new: &ClientFields) -> Result<Option<ContactId>> {
    use contact::Column;
    let (email, phone) = (new.email.as_deref(), new.phone_number.as_deref());
    let values = [
        (Column::Identifier, identifier),
        (Column::Email, email),
        (Column::PhoneNumber, phone),
    ];
    let rows = holders(write, &values).await?;
    let by = |has: &dyn Fn(&contact::Model) -> bool| rows.iter().find(|row| has(row)).map(|row| row.id);
    Ok(by(&|row| identifier.is_some() && row.identifier.as_deref() == identifier)
        .or_else(|| by(&|row| email.is_some() && row.email.as_deref() == email))
        .or_else(|| by(&|row| phone.is_some() && row.phone_number.as_deref() == phone)))
}

async fn insert(write: &Write, identifier: Option<String>, new: ClientFields) -> Result<ContactId> {
    let row = contact::Model {
        id: ContactId(0),
        account_id: write.account().id,
        name: new.name.unwrap_or_else(names::made_up),
        email: new.email,
        phone_number: new.phone_number,
        identifier,
        blocked: false,
        additional_attributes: json!({}),
        custom_attributes: Json::Object(new.custom_attributes),
        avatar_url: new.avatar_url.unwrap_or_default(),
        last_activity_at: None,
        created_at: write.ledger.at,
        updated_at: write.ledger.at,
        version: write.ledger.next_seq(),
    };
    let mut row = row.into_active_model().reset_all();
    row.id = sea_orm::NotSet;
    Ok(row.insert(&write.txn).await?.id)
}

/// Lets whoever has the address or the number take the contact in. The surviving contact, and what is still to be said of it: a number
/// of somebody with another address stays there.
async fn merged(files: &Files, write: &mut Write, mut id: ContactId, mut said: ClientFields) -> Result<(ContactId, ClientFields)> {
    use contact::Column;
    if let Some(email) = &said.email {
        let rows = holders(write, &[(Column::Email, Some(email))]).await?;
        if let Some(other) = rows.iter().find(|row| row.id != id) {
            merge(files, write, other.id, id).await?;
            id = other.id;
        }
    }
    if let Some(phone) = &said.phone_number {
        let rows = holders(write, &[(Column::PhoneNumber, Some(phone))]).await?;
        if let Some(other) = rows.iter().find(|row| row.id != id) {
            let elsewhere = said.email.is_some() && other.email.is_some() && other.email != said.email;
            if elsewhere {
                said.phone_number = None;
            } else {
                merge(files, write, other.id, id).await?;
                id = other.id;
            }
        }
    }
    Ok((id, said))
}

async fn change(write: &mut Write, id: ContactId, session: &contact_inbox::Model, said: ClientFields, proved: bool) -> Result<()> {
    let account = write.account().id;
    let mut contact: Contact = Arc::unwrap_or_clone(load::contact(&write.txn, account, id).await?);
    let before = contact.clone();
    let row = &mut contact.row;
    row.name = said.name.unwrap_or_else(|| row.name.clone());
    row.email = said.email.or_else(|| row.email.clone());
    row.phone_number = said.phone_number.or_else(|| row.phone_number.clone());
    if let Some(url) = said.avatar_url.filter(|_| row.avatar_url.is_empty()) {
        row.avatar_url = url;
    }
    deep_merge(&mut row.custom_attributes, Json::Object(said.custom_attributes));
    let mut told = changes(&before, &contact);
    if proved && !session.hmac_verified {
        contact_inbox::ActiveModel {
            id: sea_orm::Unchanged(session.id),
            hmac_verified: sea_orm::Set(true),
            updated_at: sea_orm::Set(write.ledger.at),
            ..Default::default()
        }
        .update(&write.txn)
        .await?;
        told.extend(Change::new("contact_inboxes.hmac_verified", false, true));
    }
    if told.is_empty() {
        return Ok(());
    }
    contact.row.version = write.ledger.next_seq();
    contact.row.updated_at = write.ledger.at;
    contact.row = contact.row.into_active_model().reset_all().update(&write.txn).await?;
    let contact = with_sessions(&write.txn, account, contact).await?;
    write.ledger.emit(Draft {
        kind: EventKind::ContactUpdated,
        subject: Subject::ContactSessions(contact),
        changes: told,
    });
    Ok(())
}

/// Puts `from` over `to`, at every depth.
fn deep_merge(to: &mut Json, from: Json) {
    match (to, from) {
        (Json::Object(to), Json::Object(from)) => {
            for (key, value) in from {
                deep_merge(to.entry(key).or_insert(Json::Null), value);
            }
        }
        (to, from) => *to = from,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_goes_over_what_is_known() {
        let mut known = json!({"plan": "basic", "address": {"city": "Porto", "zip": "1"}});
        deep_merge(&mut known, json!({"plan": "gold", "address": {"zip": "2"}, "new": [1]}));
        assert_eq!(known, json!({"plan": "gold", "address": {"city": "Porto", "zip": "2"}, "new": [1]}));
    }
}
