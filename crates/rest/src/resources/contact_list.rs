//! Lists of contacts: all, those that are online, and search results.

use parley_proto as pb;
use serde_json::{Value as Json, json};

use crate::{
    Answer,
    call::Call,
    door::Door,
    errors::Failure,
    json,
    lists::{
        paging::{self, Window},
        rows,
    },
    openapi::{
        About, about,
        schema::{Schema, anything, either, flag, integer, list as list_of, object, text},
    },
    params::{Params, fields::Fields},
};

/// Contacts per page.
pub const PAGE: i32 = 15;

/// The supported sort keys.
const ORDERS: [&str; 8] = [
    "name",
    "email",
    "phone_number",
    "last_activity_at",
    "created_at",
    "company",
    "city",
    "country",
];

pub fn routes() -> Door {
    const CONTACTS: &str = "/api/v1/accounts/{account_id}/contacts";
    Door::new("Contacts")
        .get(
            CONTACTS,
            list,
            paged(about("listContacts", "ContactsService.ListContacts")).query("labels", list_of(text())),
        )
        .get(
            &format!("{CONTACTS}/search"),
            search,
            paged(about("searchContacts", "ContactsService.SearchContacts")).query("q", text()),
        )
        .get(
            &format!("{CONTACTS}/active"),
            active,
            paged(about("listActiveContacts", "ContactsService.ListContacts")),
        )
}

/// Describes the parameters and the response of a page of contacts.
pub fn paged(about: About) -> About {
    let meta = object()
        .key("count", integer().or_null())
        .key("current_page", anything().note("As it was sent."));
    paging::taken(about)
        .query(
            "sort",
            text().note("Keys joined by commas, each with a minus before it for the other way round."),
        )
        .query("include_contact_inboxes", flag())
        .answers(object().key("meta", paging::told(meta)).key("payload", list_of(shown_schema())))
}

/// The schema of [`shown`].
pub fn shown_schema() -> Schema {
    either([json::contact::with_sessions_schema(), json::contact::schema()])
}

async fn list(call: Call, params: Params) -> Answer {
    listed(call, &params, false).await
}

/// Lists the contacts that are online.
async fn active(call: Call, params: Params) -> Answer {
    listed(call, &params, true).await
}

async fn listed(call: Call, params: &Params, online_only: bool) -> Answer {
    let mut fields = params.fields();
    let window = Window::read(&mut fields, PAGE);
    let request = pb::ListContactsRequest {
        account_id: fields.account(),
        page_size: window.size,
        page_token: window.token.clone(),
        skip: window.skip,
        order_by: order(&mut fields),
        labels: fields.texts("labels").unwrap_or_default(),
        with_total_size: window.counts(),
        online_only,
    };
    call.admit(request.account_id, fields.verdict()).await?;
    let list = call.contacts().list_contacts(call.request(request.clone())).await?.into_inner();
    let first = (list.contacts, list.next_page_token);
    Ok(page(&fields, &window, list.total_size, first, move |page_token, page_size| {
        let request = pb::ListContactsRequest {
            page_token,
            page_size,
            skip: 0,
            with_total_size: false,
            ..request.clone()
        };
        let (mut client, request) = (call.contacts(), call.request(request));
        async move {
            let page = client.list_contacts(request).await?.into_inner();
            Ok((page.contacts, page.next_page_token))
        }
    }))
}

async fn search(call: Call, params: Params) -> Answer {
    let mut fields = params.fields();
    let account_id = fields.account();
    let query = fields.text("q").unwrap_or_default().trim().to_owned();
    let window = Window::read(&mut fields, PAGE);
    let order_by = order(&mut fields);
    call.admit(account_id, fields.verdict()).await?;
    if query.is_empty() {
        call.enter(account_id).await?;
        let mut meta = json!({ "count": null, "current_page": 1 });
        window.tell(&mut meta, "");
        return Ok(json::ok(&json!({ "meta": meta, "payload": [] })));
    }
    let request = pb::SearchContactsRequest {
        account_id,
        query,
        page_size: window.size,
        page_token: window.token.clone(),
        skip: window.skip,
        order_by,
        with_total_size: window.counts(),
    };
    let list = call.contacts().search_contacts(call.request(request.clone())).await?.into_inner();
    let first = (list.contacts, list.next_page_token);
    Ok(page(&fields, &window, list.total_size, first, move |page_token, page_size| {
        let request = pb::SearchContactsRequest {
            page_token,
            page_size,
            skip: 0,
            with_total_size: false,
            ..request.clone()
        };
        let (mut client, request) = (call.contacts(), call.request(request));
        async move {
            let page = client.search_contacts(request).await?.into_inner();
            Ok((page.contacts, page.next_page_token))
        }
    }))
}

/// Parses `sort`: known sort keys, each at most once. Unknown ones are ignored, as in Chatwoot.
pub fn order(fields: &mut Fields<'_>) -> String {
    let sort = fields.text("sort").unwrap_or_default();
    let name = |order: &str| order.strip_prefix('-').unwrap_or(order).to_owned();
    let mut orders: Vec<&str> = Vec::new();
    for order in sort.split(',').map(str::trim) {
        if ORDERS.contains(&name(order).as_str()) && !orders.iter().any(|known| name(known) == name(order)) {
            orders.push(order);
        }
    }
    orders.join(",")
}

/// Responds with a list of contacts whose first page has been fetched. `count` is null if the contacts were not counted.
pub fn page<R>(
    fields: &Fields<'_>,
    window: &Window,
    count: Option<i64>,
    (contacts, next): (Vec<pb::Contact>, String),
    mut fetch: impl FnMut(String, i32) -> R + Send + 'static,
) -> axum::response::Response
where
    R: Future<Output = Result<(Vec<pb::Contact>, String), Failure>> + Send + 'static,
{
    // Chatwoot returns the page number as it was sent: text from a query, a number from a JSON body.
    let current = fields.raw("page").filter(|page| !page.is_null()).cloned().unwrap_or(json!(1));
    let shown = shape(fields);
    let contacts: Vec<_> = contacts.iter().take(window.rows).map(shown).collect();
    let mut meta = json!({ "count": count, "current_page": current });
    window.tell(&mut meta, &next);
    let frame = |rows| json!({ "meta": meta, "payload": rows });
    rows::go_on((contacts, window.cut(next)), window.rows, frame, move |token, size| {
        let page = fetch(token, size.try_into().unwrap_or(PAGE));
        async move {
            let (contacts, next) = page.await?;
            Ok((contacts.iter().map(shown).collect(), next))
        }
    })
}

/// How contacts are converted: with their sessions, unless the client has declined them.
fn shape(fields: &Fields<'_>) -> fn(&pb::Contact) -> Json {
    match fields.raw("include_contact_inboxes") {
        None | Some(Json::Null | Json::Bool(true)) => json::contact::with_sessions,
        Some(Json::String(text)) if text == "true" => json::contact::with_sessions,
        Some(_) => json::contact::contact,
    }
}

/// Converts a contact: with its sessions, unless the client has declined them.
pub fn shown(fields: &Fields<'_>, contact: &pb::Contact) -> Json {
    shape(fields)(contact)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(json: Json) -> Params {
        let Json::Object(map) = json else { panic!("an object") };
        Params { map, ..Default::default() }
    }

    #[test]
    fn orders_that_are_known_count_once_each() {
        let order_of = |sort: &str| order(&mut params(json!({ "sort": sort })).fields());
        assert_eq!(
            order_of("shoe_size,-last_activity_at, name,last_activity_at"),
            "-last_activity_at,name"
        );
        assert_eq!(order_of("-"), "");
        assert_eq!(order_of(""), "");
    }
}
