//! Lists of contacts: all, those that are online, and search results.

use parley_proto as pb;
use serde_json::{Value as Json, json};

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    errors::ApiError,
    json,
    lists::{
        pagination::{self, PageWindow},
        rows,
    },
    openapi::{
        RouteDescription, describe,
        schema::{Schema, any, any_of, flag, integer, list as list_of, object, text},
    },
    params::{Params, fields::ParamReader},
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

pub fn routes() -> ApiRouter {
    const CONTACTS: &str = "/api/v1/accounts/{account_id}/contacts";
    ApiRouter::new("Contacts")
        .get(
            CONTACTS,
            list,
            paged(describe("listContacts", "ContactsService.ListContacts")).query("labels", list_of(text())),
        )
        .get(
            &format!("{CONTACTS}/search"),
            search,
            paged(describe("searchContacts", "ContactsService.SearchContacts")).query("q", text()),
        )
        .get(
            &format!("{CONTACTS}/active"),
            active,
            paged(describe("listActiveContacts", "ContactsService.ListContacts")),
        )
}

/// Describes the parameters and the response of a page of contacts.
pub fn paged(description: RouteDescription) -> RouteDescription {
    let meta = object()
        .key("count", integer().or_null())
        .key("current_page", any().note("As it was sent."));
    pagination::page_params(description)
        .query(
            "sort",
            text().note("Keys joined by commas, each with a minus before it for the other way round."),
        )
        .query("include_contact_inboxes", flag())
        .returns(
            object()
                .key("meta", pagination::meta_schema(meta))
                .key("payload", list_of(listed_contact_schema())),
        )
}

/// The schema of [`listed_contact`].
pub fn listed_contact_schema() -> Schema {
    any_of([json::contact::with_sessions_schema(), json::contact::schema()])
}

async fn list(call: Call, params: Params) -> ApiResult {
    listed(call, &params, false).await
}

/// Lists the contacts that are online.
async fn active(call: Call, params: Params) -> ApiResult {
    listed(call, &params, true).await
}

async fn listed(call: Call, params: &Params, online_only: bool) -> ApiResult {
    let mut fields = params.fields();
    let window = PageWindow::read(&mut fields, PAGE);
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
    call.authorize_error(request.account_id, fields.finish()).await?;
    let list = call.send(request.clone()).await?;
    let first = (list.contacts, list.next_page_token);
    Ok(page(&fields, &window, list.total_size, first, move |page_token, page_size| {
        let request = pb::ListContactsRequest {
            page_token,
            page_size,
            skip: 0,
            with_total_size: false,
            ..request.clone()
        };
        let page = call.send(request);
        async move {
            let page = page.await?;
            Ok((page.contacts, page.next_page_token))
        }
    }))
}

async fn search(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let account_id = fields.account();
    let query = fields.text("q").unwrap_or_default().trim().to_owned();
    let window = PageWindow::read(&mut fields, PAGE);
    let order_by = order(&mut fields);
    call.authorize_error(account_id, fields.finish()).await?;
    if query.is_empty() {
        call.authorize(account_id).await?;
        let mut meta = json!({ "count": null, "current_page": 1 });
        window.write_meta(&mut meta, "");
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
    let list = call.send(request.clone()).await?;
    let first = (list.contacts, list.next_page_token);
    Ok(page(&fields, &window, list.total_size, first, move |page_token, page_size| {
        let request = pb::SearchContactsRequest {
            page_token,
            page_size,
            skip: 0,
            with_total_size: false,
            ..request.clone()
        };
        let page = call.send(request);
        async move {
            let page = page.await?;
            Ok((page.contacts, page.next_page_token))
        }
    }))
}

/// Parses `sort`: known sort keys, each at most once. Unknown ones are ignored, as in Chatwoot.
pub fn order(fields: &mut ParamReader<'_>) -> String {
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
    fields: &ParamReader<'_>,
    window: &PageWindow,
    count: Option<i64>,
    (contacts, next): (Vec<pb::Contact>, String),
    mut fetch: impl FnMut(String, i32) -> R + Send + 'static,
) -> axum::response::Response
where
    R: Future<Output = Result<(Vec<pb::Contact>, String), ApiError>> + Send + 'static,
{
    // Chatwoot returns the page number as it was sent: text from a query, a number from a JSON body.
    let current = fields.raw("page").filter(|page| !page.is_null()).cloned().unwrap_or(json!(1));
    let to_json = shape(fields);
    let contacts: Vec<_> = contacts.iter().take(window.rows).map(to_json).collect();
    let mut meta = json!({ "count": count, "current_page": current });
    window.write_meta(&mut meta, &next);
    let frame = |rows| json!({ "meta": meta, "payload": rows });
    rows::paginated((contacts, window.cut(next)), window.rows, frame, move |token, size| {
        let page = fetch(token, size.try_into().unwrap_or(PAGE));
        async move {
            let (contacts, next) = page.await?;
            Ok((contacts.iter().map(to_json).collect(), next))
        }
    })
}

/// How contacts are converted: with their sessions, unless the client has declined them.
fn shape(fields: &ParamReader<'_>) -> fn(&pb::Contact) -> Json {
    match fields.raw("include_contact_inboxes") {
        None | Some(Json::Null | Json::Bool(true)) => json::contact::with_sessions,
        Some(Json::String(text)) if text == "true" => json::contact::with_sessions,
        Some(_) => json::contact::contact,
    }
}

/// Converts a contact: with its sessions, unless the client has declined them.
pub fn listed_contact(fields: &ParamReader<'_>, contact: &pb::Contact) -> Json {
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
    fn known_sort_keys_apply_once() {
        let order_of = |sort: &str| order(&mut params(json!({ "sort": sort })).fields());
        assert_eq!(
            order_of("shoe_size,-last_activity_at, name,last_activity_at"),
            "-last_activity_at,name"
        );
        assert_eq!(order_of("-"), "");
        assert_eq!(order_of(""), "");
    }
}
