//! Each operator and its opposite partition the contacts.

use std::collections::BTreeSet;

use parley_proto::{
    Contact,
    FilterOperator::{Contains, DoesNotContain, EqualTo, IsNotPresent, IsPresent, NotEqualTo},
};
use serde_json::{Value as Json, json};

use super::{CONTACT_KEYS, contact_row, filter, filtered_contacts, people};
use crate::{
    contacts::update,
    support::{app::TestApp, database::Backend},
};

fn read(spelled: &str) -> Json {
    serde_json::from_str(spelled).unwrap_or_else(|_| json!(spelled))
}

/// For a standard attribute, contacts without a value match neither operator, as in Chatwoot. Labels are a list, which every contact has.
pub async fn opposite_operators_partition_the_contacts(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    people(&fixture).await;
    let all = filtered_contacts(&fixture, None).await.expect("all of them");
    for (key, operators, values) in CONTACT_KEYS {
        let has_value: BTreeSet<i64> = all
            .iter()
            .filter(|contact| *key == "labels" || contact_row(contact).contains_key(key))
            .map(|contact| contact.id)
            .collect();
        for value in *values {
            for (operator, opposite) in [(EqualTo, NotEqualTo), (Contains, DoesNotContain), (IsPresent, IsNotPresent)] {
                if !operators.contains(&operator) {
                    continue;
                }
                let mut halves = Vec::new();
                for operator in [operator, opposite] {
                    let asked = filter(&[(key, operator, vec![read(value)], false)]);
                    let found = filtered_contacts(&fixture, Some(asked)).await.expect("a filter");
                    halves.push(found.iter().map(|contact| contact.id).collect::<BTreeSet<i64>>());
                }
                assert!(halves[0].is_disjoint(&halves[1]), "{key} {operator:?} {value}");
                let both: BTreeSet<i64> = halves[0].union(&halves[1]).copied().collect();
                assert_eq!(both, has_value, "{key} {operator:?} {value}");
            }
        }
    }
}

pub async fn label_filters_ignore_case(backend: Backend) {
    for (on, switch) in [(true, ""), (false, "label_case")] {
        let app = TestApp::builder(backend).env("PARLEY_FAULT_SWITCH", switch).start().await;
        let (fixture, http) = (app.fixture(), app.http());
        // A filtered list omits contacts that have neither an email address nor a phone number.
        let known = async |name: &str| -> i64 {
            let made = http
                .post("/contacts", &json!({"name": name, "email": format!("{name}@example.org")}))
                .await;
            made["payload"]["contact"]["id"].as_i64().expect("an id")
        };
        let (gil, other) = (known("gil").await, known("ana").await);
        let labelled = Contact {
            id: gil,
            labels: vec!["Gold".to_owned()],
            ..Contact::default()
        };
        update(&fixture, labelled, &["labels"]).await.expect("labelled");
        for value in ["Gold", "gold", "GOLD"] {
            let ids = async |operator: &str| -> Vec<i64> {
                let condition = json!({"attribute_key": "labels", "filter_operator": operator, "values": [value], "query_operator": null});
                let found = http.post("/contacts/filter", &json!({"payload": [condition]})).await;
                let found = found["payload"].as_array().expect("contacts").iter();
                let mut ids: Vec<i64> = found.filter_map(|contact| contact["id"].as_i64()).collect();
                ids.sort_unstable();
                ids
            };
            let (equal, differ) = (ids("equal_to").await, ids("not_equal_to").await);
            assert_eq!(equal == [gil] && differ == [other], on, "{value}: {equal:?} and {differ:?}");
            let asked = filter(&[("labels", EqualTo, vec![json!(value)], false)]);
            let found = filtered_contacts(&fixture, Some(asked)).await.expect("a filter");
            assert_eq!(found.iter().map(|contact| contact.id).eq([gil]), on, "{value}");
        }
    }
}
