//! Filters find what a direct evaluation of their rules finds, and report errors in the order that clients expect.

mod custom;
mod partition;
mod plain;
mod sample;

use std::collections::BTreeMap;

use prost_types::{Struct, Value, value::Kind};
use serde_json::{Value as Json, json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use custom::indexed_attribute_filters_match_a_scan;
use partition::{label_filters_ignore_case, opposite_operators_partition_the_contacts};
use plain::{Case, contact_row, conversation_row, matches};
use sample::{CONTACT_KEYS, CONVERSATION_KEYS, filters, sampled};

use crate::{
    contacts::update,
    support::{api_fixture::ApiFixture, app::TestApp, database::Backend, fault::assert_refused, on_both},
};

on_both!(
    contact_filters_match_a_direct_evaluation,
    conversation_filters_match_a_direct_evaluation,
    first_reported_filter_error_matches_chatwoot,
    filtered_lists_are_paged,
    indexed_attribute_filters_match_a_scan,
    opposite_operators_partition_the_contacts,
    label_filters_ignore_case,
    filter_values_are_not_executed_as_sql
);

use FilterOperator::{Contains, EqualTo, IsLessThan, IsPresent};
use parley_proto::{
    Contact, CreateContactRequest, CreateConversationRequest, Filter, FilterCondition, FilterContactsRequest, FilterConversationsRequest,
    FilterConversationsResponse, FilterJoiner, FilterOperator, UpdateConversationLabelsRequest, UpdateConversationPriorityRequest,
};

fn value(json: &Json) -> Value {
    let kind = match json {
        Json::Null | Json::Array(_) | Json::Object(_) => Kind::NullValue(0),
        Json::Bool(bool) => Kind::BoolValue(*bool),
        Json::Number(number) => Kind::NumberValue(number.as_f64().expect("a double")),
        Json::String(text) => Kind::StringValue(text.clone()),
    };
    Value { kind: Some(kind) }
}

fn filter(cases: &[Case]) -> Filter {
    let last = cases.len() - 1;
    let conditions = cases.iter().enumerate().map(|(nth, (key, operator, values, or))| FilterCondition {
        attribute_key: (*key).to_owned(),
        operator: (*operator).into(),
        values: values.iter().map(value).collect(),
        joiner: match (nth == last, or) {
            (true, _) => FilterJoiner::Unspecified,
            (_, true) => FilterJoiner::Or,
            (_, false) => FilterJoiner::And,
        }
        .into(),
    });
    Filter {
        conditions: conditions.collect(),
    }
}

async fn people(fixture: &ApiFixture) {
    for nth in 0..16_usize {
        let of = |period: usize, phase: usize| nth % period == phase;
        let mut additional = BTreeMap::new();
        let mut put = |key: &str, value: &str| additional.insert(key.to_owned(), super::filters::value(&json!(value)));
        if !of(4, 0) {
            put("city", ["Porto", "Pune", "100% Porto"][nth % 3]);
        }
        if of(3, 1) {
            put("company", "Acme");
            put("country_code", if of(2, 0) { "PT" } else { "in" });
        }
        let request = CreateContactRequest {
            account_id: 1,
            name: ["Ana", "ana_b", "Bo!na", "a\\b", "O'Ana %"][nth % 5].to_owned() + &format!(" {nth}"),
            email: Some(format!("p{nth}@example.org")).filter(|_| !of(5, 0)),
            phone_number: Some(format!("+3519111111{nth:02}")).filter(|_| !of(3, 2)),
            identifier: Some(format!("Crm-{nth}")).filter(|_| of(2, 0)),
            blocked: of(7, 3),
            additional_attributes: Some(Struct { fields: additional }),
            inbox_id: Some(1),
            ..CreateContactRequest::default()
        };
        let made = fixture
            .clients
            .contacts
            .clone()
            .create_contact(request)
            .await
            .expect("made")
            .into_inner();
        let labels: Vec<String> = [("vip", 2), ("Lead", 3)]
            .iter()
            .filter(|(_, period)| of(*period, 0))
            .map(|(name, _)| (*name).to_owned())
            .collect();
        let labelled = Contact {
            id: made.contact.expect("always set").id,
            labels,
            ..Contact::default()
        };
        update(fixture, labelled, &["labels"]).await.expect("labelled");
    }
}

async fn filtered_contacts(fixture: &ApiFixture, filter: Option<Filter>) -> Result<Vec<Contact>, Status> {
    let request = FilterContactsRequest {
        account_id: 1,
        filter,
        page_size: 1000,
        with_total_size: true,
        ..FilterContactsRequest::default()
    };
    let answer = fixture.clients.contacts.clone().filter_contacts(request).await?.into_inner();
    assert_eq!(
        answer.total_size,
        i64::try_from(answer.contacts.len()).ok(),
        "the count is that of the list"
    );
    Ok(answer.contacts)
}

async fn contact_filters_match_a_direct_evaluation(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    people(&fixture).await;
    let all = filtered_contacts(&fixture, None).await.expect("all of them");
    assert!(all.len() > 12, "those who can be named");
    let mut found_some = 0;
    for cases in sampled(&filters(CONTACT_KEYS), 200) {
        let wanted: Vec<i64> = all
            .iter()
            .filter(|contact| matches(&contact_row(contact), &cases, true))
            .map(|contact| contact.id)
            .collect();
        let found = filtered_contacts(&fixture, Some(filter(&cases))).await.expect("these are right");
        let found: Vec<i64> = found.iter().map(|contact| contact.id).collect();
        assert_eq!(found, wanted, "{cases:?}");
        found_some += usize::from(!found.is_empty() && found.len() < all.len());
    }
    assert!(found_some > 50, "only {found_some} filters told some from others");
}

async fn talks(fixture: &ApiFixture) {
    for nth in 0..12_i32 {
        let person = fixture.person("Ana").await;
        let mut additional = BTreeMap::new();
        if nth % 2 == 0 {
            additional.insert("browser_language".to_owned(), value(&json!(if nth % 4 == 0 { "en" } else { "EN" })));
        }
        if nth % 3 == 0 {
            additional.insert("referer".to_owned(), value(&json!("https://example.org/A")));
        }
        let request = CreateConversationRequest {
            account_id: 1,
            source_id: Some(person.source),
            status: nth % 4 + 1,
            assignee_id: (nth % 3 == 1).then_some(1),
            additional_attributes: Some(Struct { fields: additional }),
            ..CreateConversationRequest::default()
        };
        let made = fixture
            .clients
            .conversations
            .clone()
            .create_conversation(request)
            .await
            .expect("made")
            .into_inner();
        let conversation_id = made.conversation.expect("always set").id;
        if nth % 2 == 1 {
            let request = UpdateConversationPriorityRequest {
                account_id: 1,
                conversation_id,
                priority: nth % 4 + 1,
                ..Default::default()
            };
            fixture
                .clients
                .conversations
                .clone()
                .update_conversation_priority(request)
                .await
                .expect("set");
        }
        if nth % 5 > 1 {
            let labels = if nth % 5 == 2 {
                vec!["vip".to_owned()]
            } else {
                vec!["vip".to_owned(), "Lead".to_owned()]
            };
            let request = UpdateConversationLabelsRequest {
                account_id: 1,
                conversation_id,
                labels,
                ..Default::default()
            };
            fixture
                .clients
                .conversations
                .clone()
                .update_conversation_labels(request)
                .await
                .expect("set");
        }
    }
}

async fn filtered_conversations(fixture: &ApiFixture, filter: Option<Filter>) -> Result<FilterConversationsResponse, Status> {
    let request = FilterConversationsRequest {
        account_id: 1,
        filter,
        page_size: 1000,
        with_counts: true,
        ..FilterConversationsRequest::default()
    };
    Ok(fixture
        .clients
        .conversations
        .clone()
        .filter_conversations(request)
        .await?
        .into_inner())
}

async fn conversation_filters_match_a_direct_evaluation(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    talks(&fixture).await;
    let all = filtered_conversations(&fixture, None).await.expect("all of them").conversations;
    assert_eq!(all.len(), 12);
    assert!(all.is_sorted_by_key(|conversation| {
        let at = conversation.last_activity_at.expect("always set");
        (-at.seconds, -at.nanos)
    }));
    let mut found_some = 0;
    for cases in sampled(&filters(CONVERSATION_KEYS), 200) {
        let wanted: Vec<i64> = all
            .iter()
            .filter(|talk| matches(&conversation_row(talk), &cases, false))
            .map(|talk| talk.id)
            .collect();
        let found = filtered_conversations(&fixture, Some(filter(&cases)))
            .await
            .expect("these are right");
        let ids: Vec<i64> = found.conversations.iter().map(|talk| talk.id).collect();
        assert_eq!(ids, wanted, "{cases:?}");
        let counts = found.counts.expect("asked for");
        let mine = found.conversations.iter().filter(|talk| talk.assignee.is_some()).count();
        assert_eq!(
            (usize::try_from(counts.all), usize::try_from(counts.mine)),
            (Ok(ids.len()), Ok(mine)),
            "{cases:?}"
        );
        found_some += usize::from(!ids.is_empty() && ids.len() < all.len());
    }
    assert!(found_some > 50, "only {found_some} filters told some from others");
}

/// The error message of the JSON API.
fn sentence<T: std::fmt::Debug>(result: Result<T, Status>) -> String {
    let status = result.expect_err("it must be refused");
    let details = status.get_error_details();
    let bad = details.bad_request().expect("bad fields are named");
    bad.field_violations[0].description.clone()
}

async fn first_reported_filter_error_matches_chatwoot(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let contacts = async |cases: &[Case]| sentence(filtered_contacts(&fixture, Some(filter(cases))).await);
    let conversations = async |cases: &[Case]| sentence(filtered_conversations(&fixture, Some(filter(cases))).await);
    assert_eq!(
        conversations(&[("status", Contains, vec![], false)]).await,
        "Invalid operator. The allowed operators for status are [equal_to,not_equal_to]."
    );
    assert_eq!(
        contacts(&[("phone_number", IsPresent, vec![], false)]).await,
        "Invalid operator. The allowed operators for phone_number are [equal_to,not_equal_to,contains,does_not_contain,starts_with]."
    );
    assert_eq!(
        conversations(&[("status", EqualTo, vec![], false)]).await,
        "Invalid value. The values provided for status are invalid"
    );
    assert_eq!(
        contacts(&[("foo", EqualTo, vec![], false)]).await,
        "Invalid value. The values provided for foo are invalid",
        "values come before keys"
    );
    assert_eq!(
        contacts(&[("foo", EqualTo, vec![json!(1)], false)]).await,
        "Invalid attribute key - [foo]. The key should be one of [name,phone_number,email,identifier,country_code,city,company,labels,\
         created_at,last_activity_at,blocked] or a custom attribute defined in the account."
    );
    assert_eq!(
        conversations(&[("foo", EqualTo, vec![json!(1)], false)]).await,
        "Invalid attribute key - [foo]. The key should be one of [status,assignee_id,inbox_id,team_id,priority,display_id,campaign_id,\
         labels,browser_language,conversation_language,country_code,referer,created_at,last_activity_at,mail_subject,contact_id] or a custom \
         attribute defined in the account."
    );
    let mut unjoined = filter(&[("foo", EqualTo, vec![], false), ("status", EqualTo, vec![json!("open")], false)]);
    unjoined.conditions[0].joiner = 0;
    let query_operator = "Query operator must be either \"AND\" or \"OR\".";
    assert_eq!(
        sentence(filtered_conversations(&fixture, Some(unjoined)).await),
        query_operator,
        "before everything else"
    );
    let mut dangling = filter(&[("status", EqualTo, vec![json!("open")], false)]);
    dangling.conditions[0].joiner = FilterJoiner::And.into();
    let fault = assert_refused(
        filtered_conversations(&fixture, Some(dangling)).await,
        Code::InvalidArgument,
        "INVALID_FIELD",
    );
    assert!(fault.fields.contains("filter.conditions[0].joiner: INVALID"), "{fault:?}");
    for (key, bad) in [
        ("status", json!("nope")),
        ("assignee_id", json!("x")),
        ("created_at", json!("2024-02-30")),
        ("priority", json!(true)),
    ] {
        let operator = if key == "created_at" { IsLessThan } else { EqualTo };
        let told = conversations(&[(key, operator, vec![bad], false)]).await;
        assert_eq!(told, format!("Invalid value. The values provided for {key} are invalid"));
    }
}

async fn filtered_lists_are_paged(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    people(&fixture).await;
    let cases: [Case; 1] = [("name", Contains, vec![json!("a")], false)];
    let all = filtered_contacts(&fixture, Some(filter(&cases))).await.expect("all of them");
    let mut found: Vec<i64> = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = FilterContactsRequest {
            account_id: 1,
            filter: Some(filter(&cases)),
            page_size: 3,
            page_token,
            order_by: "city,-name".to_owned(),
            ..FilterContactsRequest::default()
        };
        let answer = fixture
            .clients
            .contacts
            .clone()
            .filter_contacts(request)
            .await
            .expect("a page")
            .into_inner();
        assert!(answer.contacts.len() <= 3);
        found.extend(answer.contacts.iter().map(|contact| contact.id));
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let mut wanted: Vec<i64> = all.iter().map(|contact| contact.id).collect();
    wanted.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, wanted, "each once");
}

async fn filter_values_are_not_executed_as_sql(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    people(&fixture).await;
    let all = filtered_contacts(&fixture, None).await.expect("all of them").len();
    for text in [
        "' OR '1'='1",
        "'; DROP TABLE contacts; --",
        "\") OR 1=1 --",
        "$1",
        "?",
        "\\",
        "%' ESCAPE '!",
    ] {
        for operator in [EqualTo, Contains] {
            let found = filtered_contacts(&fixture, Some(filter(&[("name", operator, vec![json!(text)], false)])))
                .await
                .expect("a text");
            assert!(found.len() < all, "{text} is sought and not run");
        }
        let key = filter(&[("name", EqualTo, vec![json!("x")], false)]).conditions.remove(0);
        let key = FilterCondition {
            attribute_key: text.to_owned(),
            ..key
        };
        let refused = filtered_contacts(&fixture, Some(Filter { conditions: vec![key] })).await;
        assert_refused(refused, Code::InvalidArgument, "INVALID_FIELD");
    }
    assert_eq!(filtered_contacts(&fixture, None).await.expect("all of them").len(), all);
}
