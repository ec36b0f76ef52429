//! Creating, reading, updating and deleting contacts.

use parley_proto::{
    self as pb,
    optional_strings::{OptionalString, OptionalStrings},
};
use prost_types::FieldMask;
use tonic::Code;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    json::{
        self,
        contact::{ContactWithSessions, ListedContact},
        inbox::InboxRecord,
        json_type::json_type,
        values::{Id, Payload},
    },
    openapi::{Caller, RouteDescription, describe},
    params::{Params, attributes::Attributes, declaration::params, fields::ParamReader, uploads::ParamsWithFiles},
    resources::contact_list::includes_sessions,
};

params! {
    struct ContactParams { blocked: bool, additional_attributes: Attributes, custom_attributes: Attributes }
    struct SessionParams { inbox_id: Id, source_id: String }
    struct AttributeNames { custom_attributes: Vec<String> }
}

pub fn routes() -> ApiRouter {
    const CONTACTS: &str = "/api/v1/accounts/{account_id}/contacts";
    const CONTACT: &str = "/api/v1/accounts/{account_id}/contacts/{contact_id}";
    ApiRouter::new("Contacts")
        .post(
            CONTACTS,
            create,
            written(describe("createContact", "ContactsService.CreateContact"))
                .params::<SessionParams>()
                .returns::<Payload<CreatedContact>>(),
        )
        .get(
            CONTACT,
            show,
            describe("showContact", "ContactsService.GetContact")
                .query::<bool>("include_contact_inboxes")
                .returns::<Payload<ListedContact>>(),
        )
        .update(
            CONTACT,
            update,
            written(describe("updateContact", "ContactsService.UpdateContact")).returns::<Payload<ContactWithSessions>>(),
        )
        .delete(
            CONTACT,
            delete,
            describe("deleteContact", "ContactsService.DeleteContact").caller(Caller::Administrator),
        )
        .post(
            &format!("{CONTACT}/destroy_custom_attributes"),
            destroy_custom_attributes,
            describe("removeContactAttributes", "ContactsService.UpdateContact")
                .params::<AttributeNames>()
                .returns::<Payload<ContactWithSessions>>(),
        )
}

/// Describes the parameters of creating and updating a contact.
fn written(description: RouteDescription) -> RouteDescription {
    texts()
        .fold(description.body::<Option<String>>("name"), |description, optional| {
            description.commented_body::<Option<String>>(optional.name, optional.comment)
        })
        .body::<Option<String>>("avatar_url")
        .body::<Option<String>>("avatar")
        .params::<ContactParams>()
}

/// The optional strings of a contact. Each parameter has the name of its protobuf field and, unless `parameters.toml` describes it, the
/// comment of that field.
fn texts() -> impl Iterator<Item = &'static OptionalString> {
    let of_contacts = |optional: &&OptionalString| pb::Contact::OPTIONAL_STRINGS.iter().any(|known| known.name == optional.name);
    pb::CreateContactRequest::OPTIONAL_STRINGS.iter().filter(of_contacts)
}

json_type! {
    #[schemars(inline)]
    struct CreatedContact(made: pb::CreateContactResponse) {
        contact: ContactWithSessions = made.contact.unwrap_or_default().into(),
        contact_inbox: CreatedSession = CreatedSession::new(made.inbox, made.contact_inbox),
    }
}

json_type! {
    #[schemars(inline)]
    struct CreatedSession(made: Option<pb::Inbox>, session: Option<pb::ContactInbox>) {
        inbox: Option<InboxRecord> = made.map(InboxRecord::from),
        source_id: Option<String> = session.map(|session| session.source_id),
    }
}

async fn create(call: Call, ParamsWithFiles(params): ParamsWithFiles) -> ApiResult {
    let mut fields = params.fields();
    let mut request = pb::CreateContactRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        name: fields.text("name").unwrap_or_default(),
        ..Default::default()
    };
    for optional in texts() {
        put(&mut request, optional.name, fields.text(optional.name));
    }
    let sent = fields.read::<ContactParams>();
    request.blocked = sent.blocked.unwrap_or(false);
    request.additional_attributes = sent.additional_attributes;
    request.custom_attributes = sent.custom_attributes;
    request.avatar_url = fields.avatar("avatar").unwrap_or_default();
    let session: SessionParams = call.authorize_error(request.account_id, fields.parse()).await?;
    request.inbox_id = session.inbox_id;
    request.source_id = session.source_id;
    let made = call.contacts().create_contact(call.request(request)).await?.into_inner();
    Ok(json::ok(&Payload {
        payload: CreatedContact::from(made),
    }))
}

async fn show(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let contact = read(&call, fields.account(), fields.path_id("contact_id")).await?;
    let payload = ListedContact::new(contact, includes_sessions(&fields));
    Ok(json::ok(&Payload { payload }))
}

/// Reads a contact with its sessions.
///
/// # Errors
/// Returns any error from the service.
pub async fn read(call: &Call, account_id: i64, contact_id: i64) -> Result<pb::Contact, crate::errors::ApiError> {
    let request = pb::GetContactRequest { account_id, contact_id };
    let found = call.contacts().get_contact(call.request(request)).await?.into_inner();
    Ok(found.contact.unwrap_or_default())
}

/// Updates a contact. With an empty mask, reads it instead.
///
/// # Errors
/// Returns any error from the service.
pub async fn change(call: &Call, account_id: i64, contact: pb::Contact, mask: Vec<String>) -> Result<pb::Contact, crate::errors::ApiError> {
    if mask.is_empty() {
        return read(call, account_id, contact.id).await;
    }
    let request = pb::UpdateContactRequest {
        account_id,
        request_id: call.request_id(),
        contact: Some(contact),
        update_mask: Some(FieldMask { paths: mask }),
    };
    let changed = call.contacts().update_contact(call.request(request)).await?.into_inner();
    Ok(changed.contact.unwrap_or_default())
}

async fn update(call: Call, ParamsWithFiles(params): ParamsWithFiles) -> ApiResult {
    let mut fields = params.fields();
    let account_id = fields.account();
    let (contact, mask) = patch(&mut fields);
    call.authorize_error(account_id, fields.finish()).await?;
    let contact = change(&call, account_id, contact, mask).await?;
    Ok(json::ok(&Payload {
        payload: ContactWithSessions::from(contact),
    }))
}

/// Sets an optional text of a message.
fn put(message: &mut impl OptionalStrings, name: &str, value: Option<String>) {
    if let Some(field) = message.optional_string_mut(name) {
        *field = value;
    }
}

/// Parses the fields that were sent. Attributes are merged into the stored ones, key by key.
fn patch(fields: &mut ParamReader<'_>) -> (pb::Contact, Vec<String>) {
    let mut mask = Vec::new();
    let mut contact = pb::Contact {
        id: fields.path_id("contact_id"),
        ..Default::default()
    };
    if fields.is_present("name") {
        contact.name = fields.text("name").unwrap_or_default();
        mask.push("name".to_owned());
    }
    for optional in texts() {
        if fields.is_present(optional.name) {
            put(&mut contact, optional.name, fields.text(optional.name));
            mask.push(optional.name.to_owned());
        }
    }
    let avatar_url = fields.avatar("avatar");
    let sent = fields.read::<ContactParams>();
    if let Some(blocked) = sent.blocked {
        contact.blocked = blocked;
        mask.push("blocked".to_owned());
    }
    if let Some(avatar_url) = avatar_url {
        contact.avatar_url = avatar_url;
        mask.push("avatar_url".to_owned());
    }
    for (key, attributes) in [
        ("additional_attributes", &sent.additional_attributes),
        ("custom_attributes", &sent.custom_attributes),
    ] {
        let names = attributes.iter().flat_map(|attributes| attributes.fields.keys());
        mask.extend(names.map(|name| format!("{key}.{name}")));
    }
    contact.additional_attributes = sent.additional_attributes;
    contact.custom_attributes = sent.custom_attributes;
    (contact, mask)
}

async fn destroy_custom_attributes(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let account_id = fields.account();
    let contact = pb::Contact {
        id: fields.path_id("contact_id"),
        ..Default::default()
    };
    let sent: AttributeNames = call.parse(&params).await?;
    let names = sent.custom_attributes.unwrap_or_default();
    // A key in the mask that is absent from the contact is removed.
    let mask = names
        .into_iter()
        .filter(|name| !name.is_empty())
        .map(|name| format!("custom_attributes.{name}"))
        .collect();
    let contact = change(&call, account_id, contact, mask).await?;
    Ok(json::ok(&Payload {
        payload: ContactWithSessions::from(contact),
    }))
}

async fn delete(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let request = pb::DeleteContactRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        contact_id: fields.path_id("contact_id"),
    };
    let contact = pb::GetContactRequest {
        account_id: request.account_id,
        contact_id: request.contact_id,
    };
    match call.contacts().delete_contact(call.request(request)).await {
        Err(status) if status.code() == Code::FailedPrecondition => {
            let contact = call.contacts().get_contact(call.request(contact)).await?.into_inner().contact;
            Err(crate::errors::ApiError::online(&contact.unwrap_or_default().name))
        }
        other => other.map(|_| json::empty()).map_err(crate::errors::ApiError::from),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    fn params(json: Json) -> Params {
        let Json::Object(map) = json else { panic!("an object") };
        Params { map, ..Default::default() }
    }

    #[test]
    fn attributes_are_merged_key_by_key() {
        let params = params(json!({
            "contact_id": "41", "email": "", "identifier": null, "blocked": "0", "custom_attributes": {"plan": "gold", "a.b": 1},
        }));
        let mut fields = params.fields();
        let (contact, mask) = patch(&mut fields);
        assert_eq!(
            mask,
            ["email", "identifier", "blocked", "custom_attributes.a.b", "custom_attributes.plan"]
        );
        assert_eq!((contact.id, contact.email, contact.identifier), (41, Some(String::new()), None));
    }

    #[test]
    fn collects_all_errors() {
        let params = params(json!({ "contact_id": "41", "name": {}, "custom_attributes": "gold" }));
        let mut fields = params.fields();
        patch(&mut fields);
        let failure = fields.finish().unwrap_err();
        assert_eq!(
            format!("{failure:?}").matches("must be").count(),
            2,
            "both fields are named: {failure:?}"
        );
    }
}
