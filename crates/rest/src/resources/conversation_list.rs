//! Lists of conversations, and their counts.

use parley_proto::{self as pb, AssigneeFilter, ConversationStatus};
use serde_json::Value as Json;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    errors::ApiError,
    json::{
        self,
        conversation::{Conversation, ListCounts},
        values::{Id, List, Named, one_key},
    },
    lists::{
        pagination::{self, PageMeta, PageWindow, SearchCursor},
        rows,
    },
    openapi::{RouteDescription, describe},
    params::{Params, declaration::choice, fields::ParamReader, timestamps},
};

/// Conversations per page.
pub const PAGE: i32 = 25;
/// Maximum conversations with `updated_within`, which is not paginated: the maximum page size of the service.
const ONE_PAGE: i32 = 1000;
const ROWS_OF_ONE_PAGE: usize = 1000;

pub fn routes() -> ApiRouter {
    const CONVERSATIONS: &str = "/api/v1/accounts/{account_id}/conversations";
    let call = "ConversationsService.ListConversations";
    ApiRouter::new("Conversations")
        .get(
            CONVERSATIONS,
            list,
            pagination::page_params(filtered(describe("listConversations", call)))
                .query::<String>("sort_by")
                .query::<i64>("updated_within")
                .returns::<Data<List<PageMeta<ListCounts, SearchCursor>, Vec<Conversation>>>>(),
        )
        .get(
            &format!("{CONVERSATIONS}/meta"),
            counts,
            filtered(describe("countConversations", call)).returns::<Meta<ListCounts>>(),
        )
}

/// Describes the parameters that filter conversations.
pub(crate) fn filtered(description: RouteDescription) -> RouteDescription {
    description
        .query::<String>("status")
        .query::<AssigneeType>("assignee_type")
        .query::<Id>("inbox_id")
        .query::<Id>("contact_id")
        .query::<Id>("team_id")
        .query::<Vec<String>>("labels")
        .query::<String>("q")
        .query::<ConversationType>("conversation_type")
        .query::<String>("source_id")
}

choice!(AssigneeType, ["me", "unassigned", "assigned", "all"]);
choice!(ConversationType, ["mention", "participating", "unattended"]);

one_key!(Data { data });

one_key!(Meta { meta });

async fn list(call: Call, params: Params) -> ApiResult {
    let (found, window, request) = find(&call, &params, true).await?;
    let conversations: Vec<_> = found.conversations.into_iter().map(Conversation::from).collect();
    let complete = params.fields().has_value("q").then_some(found.complete);
    let meta = PageMeta {
        meta: ListCounts::from(found.counts),
        cursor: window.search_cursor(&found.next_page_token, complete),
    };
    let frame = |payload| Data {
        data: List { meta, payload },
    };
    let first = (conversations, window.cut(found.next_page_token));
    Ok(rows::paginated(first, window.rows, frame, move |page_token, size| {
        let request = pb::ListConversationsRequest {
            page_token,
            page_size: size.try_into().unwrap_or(ONE_PAGE),
            skip: 0,
            with_counts: false,
            ..request.clone()
        };
        let (mut client, request) = (call.conversations(), call.request(request));
        async move {
            let page = client.list_conversations(request).await?.into_inner();
            let rows = page.conversations.into_iter().map(Conversation::from);
            Ok((rows.collect(), page.next_page_token))
        }
    }))
}

async fn counts(call: Call, params: Params) -> ApiResult {
    let (found, ..) = find(&call, &params, false).await?;
    Ok(json::ok(&Meta {
        meta: ListCounts::from(found.counts),
    }))
}

/// Fetches a page of the conversations that match the parameters.
pub(crate) async fn find(
    call: &Call,
    params: &Params,
    with_rows: bool,
) -> Result<(pb::ListConversationsResponse, PageWindow, pb::ListConversationsRequest), ApiError> {
    let mut fields = params.fields();
    let filter = filter(&mut fields);
    let account_id = fields.account();
    let mut window = PageWindow::read(&mut fields, PAGE);
    call.authorize_error(account_id, fields.finish()).await?;
    let mut request = match filter {
        Filter::Some(request) => request,
        Filter::Nothing => {
            call.authorize(account_id).await?;
            let none = pb::ListConversationsResponse {
                counts: Some(pb::ConversationCounts::default()),
                complete: true,
                ..Default::default()
            };
            return Ok((none, window, pb::ListConversationsRequest::default()));
        }
    };
    (request.skip, request.page_size) = (window.skip, window.size);
    request.page_token.clone_from(&window.token);
    request.with_counts = window.counts() || !with_rows;
    if !with_rows {
        (request.skip, request.page_size, window.rows) = (0, 1, 0);
        request.page_token.clear();
    } else if request.updated_since.is_some() && !fields.has_value("per_page") {
        (request.skip, request.page_size, window.rows) = (0, ONE_PAGE, ROWS_OF_ONE_PAGE);
    }
    let mut found = call
        .conversations()
        .list_conversations(call.request((*request).clone()))
        .await?
        .into_inner();
    found.conversations.truncate(window.rows);
    Ok((found, window, *request))
}

/// The result of parsing the filter parameters.
enum Filter {
    /// The request that finds the matching conversations.
    Some(Box<pb::ListConversationsRequest>),
    /// No conversation matches, because the status is unknown.
    Nothing,
}

fn filter(fields: &mut ParamReader<'_>) -> Filter {
    let text = fields.text("q").unwrap_or_default().trim().to_owned();
    let kind = fields.text("conversation_type").unwrap_or_default();
    // A text search covers all statuses.
    let name = fields
        .text("status")
        .filter(|status| !status.is_empty())
        .unwrap_or_else(|| "open".to_owned());
    let statuses = if !text.is_empty() || name == "all" {
        Vec::new()
    } else if let Some((_, status)) = ConversationStatus::NAMES.iter().find(|(known, _)| *known == name) {
        vec![(*status).into()]
    } else {
        return Filter::Nothing;
    };
    let assignee = match fields.text("assignee_type").as_deref() {
        Some("me") => AssigneeFilter::Me,
        Some("unassigned") => AssigneeFilter::Unassigned,
        Some("assigned") => AssigneeFilter::Assigned,
        _ => AssigneeFilter::Unspecified,
    };
    Filter::Some(Box::new(pb::ListConversationsRequest {
        team_id: fields.id("team_id"),
        account_id: fields.account(),
        order_by: order(fields.raw("sort_by")).to_owned(),
        statuses,
        inbox_ids: fields.id("inbox_id").into_iter().collect(),
        contact_id: fields.id("contact_id"),
        source_id: fields.text("source_id").unwrap_or_default(),
        assignee: assignee.into(),
        labels: fields.texts("labels").unwrap_or_default(),
        text,
        unattended: kind == "unattended",
        participating: kind == "participating",
        mentioned: kind == "mention",
        updated_since: fields.integer("updated_within").filter(|seconds| *seconds > 0).map(timestamps::ago),
        with_counts: true,
        ..Default::default()
    }))
}

fn order(sort_by: Option<&Json>) -> &'static str {
    match sort_by.and_then(Json::as_str).unwrap_or_default() {
        "last_activity_at_asc" => "last_activity_at",
        "created_at_asc" | "sort_on_created_at" => "created_at",
        "created_at_desc" => "-created_at",
        "priority_asc" => "priority",
        "priority_desc" | "sort_on_priority" => "-priority",
        "waiting_since_asc" | "sort_on_waiting_since" => "waiting_since",
        "waiting_since_desc" => "-waiting_since",
        _ => "-last_activity_at",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use parley_proto::ConversationStatus;

    fn chosen(json: Json) -> Filter {
        let Json::Object(map) = json else { panic!("an object") };
        let params = Params { map, ..Default::default() };
        filter(&mut params.fields())
    }

    fn request(json: Json) -> pb::ListConversationsRequest {
        match chosen(json) {
            Filter::Some(request) => *request,
            Filter::Nothing => panic!("no request"),
        }
    }

    #[test]
    fn defaults_to_open_conversations() {
        assert_eq!(request(json!({})).statuses, [i32::from(ConversationStatus::Open)]);
        assert_eq!(request(json!({})).order_by, "-last_activity_at");
        assert!(request(json!({"status": "all"})).statuses.is_empty());
        assert!(request(json!({"status": "resolved", "q": " refund "})).statuses.is_empty());
        assert_eq!(request(json!({"q": " refund "})).text, "refund");
    }

    #[test]
    fn filters() {
        let request = request(json!({
            "inbox_id": "9", "labels": ["vip"], "assignee_type": "me", "conversation_type": "unattended", "sort_by": "sort_on_priority",
            "updated_within": "60",
        }));
        assert_eq!((request.inbox_ids.as_slice(), request.unattended), ([9].as_slice(), true));
        assert_eq!((request.assignee(), request.order_by.as_str()), (AssigneeFilter::Me, "-priority"));
        assert!(request.updated_since.is_some());
    }

    #[test]
    fn unknown_status_matches_nothing() {
        assert!(matches!(chosen(json!({"status": "closed"})), Filter::Nothing));
        assert!(request(json!({"conversation_type": "mention"})).mentioned);
        assert!(request(json!({"conversation_type": "participating"})).participating);
        assert_eq!(request(json!({"team_id": "2"})).team_id, Some(2));
        assert_eq!(request(json!({"contact_id": "3"})).contact_id, Some(3));
        assert_eq!(request(json!({"contact_id": "Asha"})).contact_id, Some(i64::MAX));
    }
}
