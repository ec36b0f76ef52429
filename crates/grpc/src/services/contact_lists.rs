//! Lists contacts for `ContactsService`: all contacts, search results and filter results.

use parley_domain::{
    auth::caller::Caller,
    contacts::{
        Contacts,
        list::{ContactOrder, ContactQuery},
    },
};
use parley_eventlog::conversion::FromStored as _;
use parley_proto as pb;
use parley_types::{
    error::{Result, Rule},
    id::AccountId,
};
use tonic::Response;

use crate::validation::{
    fields::{SHORT_TEXT, Validator},
    filters, page,
};

/// The default number of contacts per page.
const PAGE: i32 = 15;

/// Lists the contacts that have a name, an e-mail address, a phone number or an identifier.
pub(super) async fn list(contacts: &Contacts, caller: &Caller, req: pb::ListContactsRequest) -> Result<Response<pb::ListContactsResponse>> {
    let account = AccountId(req.account_id);
    caller.access(account)?;
    let without_paging = pb::ListContactsRequest {
        page_size: 0,
        page_token: String::new(),
        skip: 0,
        with_total_size: false,
        ..req.clone()
    };
    let mut fields = Validator::default();
    let page = page::read(&mut fields, &without_paging, (req.page_size, PAGE), &req.page_token, req.skip);
    let orders = orders(&mut fields, &req.order_by);
    fields.count("labels", req.labels.len(), 100);
    fields.finish()?;
    let query = ContactQuery {
        labels: req.labels,
        online: req.online_only,
        orders,
        count: req.with_total_size,
        ..ContactQuery::all()
    };
    let (found, total) = contacts.list(caller, account, &query, &page).await?;
    let (shown, next_page_token) = page::fill(&without_paging, &found, pb::Contact::from_stored);
    Ok(Response::new(pb::ListContactsResponse {
        contacts: shown,
        next_page_token,
        total_size: total.and_then(|total| i64::try_from(total).ok()),
    }))
}

/// Lists the contacts that match a search text.
pub(super) async fn search(
    contacts: &Contacts,
    caller: &Caller,
    req: pb::SearchContactsRequest,
) -> Result<Response<pb::SearchContactsResponse>> {
    let account = AccountId(req.account_id);
    caller.access(account)?;
    let without_paging = pb::SearchContactsRequest {
        page_size: 0,
        page_token: String::new(),
        skip: 0,
        with_total_size: false,
        ..req.clone()
    };
    let mut fields = Validator::default();
    let page = page::read(&mut fields, &without_paging, (req.page_size, PAGE), &req.page_token, req.skip);
    let orders = orders(&mut fields, &req.order_by);
    fields.required("query", &req.query, SHORT_TEXT);
    fields.finish()?;
    let query = ContactQuery {
        text: Some(req.query.trim().to_owned()),
        orders,
        count: req.with_total_size,
        ..ContactQuery::all()
    };
    let (found, total) = contacts.list(caller, account, &query, &page).await?;
    let (shown, next_page_token) = page::fill(&without_paging, &found, pb::Contact::from_stored);
    Ok(Response::new(pb::SearchContactsResponse {
        contacts: shown,
        next_page_token,
        total_size: total.and_then(|total| i64::try_from(total).ok()),
    }))
}

/// Lists the contacts that match a filter.
pub(super) async fn filter(
    contacts: &Contacts,
    caller: &Caller,
    req: pb::FilterContactsRequest,
) -> Result<Response<pb::FilterContactsResponse>> {
    let account = AccountId(req.account_id);
    caller.access(account)?;
    let without_paging = pb::FilterContactsRequest {
        page_size: 0,
        page_token: String::new(),
        skip: 0,
        with_total_size: false,
        ..req.clone()
    };
    let mut fields = Validator::default();
    let given = filters::read(&mut fields, req.filter);
    let page = page::read(&mut fields, &without_paging, (req.page_size, PAGE), &req.page_token, req.skip);
    let orders = orders(&mut fields, &req.order_by);
    fields.finish()?;
    let query = ContactQuery {
        orders,
        count: req.with_total_size,
        ..ContactQuery::all()
    };
    let (found, total) = contacts.filter(caller, account, &given, query, &page).await?;
    let (shown, next_page_token) = page::fill(&without_paging, &found, pb::Contact::from_stored);
    Ok(Response::new(pb::FilterContactsResponse {
        contacts: shown,
        next_page_token,
        total_size: total.and_then(|total| i64::try_from(total).ok()),
    }))
}

/// Parses `order_by` into its sort orders, each with a flag that is true for descending order.
fn orders(fields: &mut Validator, order_by: &str) -> Vec<(ContactOrder, bool)> {
    let mut orders: Vec<(ContactOrder, bool)> = Vec::new();
    for part in order_by.split(',') {
        let (name, descending) = part.strip_prefix('-').map_or((part, false), |name| (name, true));
        let order = ContactOrder::of(name).filter(|_| !name.is_empty() || order_by.is_empty());
        match order {
            Some(order) if orders.iter().all(|(known, _)| *known != order) => orders.push((order, descending)),
            _ => {
                let names = "name, email, phone_number, last_activity_at, created_at, company, city or country";
                let description =
                    format!("must be {names}, each at most once, separated by commas, with the prefix \"-\" for descending order");
                fields.add_violation("order_by", Rule::Unknown, description);
                break;
            }
        }
    }
    orders
}
