//! The calls, each with the indexes that it must use.

use parley_proto::{
    AssigneeFilter, ConversationStatus, Filter, FilterCondition, FilterContactsRequest, FilterConversationsRequest, FilterOperator,
    GetCacheKeysRequest, ListContactsRequest, ListConversationsRequest, ListMessagesRequest, SearchContactsRequest, SearchMessagesRequest,
};
use prost_types::{Value, value::Kind};

use super::spans::Spans;
use crate::support::clients::Clients;

/// A call, and the index that each database must use for it. `|` separates alternatives: the planner's choice depends on the latest
/// statistics of the table.
pub struct Ask {
    pub name: String,
    request: Request,
    pub on_sqlite: &'static str,
    pub on_postgres: &'static str,
    /// The index finds few rows, which may be sorted.
    pub sorts_few: bool,
}

enum Request {
    Contacts(ListContactsRequest),
    SearchContacts(SearchContactsRequest),
    FilterContacts(FilterContactsRequest),
    Conversations(ListConversationsRequest),
    FilterConversations(FilterConversationsRequest),
    Messages(ListMessagesRequest),
    SearchMessages(SearchMessagesRequest),
    CacheKeys(GetCacheKeysRequest),
}

impl Ask {
    /// Makes the call under this trace. Returns the number of rows in the response.
    pub async fn call(&self, clients: &Clients, number: u128) -> usize {
        const GOOD: &str = "the request is good";
        let clients = clients.clone();
        let (mut contacts, mut conversations, mut messages) = (clients.contacts, clients.conversations, clients.messages);
        match &self.request {
            Request::Contacts(request) => {
                let answer = contacts.list_contacts(Spans::traced(number, request.clone())).await;
                answer.expect(GOOD).into_inner().contacts.len()
            }
            Request::SearchContacts(request) => {
                let answer = contacts.search_contacts(Spans::traced(number, request.clone())).await;
                answer.expect(GOOD).into_inner().contacts.len()
            }
            Request::FilterContacts(request) => {
                let answer = contacts.filter_contacts(Spans::traced(number, request.clone())).await;
                answer.expect(GOOD).into_inner().contacts.len()
            }
            Request::Conversations(request) => {
                let answer = conversations.list_conversations(Spans::traced(number, request.clone())).await;
                answer.expect(GOOD).into_inner().conversations.len()
            }
            Request::FilterConversations(request) => {
                let answer = conversations.filter_conversations(Spans::traced(number, request.clone())).await;
                answer.expect(GOOD).into_inner().conversations.len()
            }
            Request::Messages(request) => {
                let answer = messages.list_messages(Spans::traced(number, request.clone())).await;
                answer.expect(GOOD).into_inner().messages.len()
            }
            Request::SearchMessages(request) => {
                let answer = messages.search_messages(Spans::traced(number, request.clone())).await;
                answer.expect(GOOD).into_inner().messages.len()
            }
            Request::CacheKeys(request) => {
                let answer = clients.accounts.clone().get_cache_keys(Spans::traced(number, *request)).await;
                usize::from(answer.expect(GOOD).into_inner().cache_keys.is_some())
            }
        }
    }
}

fn equal(key: &str, value: &str) -> Filter {
    compared(key, FilterOperator::EqualTo, value)
}

fn compared(key: &str, operator: FilterOperator, value: &str) -> Filter {
    let value = Value {
        kind: Some(Kind::StringValue(value.to_owned())),
    };
    Filter {
        conditions: vec![FilterCondition {
            attribute_key: key.to_owned(),
            operator: operator.into(),
            values: vec![value],
            ..FilterCondition::default()
        }],
    }
}

/// The calls for an account with this many contacts.
pub fn asks(contacts: i64) -> Vec<Ask> {
    let mut asks = of_contacts();
    asks.extend(of_conversations(contacts));
    asks.extend(of_messages(contacts));
    // A small table on PostgreSQL, which the planner may scan.
    asks.push(ask(
        "cache keys",
        Request::CacheKeys(GetCacheKeysRequest { account_id: 1 }),
        "team_members_account_id_user_id",
        "team_members_account_id_user_id|team_members_pkey|Seq Scan on team_members",
    ));
    asks
}

fn ask(name: &str, request: Request, on_sqlite: &'static str, on_postgres: &'static str) -> Ask {
    Ask {
        name: name.to_owned(),
        request,
        on_sqlite,
        on_postgres,
        sorts_few: false,
    }
}

fn of_few(ask: Ask) -> Ask {
    Ask { sorts_few: true, ..ask }
}

fn of_contacts() -> Vec<Ask> {
    let listed = |order: &str, index| {
        let request = ListContactsRequest {
            account_id: 1,
            order_by: order.to_owned(),
            ..ListContactsRequest::default()
        };
        ask(&format!("contacts by {order:?}"), Request::Contacts(request), index, index)
    };
    let filtered = |key: &str, value: &str, index| {
        let request = FilterContactsRequest {
            account_id: 1,
            filter: Some(equal(key, value)),
            ..FilterContactsRequest::default()
        };
        of_few(ask(
            &format!("contacts filtered by {key}"),
            Request::FilterContacts(request),
            index,
            index,
        ))
    };
    let found = |query: &str| SearchContactsRequest {
        account_id: 1,
        query: query.to_owned(),
        ..SearchContactsRequest::default()
    };
    vec![
        Ask {
            on_postgres: "contacts_named|contacts_pkey",
            ..listed("", "contacts_named")
        },
        listed("name", "contacts_by_name"),
        listed("-name", "contacts_by_name"),
        listed("-last_activity_at", "contacts_by_activity_day"),
        listed("-created_at", "contacts_by_created_at"),
        listed("company", "contacts_by_company"),
        listed("city,-name", "contacts_by_city"),
        of_few(ask(
            "contacts of a label by name",
            Request::Contacts(ListContactsRequest {
                account_id: 1,
                order_by: "name".to_owned(),
                labels: vec!["vip".to_owned()],
                ..ListContactsRequest::default()
            }),
            "labelings_account_id_subject_kind_name",
            "ANY (ARRAY (SELECT",
        )),
        of_few(ask(
            "search of contacts",
            Request::SearchContacts(found("zarathustra")),
            "contact_search VIRTUAL TABLE",
            "",
        )),
        of_few(ask(
            "search of contacts by two characters that few have",
            Request::SearchContacts(found("zA")),
            "contact_pieces VIRTUAL TABLE",
            "contacts_pieces",
        )),
        of_few(ask(
            "search of contacts by one character that few have",
            Request::SearchContacts(found("z")),
            "contact_pieces VIRTUAL TABLE",
            "contacts_pieces",
        )),
        filtered("email", "person4@example4.org", "contacts_account_id_email"),
        filtered("identifier", "crm-5", "contacts_by_identifier"),
        of_few(ask(
            "contacts filtered by labels",
            Request::FilterContacts(FilterContactsRequest {
                account_id: 1,
                filter: Some(equal("labels", "VIP")),
                ..FilterContactsRequest::default()
            }),
            "labelings_folded",
            // All these labels are the same, so PostgreSQL estimates the same cost for both indexes.
            "labelings_folded|labelings_account_id_subject_kind_name",
        )),
        filtered("plan", "gold", "attribute_values_by_value"),
        filtered("country_code", "c7", "attribute_values_by_value"),
        filtered("blocked", "true", "contacts_blocked"),
        of_few(ask(
            "contacts filtered by a number",
            Request::FilterContacts(FilterContactsRequest {
                account_id: 1,
                filter: Some(compared("seats", FilterOperator::IsLessThan, "100")),
                ..FilterContactsRequest::default()
            }),
            "attribute_values_by_number",
            "attribute_values_by_number",
        )),
    ]
}

fn of_conversations(contacts: i64) -> Vec<Ask> {
    let all = ListConversationsRequest {
        account_id: 1,
        ..ListConversationsRequest::default()
    };
    let listed = |name, request, index| ask(name, Request::Conversations(request), index, index);
    let open = ListConversationsRequest {
        statuses: vec![ConversationStatus::Open.into()],
        ..all.clone()
    };
    let mine = ListConversationsRequest {
        assignee: AssigneeFilter::Me.into(),
        ..all.clone()
    };
    let of_inbox = ListConversationsRequest {
        inbox_ids: vec![1],
        ..all.clone()
    };
    let of_contact = ListConversationsRequest {
        contact_id: Some(contacts / 2),
        ..all.clone()
    };
    let filtered = |key: &str, value: &str, index| {
        let request = FilterConversationsRequest {
            account_id: 1,
            filter: Some(equal(key, value)),
            ..FilterConversationsRequest::default()
        };
        ask(
            &format!("conversations filtered by {key}"),
            Request::FilterConversations(request),
            index,
            index,
        )
    };
    let unattended = ListConversationsRequest {
        unattended: true,
        ..all.clone()
    };
    let found = ListConversationsRequest {
        text: "zarathustra".to_owned(),
        ..all.clone()
    };
    let by = |order: &str| ListConversationsRequest {
        order_by: order.to_owned(),
        ..all.clone()
    };
    vec![
        listed("all conversations", all.clone(), "conversations_account_id_activity_hour"),
        listed("open conversations", open.clone(), "conversations_by_status"),
        of_few(listed(
            "open conversations, counted",
            ListConversationsRequest { with_counts: true, ..open },
            "conversations_counted",
        )),
        listed("the caller's conversations", mine, "conversations_by_assignee"),
        Ask {
            on_postgres: "conversations_by_inbox|conversations_account_id_activity_hour",
            ..listed("conversations of an inbox", of_inbox, "conversations_by_inbox")
        },
        of_few(Ask {
            on_postgres: "ANY (ARRAY (SELECT",
            ..listed(
                "conversations of a label",
                ListConversationsRequest {
                    labels: vec!["vip".to_owned()],
                    ..all.clone()
                },
                "labelings_account_id_subject_kind_name",
            )
        }),
        listed("conversations by priority", by("-priority"), "conversations_by_priority"),
        Ask {
            on_postgres: "conversation_waits_account_id_since_conversation_id",
            ..listed("conversations by waiting", by("waiting_since"), "conversations_by_waiting_since")
        },
        of_few(listed(
            "conversations of a contact",
            of_contact,
            "conversations_account_id_contact_id",
        )),
        filtered("status", "snoozed", "conversations_by_status"),
        of_few(filtered("plan", "gold", "attribute_values_by_value")),
        of_few(filtered("country_code", "C7", "attribute_values_by_value")),
        of_few(filtered("priority", "urgent", "conversations_by_priority")),
        of_few(listed("unattended conversations", unattended, "conversations_unanswered")),
        of_few(ask(
            "conversations by a text",
            Request::Conversations(found),
            "message_search VIRTUAL TABLE",
            "message_search_pieces",
        )),
    ]
}

fn of_messages(contacts: i64) -> Vec<Ask> {
    let listed = ListMessagesRequest {
        account_id: 1,
        conversation_id: contacts / 2,
        ..ListMessagesRequest::default()
    };
    // A match beyond the newest messages, which are scanned one after another.
    let found = SearchMessagesRequest {
        account_id: 1,
        text: "zarathustra".to_owned(),
        page_size: 1000,
        ..SearchMessagesRequest::default()
    };
    vec![
        ask(
            "messages of a conversation",
            Request::Messages(listed),
            "messages_account_id_conversation_id",
            "messages_account_id_conversation_id",
        ),
        of_few(ask(
            "search of messages",
            Request::SearchMessages(found),
            "message_search VIRTUAL TABLE",
            "message_search_pieces",
        )),
    ]
}
