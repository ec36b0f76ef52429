//! The calls that are timed.

use parley_proto::{
    self as pb, FilterJoiner,
    FilterOperator::{self, Contains, EqualTo, IsGreaterThan, IsLessThan},
    contacts_service_client::ContactsServiceClient,
    conversations_service_client::ConversationsServiceClient,
    messages_service_client::MessagesServiceClient,
};
use prost_types::{Value, value::Kind};
use tonic::transport::Channel;

use crate::support::server::authorized;

/// Panic message of a failed call.
const VALID: &str = "the request is valid";

/// The clients of one service.
#[derive(Clone, Debug)]
pub struct Clients {
    contacts: ContactsServiceClient<Channel>,
    conversations: ConversationsServiceClient<Channel>,
    messages: MessagesServiceClient<Channel>,
}

impl Clients {
    pub fn new(channel: Channel) -> Self {
        Self {
            contacts: ContactsServiceClient::new(channel.clone()),
            conversations: ConversationsServiceClient::new(channel.clone()),
            messages: MessagesServiceClient::new(channel),
        }
    }
}

/// A call with its name in the table.
#[derive(Debug)]
pub struct Query {
    pub name: String,
    request: Request,
}

#[derive(Debug)]
enum Request {
    Contacts(pb::ListContactsRequest),
    Search(pb::SearchContactsRequest),
    FilterContacts(pb::FilterContactsRequest),
    Conversations(pb::ListConversationsRequest),
    FilterConversations(pb::FilterConversationsRequest),
    Messages(pb::ListMessagesRequest),
    SearchMessages(pb::SearchMessagesRequest),
}

impl Query {
    /// Makes the call and returns the number of rows in the response.
    pub async fn call(&self, clients: &Clients) -> usize {
        let clients = clients.clone();
        let (mut contacts, mut conversations, mut messages) = (clients.contacts, clients.conversations, clients.messages);
        match &self.request {
            Request::Contacts(request) => {
                let response = contacts.list_contacts(authorized(request.clone())).await;
                response.expect(VALID).into_inner().contacts.len()
            }
            Request::Search(request) => {
                let response = contacts.search_contacts(authorized(request.clone())).await;
                response.expect(VALID).into_inner().contacts.len()
            }
            Request::FilterContacts(request) => {
                let response = contacts.filter_contacts(authorized(request.clone())).await;
                response.expect(VALID).into_inner().contacts.len()
            }
            Request::Conversations(request) => {
                let response = conversations.list_conversations(authorized(request.clone())).await;
                response.expect(VALID).into_inner().conversations.len()
            }
            Request::FilterConversations(request) => {
                let response = conversations.filter_conversations(authorized(request.clone())).await;
                response.expect(VALID).into_inner().conversations.len()
            }
            Request::SearchMessages(request) => {
                let response = messages.search_messages(authorized(request.clone())).await;
                response.expect(VALID).into_inner().messages.len()
            }
            Request::Messages(request) => {
                let response = messages.list_messages(authorized(request.clone())).await;
                response.expect(VALID).into_inner().messages.len()
            }
        }
    }
}

fn text(text: &str) -> Value {
    Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    }
}

fn filter(conditions: &[(&str, FilterOperator, &str)]) -> pb::Filter {
    let last = conditions.len() - 1;
    let conditions = conditions
        .iter()
        .enumerate()
        .map(|(nth, (key, operator, value))| pb::FilterCondition {
            attribute_key: (*key).to_owned(),
            operator: (*operator).into(),
            values: vec![text(value)],
            joiner: if nth == last {
                FilterJoiner::Unspecified
            } else {
                FilterJoiner::And
            }
            .into(),
        });
    pb::Filter {
        conditions: conditions.collect(),
    }
}

fn query(name: impl Into<String>, request: Request) -> Query {
    Query {
        name: name.into(),
        request,
    }
}

/// Returns all calls for an account with `contacts` contacts.
pub async fn all(clients: &Clients, contacts: i64) -> Vec<Query> {
    let mut queries = contact_queries();
    for order in ["name", "-last_activity_at"] {
        queries.push(middle_page(clients, contacts, order).await);
    }
    queries.extend(contact_searches());
    queries.extend(conversation_queries(contacts));
    queries.extend(text_queries());
    queries.extend(message_queries(contacts));
    queries
}

fn text_queries() -> Vec<Query> {
    let found = |text: &str, with_counts| {
        Request::Conversations(pb::ListConversationsRequest {
            account_id: 1,
            text: text.to_owned(),
            with_counts,
            ..Default::default()
        })
    };
    let texts = [
        ("one message in a thousand", "zarathustra"),
        ("all messages", "replacement"),
        ("no message", "no such words"),
        ("two characters", "zz"),
    ];
    let of = |(what, text): (&str, &str)| {
        [
            query(format!("conversations by text, {what}"), found(text, false)),
            query(format!("conversations by text, {what}, counted"), found(text, true)),
        ]
    };
    texts.into_iter().flat_map(of).collect()
}

fn message_queries(contacts: i64) -> Vec<Query> {
    let search = |text: &str, contact_id| {
        Request::SearchMessages(pb::SearchMessagesRequest {
            account_id: 1,
            text: text.to_owned(),
            contact_id,
            ..Default::default()
        })
    };
    vec![
        query(
            "search of messages, one in a thousand (\"zarathustra\")",
            search("zarathustra", None),
        ),
        query("search of messages, all match (\"replacement\")", search("replacement", None)),
        query("search of messages, no match", search("no such words", None)),
        query("search of messages, of a contact", search("replacement", Some(contacts / 2))),
        query("search of messages, two characters", search("zz", None)),
    ]
}

/// Waits until the message index includes all generated messages.
pub async fn wait_until_indexed(clients: &Clients) {
    let everywhere = pb::SearchMessagesRequest {
        account_id: 1,
        text: "replacement".to_owned(),
        ..Default::default()
    };
    loop {
        let response = clients.messages.clone().search_messages(authorized(everywhere.clone())).await;
        // The search covers all messages, so the response reports whether the index is complete; a search limited to one contact does not
        // use the index.
        if response.is_ok_and(|response| response.into_inner().complete) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}

fn list_contacts_request(order: &str) -> pb::ListContactsRequest {
    pb::ListContactsRequest {
        account_id: 1,
        order_by: order.to_owned(),
        ..Default::default()
    }
}

fn contact_queries() -> Vec<Query> {
    let mut queries = vec![query("contacts, by id", Request::Contacts(list_contacts_request("")))];
    let orders = [
        "name",
        "-name",
        "email",
        "phone_number",
        "-last_activity_at",
        "-created_at",
        "company",
        "-city",
        "country",
        "city,-name",
    ];
    for order in orders {
        queries.push(query(
            format!("contacts, by {order}"),
            Request::Contacts(list_contacts_request(order)),
        ));
    }
    let labelled = pb::ListContactsRequest {
        labels: vec!["vip".to_owned()],
        ..list_contacts_request("name")
    };
    queries.push(query("contacts, of a label that 1 % have, by name", Request::Contacts(labelled)));
    let counted = pb::ListContactsRequest {
        with_total_size: true,
        ..list_contacts_request("")
    };
    queries.push(query("contacts, counted", Request::Contacts(counted)));
    queries
}

/// Requests a page in the middle of the list, by its token.
async fn middle_page(clients: &Clients, contacts: i64, order: &str) -> Query {
    let mut request = pb::ListContactsRequest {
        page_size: 1000,
        ..list_contacts_request(order)
    };
    for _ in 0..contacts / 2000 {
        let page = clients.contacts.clone().list_contacts(authorized(request.clone())).await;
        request.page_token = page.expect("the request is valid").into_inner().next_page_token;
    }
    request.page_size = 0;
    query(
        format!("contacts, by {order}, the middle page by its token"),
        Request::Contacts(request),
    )
}

fn contact_searches() -> Vec<Query> {
    let search = |query: &str, with_total_size| {
        Request::Search(pb::SearchContactsRequest {
            account_id: 1,
            query: query.to_owned(),
            with_total_size,
            ..Default::default()
        })
    };
    let filtered = |conditions: &[(&str, FilterOperator, &str)]| {
        Request::FilterContacts(pb::FilterContactsRequest {
            account_id: 1,
            filter: Some(filter(conditions)),
            ..Default::default()
        })
    };
    vec![
        query("search of contacts, one match", search("person4711@", false)),
        query("search of contacts, one match, counted", search("person4711@", true)),
        query("search of contacts, no match", search("no such person", false)),
        query("search of contacts, many matches (\"Ana\")", search("Ana", false)),
        query(
            "search of contacts, two characters that one in 500 has (\"za\")",
            search("za", false),
        ),
        query(
            "search of contacts, two characters that one in 500 has, counted",
            search("za", true),
        ),
        query("search of contacts, two characters that many have (\"an\")", search("an", false)),
        query("search of contacts, two characters without a match", search("zz", false)),
        query(
            "filter of contacts, e-mail",
            filtered(&[("email", EqualTo, "person4711@example11.org")]),
        ),
        query(
            "filter of contacts, piece of a name",
            filtered(&[("name", Contains, "zarathustra")]),
        ),
        query("filter of contacts, identifier", filtered(&[("identifier", EqualTo, "crm-4713")])),
        query(
            "filter of contacts, label and day",
            filtered(&[("labels", EqualTo, "vip"), ("created_at", IsGreaterThan, "2020-01-01")]),
        ),
        query(
            "filter of contacts, an attribute that 99 % have",
            filtered(&[("plan", EqualTo, "basic")]),
        ),
        query(
            "filter of contacts, an attribute that 1 % have",
            filtered(&[("plan", EqualTo, "gold")]),
        ),
        query(
            "filter of contacts, an attribute that no contact has",
            filtered(&[("plan", EqualTo, "platinum")]),
        ),
        query(
            "filter of contacts, a number that 2 in 1,000 have",
            filtered(&[("seats", IsLessThan, "100")]),
        ),
        query(
            "filter of contacts, country code (5 in 1,000)",
            filtered(&[("country_code", EqualTo, "c7")]),
        ),
        query(
            "filter of contacts, blocked (2 in 1,000)",
            filtered(&[("blocked", EqualTo, "true")]),
        ),
        query(
            "filter of contacts, last active before all others",
            filtered(&[("last_activity_at", IsLessThan, "2025-01-05")]),
        ),
    ]
}

fn conversation_queries(contacts: i64) -> Vec<Query> {
    let list = pb::ListConversationsRequest {
        account_id: 1,
        ..Default::default()
    };
    let open = pb::ListConversationsRequest {
        statuses: vec![pb::ConversationStatus::Open.into()],
        ..list.clone()
    };
    let ordered = |order: &str| pb::ListConversationsRequest {
        order_by: order.to_owned(),
        ..list.clone()
    };
    let filtered = |conditions: &[(&str, FilterOperator, &str)]| {
        Request::FilterConversations(pb::FilterConversationsRequest {
            account_id: 1,
            filter: Some(filter(conditions)),
            ..Default::default()
        })
    };
    let messages = pb::ListMessagesRequest {
        account_id: 1,
        conversation_id: contacts / 2,
        ..Default::default()
    };
    let mine = pb::ListConversationsRequest {
        assignee: pb::AssigneeFilter::Me.into(),
        ..list.clone()
    };
    let unattended = pb::ListConversationsRequest {
        unattended: true,
        ..list.clone()
    };
    let labelled = pb::ListConversationsRequest {
        labels: vec!["vip".to_owned()],
        ..list.clone()
    };
    let of_contact = pb::ListConversationsRequest {
        contact_id: Some(contacts / 2),
        ..list.clone()
    };
    let of_session = pb::ListConversationsRequest {
        source_id: "source-4711".to_owned(),
        ..list.clone()
    };
    let counted = pb::ListConversationsRequest {
        with_counts: true,
        ..open.clone()
    };
    vec![
        query("conversations, all", Request::Conversations(list.clone())),
        query("conversations, open (6 %)", Request::Conversations(open)),
        query("conversations, the caller's (5 %)", Request::Conversations(mine)),
        query("conversations, of a label that 1 % have", Request::Conversations(labelled)),
        query("conversations, of a contact", Request::Conversations(of_contact)),
        query("conversations, of a session", Request::Conversations(of_session)),
        query("conversations, by created_at", Request::Conversations(ordered("created_at"))),
        query("conversations, by -priority", Request::Conversations(ordered("-priority"))),
        query("conversations, by waiting_since", Request::Conversations(ordered("waiting_since"))),
        query("conversations, open, counted", Request::Conversations(counted)),
        query(
            "filter of conversations, snoozed (1 %)",
            filtered(&[("status", EqualTo, "snoozed")]),
        ),
        query("filter of conversations, number", filtered(&[("display_id", EqualTo, "4711")])),
        query(
            "filter of conversations, open and assigned",
            filtered(&[("status", EqualTo, "open"), ("assignee_id", EqualTo, "1")]),
        ),
        query(
            "filter of conversations, an attribute that 1 % have",
            filtered(&[("plan", EqualTo, "gold")]),
        ),
        query(
            "filter of conversations, an attribute that no conversation has",
            filtered(&[("plan", EqualTo, "platinum")]),
        ),
        query(
            "filter of conversations, country code and a number",
            filtered(&[("country_code", EqualTo, "C7"), ("seats", IsLessThan, "25000")]),
        ),
        query(
            "filter of conversations, urgent (2.5 %)",
            filtered(&[("priority", EqualTo, "urgent")]),
        ),
        query(
            "filter of conversations, last active before all others",
            filtered(&[("last_activity_at", IsLessThan, "2025-01-05")]),
        ),
        query("conversations, unattended (1.5 %)", Request::Conversations(unattended)),
        query("messages of a conversation", Request::Messages(messages)),
    ]
}
