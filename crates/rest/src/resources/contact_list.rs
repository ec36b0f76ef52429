//! Lists of contacts: all, those that are online, and search results.

use parley_proto as pb;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    errors::ApiError,
    json::{
        self,
        contact::ListedContact,
        values::{Any, List},
    },
    lists::{
        pagination::{self, Cursor, PageMeta, PageWindow},
        rows,
    },
    openapi::{RouteDescription, describe},
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
            paged(describe("listContacts", "ContactsService.ListContacts")).query::<Vec<String>>("labels"),
        )
        .get(
            &format!("{CONTACTS}/search"),
            search,
            paged(describe("searchContacts", "ContactsService.SearchContacts")).query::<String>("q"),
        )
        .get(
            &format!("{CONTACTS}/active"),
            active,
            paged(describe("listActiveContacts", "ContactsService.ListContacts")),
        )
}

/// Describes the parameters and the response of a page of contacts.
pub fn paged(description: RouteDescription) -> RouteDescription {
    pagination::page_params(description)
        .query::<String>("sort")
        .query::<bool>("include_contact_inboxes")
        .returns::<List<PageMeta<ContactListMeta>, Vec<ListedContact>>>()
}

// The metadata of a list of contacts.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct ContactListMeta {
    count: Option<i64>,
    current_page: Any,
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
        let meta = meta(None, json!(1), window.cursor(""));
        return Ok(json::ok(&List { meta, payload: [(); 0] }));
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
    let with_sessions = includes_sessions(fields);
    let to_json = move |contact| ListedContact::new(contact, with_sessions);
    let contacts: Vec<_> = contacts.into_iter().take(window.rows).map(to_json).collect();
    let meta = meta(count, current, window.cursor(&next));
    let frame = |payload| List { meta, payload };
    rows::paginated((contacts, window.cut(next)), window.rows, frame, move |token, size| {
        let page = fetch(token, size.try_into().unwrap_or(PAGE));
        async move {
            let (contacts, next) = page.await?;
            Ok((contacts.into_iter().map(to_json).collect(), next))
        }
    })
}

fn meta(count: Option<i64>, current_page: Json, cursor: Option<Cursor>) -> PageMeta<ContactListMeta> {
    PageMeta {
        meta: ContactListMeta {
            count,
            current_page: Any(current_page),
        },
        cursor,
    }
}

/// Whether to include each contact's sessions. They are included unless the client declines them.
pub fn includes_sessions(fields: &ParamReader<'_>) -> bool {
    match fields.raw("include_contact_inboxes") {
        None | Some(Json::Null | Json::Bool(true)) => true,
        Some(other) => other == "true",
    }
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
