//! Determines which contact a session belongs to, and which of the contact's fields the session may change.
//!
//! Anyone can submit any e-mail address, phone number or identifier. A session without proof is nevertheless attached to the matching
//! contact, so that agents see one person. To protect the contact's data, such a session cannot read anything about the contact, and can
//! change only values that the session itself has set. A signature proves only an identifier, never an address or phone number. For this
//! reason, a session never causes a merge of two contacts that each have an address, phone number or identifier; members are informed of
//! the possible duplicate instead.

use parley_fault::Protection;
use parley_storage::{
    entity::{api_channel, contact, contact_inbox},
    submitted::{Relation, Submitted},
};
use parley_types::{error::Result, id::ContactId};
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter};
use serde_json::{Map, Value as Json};

use super::fields::ClientFields;
use crate::{contacts::merge::merge, files::Files, write::Write};

/// Returns the contacts of the account that have at least one of these values.
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

fn same(stored: Option<&String>, given: Option<&str>) -> bool {
    given.is_some() && stored.map(String::as_str) == given
}

/// The result of looking for the contact that a new session is attached to.
#[derive(Debug, Default)]
pub(super) struct ContactMatch {
    /// The contact that the session is attached to, or `None` if a new contact must be created for it.
    pub contact: Option<ContactId>,
    /// A contact other than `contact` that has one of the submitted values.
    pub possible_duplicate: Option<ContactId>,
    /// Whether the identifier, the e-mail address and the phone number (in this order) already belong to a contact. A new contact is
    /// created without such a value.
    pub taken: [bool; 3],
}

/// Finds the contact that a new session is attached to, by identifier, then e-mail address, then phone number.
///
/// If the identifier is proved, only the identifier counts, because the other values are not proved. Without proof, the session is not
/// attached to a contact whose identifier differs from the submitted one. If the inbox does not attach unverified sessions, a session
/// without proof is not attached to any existing contact.
///
/// # Errors
/// Returns [`parley_types::error::Error::Database`] if a query fails.
pub(super) async fn find(
    write: &Write,
    channel: &api_channel::Model,
    identifier: Option<&str>,
    proved: bool,
    new: &ClientFields,
) -> Result<ContactMatch> {
    use contact::Column;
    let (email, phone) = (new.email.as_deref(), new.phone_number.as_deref());
    let values = [
        (Column::Identifier, identifier),
        (Column::Email, email),
        (Column::PhoneNumber, phone),
    ];
    let rows = holders(write, &values).await?;
    let by_identifier = rows.iter().find(|row| same(row.identifier.as_ref(), identifier));
    let by_email = rows.iter().find(|row| same(row.email.as_ref(), email));
    let by_phone = rows.iter().find(|row| same(row.phone_number.as_ref(), phone));
    let unguarded = !parley_fault::is_on(Protection::IdentityProof);
    let attaches = channel.attach_unverified_sessions || unguarded;
    let elsewhere = |row: &&contact::Model| unguarded || identifier.is_none() || row.identifier.is_none();
    let joined = by_identifier.filter(|_| proved || attaches).or_else(|| {
        let by_address = || by_email.filter(elsewhere).or_else(|| by_phone.filter(elsewhere));
        if attaches && (unguarded || !proved) { by_address() } else { None }
    });
    let contact = joined.map(|row| row.id);
    let others = [by_identifier, by_email, by_phone].into_iter().flatten();
    Ok(ContactMatch {
        contact,
        possible_duplicate: others.map(|row| row.id).find(|id| Some(*id) != contact),
        taken: [by_identifier.is_some(), by_email.is_some(), by_phone.is_some()],
    })
}

/// The contact of a session after conflicts with other contacts have been resolved.
#[derive(Debug)]
pub(super) struct ResolvedContact {
    /// The contact that the session belongs to from now on.
    pub contact: ContactId,
    /// Whether the session's previous contact was merged into `contact`.
    pub merged: bool,
    /// Another contact that already has one of the submitted values. The value was dropped for this reason.
    pub possible_duplicate: Option<ContactId>,
    /// The submitted values that remain to be stored.
    pub fields: ClientFields,
}

/// Resolves conflicts with contacts that already have a submitted e-mail address or phone number. The session's contact is merged into the
/// other contact if the session's contact has no address, phone number or identifier and no other session, the session is unverified, and
/// the inbox attaches unverified sessions. In all other cases, the conflicting value is dropped.
///
/// # Errors
/// Returns [`parley_types::error::Error::Database`] if a query fails.
pub(super) async fn resolve_conflicts(
    files: &Files,
    write: &mut Write,
    channel: &api_channel::Model,
    (session, contact): (&contact_inbox::Model, &contact::Model),
    verified: bool,
    mut fields: ClientFields,
) -> Result<ResolvedContact> {
    use contact::Column;
    let values = [
        (Column::Email, fields.email.as_deref()),
        (Column::PhoneNumber, fields.phone_number.as_deref()),
    ];
    let rows = holders(write, &values).await?;
    let other = |row: &&contact::Model| row.id != contact.id;
    let by_email = rows
        .iter()
        .filter(other)
        .find(|row| same(row.email.as_ref(), fields.email.as_deref()));
    let by_phone = rows
        .iter()
        .filter(other)
        .find(|row| same(row.phone_number.as_ref(), fields.phone_number.as_deref()));
    let Some(first) = by_email.or(by_phone) else {
        return Ok(ResolvedContact {
            contact: contact.id,
            merged: false,
            possible_duplicate: None,
            fields,
        });
    };
    let anonymous = contact.email.is_none() && contact.phone_number.is_none() && contact.identifier.is_none();
    let may_join = anonymous && !verified && channel.attach_unverified_sessions && !has_others(write, session).await?;
    let merged = may_join || !parley_fault::is_on(Protection::IdentityProof);
    let joined = if merged {
        merge(files, write, first.id, contact.id, session.submitted.as_ref()).await?;
        first.id
    } else {
        contact.id
    };
    let left_out = |row: Option<&contact::Model>| row.map(|row| row.id).filter(|id| *id != joined);
    let (email, phone) = (left_out(by_email), left_out(by_phone));
    if email.is_some() {
        fields.email = None;
    }
    if phone.is_some() {
        fields.phone_number = None;
    }
    Ok(ResolvedContact {
        contact: joined,
        merged,
        possible_duplicate: email.or(phone),
        fields,
    })
}

/// Returns whether the session's contact has other sessions. A merge of the contact would also move these sessions to the other contact.
async fn has_others(write: &Write, session: &contact_inbox::Model) -> Result<bool> {
    use contact_inbox::Column;
    let other = contact_inbox::Entity::find()
        .filter(Column::AccountId.eq(session.account_id))
        .filter(Column::ContactId.eq(session.contact_id))
        .filter(Column::Id.ne(session.id))
        .one(&write.txn)
        .await?;
    Ok(other.is_some())
}

/// Merges newly submitted values into the values that the session submitted earlier.
pub(super) fn submit(submitted: &mut Submitted, identifier: Option<&str>, fields: &ClientFields) {
    let submit = |to: &mut Option<String>, from: Option<&str>| {
        if let Some(from) = from {
            *to = Some(from.to_owned());
        }
    };
    submit(&mut submitted.identifier, identifier);
    submit(&mut submitted.name, fields.name.as_deref());
    submit(&mut submitted.email, fields.email.as_deref());
    submit(&mut submitted.phone_number, fields.phone_number.as_deref());
    submit(&mut submitted.avatar_url, fields.avatar_url.as_deref());
    override_with(&mut submitted.custom_attributes, fields.custom_attributes.clone());
}

/// Updates the contact of a verified session with the values that the session submitted.
pub(super) fn apply_proved(row: &mut contact::Model, fields: ClientFields) {
    row.name = fields.name.unwrap_or_else(|| row.name.clone());
    row.email = fields.email.or_else(|| row.email.clone());
    row.phone_number = fields.phone_number.or_else(|| row.phone_number.clone());
    if let Some(url) = fields.avatar_url.filter(|_| row.avatar_url.is_empty()) {
        row.avatar_url = url;
    }
    if let Json::Object(attributes) = &mut row.custom_attributes {
        override_with(attributes, fields.custom_attributes);
    }
}

/// Updates the contact of an unverified session with the values that the session submitted, without overwriting values that other callers
/// have set. Empty values are filled and, if the session created the contact, values that are still as the session submitted them are
/// replaced. A contact that the session only matched is not changed.
pub(super) fn apply_unproved(row: &mut contact::Model, before: &Submitted, fields: ClientFields) {
    if before.relation == Relation::Matched {
        return;
    }
    let own = |value: Option<&str>, given: Option<&String>| {
        before.relation == Relation::Created && value.is_some() && value == given.map(String::as_str)
    };
    let may_set = |value: Option<&str>, given: Option<&String>| value.is_none_or(|value| value.trim().is_empty()) || own(value, given);
    if let Some(name) = fields.name.filter(|_| may_set(Some(row.name.as_str()), before.name.as_ref())) {
        row.name = name;
    }
    if let Some(email) = fields.email.filter(|_| may_set(row.email.as_deref(), before.email.as_ref())) {
        row.email = Some(email);
    }
    let phone = fields.phone_number;
    if let Some(phone) = phone.filter(|_| may_set(row.phone_number.as_deref(), before.phone_number.as_ref())) {
        row.phone_number = Some(phone);
    }
    if let Some(url) = fields.avatar_url.filter(|_| row.avatar_url.is_empty()) {
        row.avatar_url = url;
    }
    if let Json::Object(attributes) = &mut row.custom_attributes {
        let given = (before.relation == Relation::Created).then_some(&before.custom_attributes);
        fill(attributes, fields.custom_attributes, given);
    }
}

/// Copies `from` into `to` at every depth. Adds missing keys, and replaces values that still equal those in `given`.
fn fill(to: &mut Map<String, Json>, from: Map<String, Json>, given: Option<&Map<String, Json>>) {
    for (key, value) in from {
        let before = given.and_then(|given| given.get(&key));
        match (to.get_mut(&key), value) {
            (None, value) => drop(to.insert(key, value)),
            (Some(Json::Object(inner)), Json::Object(value)) => fill(inner, value, before.and_then(Json::as_object)),
            (Some(stored), value) if Some(&*stored) == before => *stored = value,
            (Some(_), _) => {}
        }
    }
}

/// Merges `from` into `to` at every depth; values in `from` take precedence.
fn override_with(to: &mut Map<String, Json>, from: Map<String, Json>) {
    for (key, value) in from {
        match (to.get_mut(&key), value) {
            (Some(Json::Object(inner)), Json::Object(value)) => override_with(inner, value),
            (_, value) => drop(to.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(json: Json) -> Map<String, Json> {
        match json {
            Json::Object(map) => map,
            other => panic!("{other} is no object"),
        }
    }

    #[test]
    fn verified_value_replaces_the_stored_one_at_every_depth() {
        let mut stored = object(json!({"plan": "basic", "address": {"city": "Porto", "zip": "1"}}));
        override_with(&mut stored, object(json!({"plan": "gold", "address": {"zip": "2"}, "new": [1]})));
        assert_eq!(
            Json::Object(stored),
            json!({"plan": "gold", "address": {"city": "Porto", "zip": "2"}, "new": [1]})
        );
    }

    #[test]
    fn unverified_value_replaces_only_unverified_ones() {
        let given = object(json!({"plan": "basic", "address": {"zip": "1"}}));
        let stored = json!({"plan": "basic", "address": {"city": "Porto", "zip": "9"}, "risk": 3});
        let submitted = json!({"plan": "gold", "address": {"zip": "2", "street": "Rua"}, "risk": 0, "new": {"a": 1}});
        let mut own = object(stored.clone());
        fill(&mut own, object(submitted.clone()), Some(&given));
        assert_eq!(
            Json::Object(own),
            json!({"plan": "gold", "address": {"city": "Porto", "zip": "9", "street": "Rua"}, "risk": 3, "new": {"a": 1}})
        );
        let mut foreign = object(stored);
        fill(&mut foreign, object(submitted), None);
        assert_eq!(
            Json::Object(foreign),
            json!({"plan": "basic", "address": {"city": "Porto", "zip": "9", "street": "Rua"}, "risk": 3, "new": {"a": 1}})
        );
    }
}
