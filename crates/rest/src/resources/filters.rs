//! `contacts/filter` and `conversations/filter`: converts JSON conditions to filters of the contract.

use parley_proto::{self as pb, FilterJoiner, FilterOperator};
use schemars::JsonSchema;
use serde_json::{Value as Json, json};

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    errors::ApiError,
    json::{
        conversation::{Conversation, Counts},
        values::{Any, List, Name, Named},
    },
    lists::{
        pagination::{self, PageMeta, PageWindow},
        rows,
    },
    openapi::describe,
    params::{Params, attributes::to_value, declaration::choice, fields::ParamReader},
    resources::contact_list,
};

/// The names of operators. An unknown name is sent as unspecified.
impl Named for FilterOperator {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("equal_to", Self::EqualTo),
        ("not_equal_to", Self::NotEqualTo),
        ("contains", Self::Contains),
        ("does_not_contain", Self::DoesNotContain),
        ("is_present", Self::IsPresent),
        ("is_not_present", Self::IsNotPresent),
        ("is_greater_than", Self::IsGreaterThan),
        ("is_less_than", Self::IsLessThan),
        ("days_before", Self::DaysBefore),
        ("starts_with", Self::StartsWith),
    ];
}

/// 2^53: doubles represent all integers up to it exactly.
const EXACT: u64 = 9_007_199_254_740_992;

pub fn routes() -> ApiRouter {
    const ACCOUNT: &str = "/api/v1/accounts/{account_id}";
    ApiRouter::new("Filters")
        .post(
            &format!("{ACCOUNT}/contacts/filter"),
            filter_contacts,
            contact_list::paged(describe("filterContacts", "ContactsService.FilterContacts"))
                .required_body::<Vec<FilterCondition>>("payload")
                .reads(),
        )
        .post(
            &format!("{ACCOUNT}/conversations/filter"),
            filter_conversations,
            pagination::page_params(describe("filterConversations", "ConversationsService.FilterConversations"))
                .required_body::<Vec<FilterCondition>>("payload")
                .reads()
                .returns::<List<PageMeta<Counts>, Vec<Conversation>>>(),
        )
}

choice!(QueryOperator, ["AND", "OR"]);

/// One condition of a filter.
#[derive(JsonSchema)]
#[allow(dead_code)] // the schema of what `read` reads
struct FilterCondition {
    /// Attribute to compare, such as `email`, `status` or the key of a custom attribute.
    attribute_key: String,
    /// Comparison.
    filter_operator: Name<FilterOperator>,
    /// Values to compare with.
    #[schemars(default)]
    values: Vec<Any>,
    /// How the condition is joined to the next one; null on the last one.
    query_operator: Option<QueryOperator>,
}

async fn filter_contacts(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let account_id = fields.account();
    let window = PageWindow::read(&mut fields, contact_list::PAGE);
    let order_by = contact_list::order(&mut fields);
    call.authorize_error(account_id, fields.finish()).await?;
    let filter = read(&fields);
    call.authorize_error(account_id, filter.as_ref().map(drop).map_err(Clone::clone))
        .await?;
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
    let found = found.map_err(|status| ApiError::from_filter(&status))?.into_inner();
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

async fn filter_conversations(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let account_id = fields.account();
    let window = PageWindow::read(&mut fields, crate::resources::conversation_list::PAGE);
    call.authorize_error(account_id, fields.finish()).await?;
    let filter = read(&fields);
    call.authorize_error(account_id, filter.as_ref().map(drop).map_err(Clone::clone))
        .await?;
    let request = pb::FilterConversationsRequest {
        account_id,
        filter: filter.ok(),
        page_size: window.size,
        page_token: window.token.clone(),
        skip: window.skip,
        with_counts: window.counts(),
    };
    let found = call.conversations().filter_conversations(call.request(request.clone())).await;
    let mut found = found.map_err(|status| ApiError::from_filter(&status))?.into_inner();
    found.conversations.truncate(window.rows);
    let meta = PageMeta {
        meta: Counts::from(found.counts),
        cursor: window.cursor(&found.next_page_token),
    };
    let conversations: Vec<_> = found.conversations.into_iter().map(Conversation::from).collect();
    let first = (conversations, window.cut(found.next_page_token));
    let frame = |payload| List { meta, payload };
    Ok(rows::paginated(first, window.rows, frame, move |page_token, size| {
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
            let rows = page.conversations.into_iter().map(Conversation::from);
            Ok((rows.collect(), page.next_page_token))
        }
    }))
}

/// Parses the conditions. As in Chatwoot, all query operators are validated first; the service validates the rest.
pub(crate) fn read(fields: &ParamReader<'_>) -> Result<pb::Filter, ApiError> {
    let Some(Json::Array(payload)) = fields.raw("payload") else {
        return Err(ApiError::missing("payload"));
    };
    let joiners = payload.iter().map(|condition| joiner(condition.get("query_operator")));
    let joiners = joiners.collect::<Option<Vec<_>>>().ok_or_else(ApiError::bad_query_operator)?;
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
    let known = FilterOperator::NAMES.iter().find(|(known, _)| *known == name);
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
