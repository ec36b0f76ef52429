//! `contacts/filter` and `conversations/filter`: converts JSON conditions to filters of the contract.

use parley_proto::{self as pb, FilterJoiner, FilterOperator};
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
        about,
        schema::{Schema, anything, choice, list, names, object, text},
    },
    params::{Params, attributes::to_value, fields::Fields},
    resources::contact_list,
};

/// The names of operators. An unknown name is sent as unspecified.
const OPERATORS: [(&str, FilterOperator); 10] = [
    ("equal_to", FilterOperator::EqualTo),
    ("not_equal_to", FilterOperator::NotEqualTo),
    ("contains", FilterOperator::Contains),
    ("does_not_contain", FilterOperator::DoesNotContain),
    ("is_present", FilterOperator::IsPresent),
    ("is_not_present", FilterOperator::IsNotPresent),
    ("is_greater_than", FilterOperator::IsGreaterThan),
    ("is_less_than", FilterOperator::IsLessThan),
    ("days_before", FilterOperator::DaysBefore),
    ("starts_with", FilterOperator::StartsWith),
];

/// 2^53: doubles represent all integers up to it exactly.
const EXACT: u64 = 9_007_199_254_740_992;

pub fn routes() -> Door {
    const ACCOUNT: &str = "/api/v1/accounts/{account_id}";
    let page = object()
        .key("meta", paging::told(json::conversation::counts_without_assigned_schema()))
        .key("payload", list(json::conversation::schema()));
    Door::new("Filters")
        .post(
            &format!("{ACCOUNT}/contacts/filter"),
            filter_contacts,
            contact_list::paged(about("filterContacts", "ContactsService.FilterContacts"))
                .needs("payload", list(condition()))
                .reads(),
        )
        .post(
            &format!("{ACCOUNT}/conversations/filter"),
            filter_conversations,
            paging::taken(about("filterConversations", "ConversationsService.FilterConversations"))
                .needs("payload", list(condition()))
                .reads()
                .answers(page),
        )
}

/// The schema of a condition in a request.
fn condition() -> Schema {
    object()
        .key("attribute_key", text())
        .key("filter_operator", names(&OPERATORS))
        .optional("values", list(anything()))
        .optional("query_operator", choice(&["AND", "OR"]).or_null())
        .open()
        .named("FilterCondition")
}

async fn filter_contacts(call: Call, params: Params) -> Answer {
    let mut fields = params.fields();
    let account_id = fields.account();
    let window = Window::read(&mut fields, contact_list::PAGE);
    let order_by = contact_list::order(&mut fields);
    call.admit(account_id, fields.verdict()).await?;
    let filter = read(&fields);
    call.admit(account_id, filter.as_ref().map(drop).map_err(Clone::clone)).await?;
    let request = pb::FilterContactsRequest {
        account_id,
        filter: filter.ok(),
        page_size: window.size,
        page_token: window.token.clone(),
        skip: window.skip,
        order_by,
        with_total_size: window.counts(),
    };
    let found = call.contacts().filter_contacts(call.request(request.clone())).await;
    let found = found.map_err(|status| Failure::of_filter(&status))?.into_inner();
    let first = (found.contacts, found.next_page_token);
    Ok(contact_list::page(
        &fields,
        &window,
        found.total_size,
        first,
        move |page_token, page_size| {
            let request = pb::FilterContactsRequest {
                page_token,
                page_size,
                skip: 0,
                with_total_size: false,
                ..request.clone()
            };
            let (mut client, request) = (call.contacts(), call.request(request));
            async move {
                let page = client.filter_contacts(request).await?.into_inner();
                Ok((page.contacts, page.next_page_token))
            }
        },
    ))
}

async fn filter_conversations(call: Call, params: Params) -> Answer {
    let mut fields = params.fields();
    let account_id = fields.account();
    let window = Window::read(&mut fields, crate::resources::conversation_list::PAGE);
    call.admit(account_id, fields.verdict()).await?;
    let filter = read(&fields);
    call.admit(account_id, filter.as_ref().map(drop).map_err(Clone::clone)).await?;
    let request = pb::FilterConversationsRequest {
        account_id,
        filter: filter.ok(),
        page_size: window.size,
        page_token: window.token.clone(),
        skip: window.skip,
        with_counts: window.counts(),
    };
    let found = call.conversations().filter_conversations(call.request(request.clone())).await;
    let mut found = found.map_err(|status| Failure::of_filter(&status))?.into_inner();
    found.conversations.truncate(window.rows);
    let mut meta = json::conversation::counts_without_assigned(found.counts.as_ref());
    window.tell(&mut meta, &found.next_page_token);
    let conversations: Vec<_> = found.conversations.iter().map(json::conversation::conversation).collect();
    let first = (conversations, window.cut(found.next_page_token));
    let frame = |rows| json!({ "meta": meta, "payload": rows });
    Ok(rows::go_on(first, window.rows, frame, move |page_token, size| {
        let request = pb::FilterConversationsRequest {
            page_token,
            page_size: size.try_into().unwrap_or_default(),
            skip: 0,
            with_counts: false,
            ..request.clone()
        };
        let (mut client, request) = (call.conversations(), call.request(request));
        async move {
            let page = client.filter_conversations(request).await?.into_inner();
            let shown = page.conversations.iter().map(json::conversation::conversation);
            Ok((shown.collect(), page.next_page_token))
        }
    }))
}

/// Parses the conditions. As in Chatwoot, all query operators are validated first; the service validates the rest.
pub(crate) fn read(fields: &Fields<'_>) -> Result<pb::Filter, Failure> {
    let Some(Json::Array(payload)) = fields.raw("payload") else {
        return Err(Failure::missing("payload"));
    };
    let joiners = payload.iter().map(|condition| joiner(condition.get("query_operator")));
    let joiners = joiners.collect::<Option<Vec<_>>>().ok_or_else(Failure::bad_query_operator)?;
    let conditions = payload.iter().zip(joiners).map(|(condition, joiner)| pb::FilterCondition {
        attribute_key: spelled(condition.get("attribute_key")),
        operator: operator(condition.get("filter_operator")).into(),
        values: match condition.get("values") {
            None | Some(Json::Null) => Vec::new(),
            Some(Json::Array(values)) => values.iter().map(value).collect(),
            Some(single) => vec![value(single)],
        },
        joiner: joiner.into(),
    });
    Ok(pb::Filter {
        conditions: conditions.collect(),
    })
}

fn joiner(sent: Option<&Json>) -> Option<FilterJoiner> {
    match sent {
        None | Some(Json::Null) => Some(FilterJoiner::Unspecified),
        Some(Json::String(name)) if name.eq_ignore_ascii_case("and") => Some(FilterJoiner::And),
        Some(Json::String(name)) if name.eq_ignore_ascii_case("or") => Some(FilterJoiner::Or),
        Some(_) => None,
    }
}

fn operator(sent: Option<&Json>) -> FilterOperator {
    let name = sent.and_then(Json::as_str).unwrap_or_default();
    let known = OPERATORS.iter().find(|(known, _)| *known == name);
    known.map_or(FilterOperator::Unspecified, |(_, operator)| *operator)
}

fn spelled(sent: Option<&Json>) -> String {
    match sent {
        None | Some(Json::Null) => String::new(),
        Some(Json::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Converts a value of a condition. Integers that a double cannot represent exactly are sent as text, which the service parses where it
/// expects a number. Lists and objects are sent as null, which equals no attribute.
fn value(sent: &Json) -> prost_types::Value {
    match sent {
        Json::Array(_) | Json::Object(_) => to_value(&Json::Null),
        Json::Number(number)
            if number
                .as_i64()
                .map(i64::unsigned_abs)
                .or(number.as_u64())
                .is_some_and(|size| size > EXACT) =>
        {
            to_value(&json!(number.to_string()))
        }
        other => to_value(other),
    }
}
