//! Generated filters, the same in every run.

use parley_proto::FilterOperator::{
    self, Contains, DoesNotContain, EqualTo, IsGreaterThan, IsLessThan, IsNotPresent, IsPresent, NotEqualTo, StartsWith,
};
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, RngSeed, TestRunner},
};
use serde_json::{Value as Json, json};

use super::plain::Case;

/// Generates filters from these keys, each with its operators and values.
pub fn filters(keys: &'static [(&'static str, &'static [FilterOperator], &'static [&'static str])]) -> impl Strategy<Value = Vec<Case>> {
    let case = prop::sample::select(keys).prop_flat_map(|(key, operators, values)| {
        let values = prop::collection::vec(prop::sample::select(values).prop_map(read), 1..3);
        (Just(key), prop::sample::select(operators), values, any::<bool>())
    });
    prop::collection::vec(case, 1..4).prop_map(|mut cases| {
        if let Some(last) = cases.last_mut() {
            last.3 = false;
        }
        cases
    })
}

/// Parses `7` and `true` as JSON; everything else is a string.
fn read(spelled: &str) -> Json {
    serde_json::from_str(spelled).unwrap_or_else(|_| json!(spelled))
}

/// Samples a strategy with a fixed seed, so that every run uses the same values.
pub fn sampled<S: Strategy>(strategy: &S, count: usize) -> Vec<S::Value> {
    let config = Config {
        rng_seed: RngSeed::Fixed(7),
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let mut sample = || strategy.new_tree(&mut runner).expect("nothing is refused").current();
    (0..count).map(|_| sample()).collect()
}

const PIECES: &[FilterOperator] = &[EqualTo, NotEqualTo, Contains, DoesNotContain];
const PHONES: &[FilterOperator] = &[EqualTo, NotEqualTo, Contains, DoesNotContain, StartsWith];
const EQUALITY: &[FilterOperator] = &[EqualTo, NotEqualTo];
const PRESENCE: &[FilterOperator] = &[EqualTo, NotEqualTo, IsPresent, IsNotPresent];
const TIMES: &[FilterOperator] = &[IsGreaterThan, IsLessThan];

/// Keys of contacts, with values that match some contacts and not others.
pub const CONTACT_KEYS: &[(&str, &[FilterOperator], &[&str])] = &[
    ("name", PIECES, &["ana", "Ana 3", " NA ", "%", "a_a", "!", "\\", "'"]),
    ("email", PIECES, &["p1@example.org", "P2@EXAMPLE.ORG", "p", "example.org "]),
    ("phone_number", PHONES, &["+351911111113", "351911111114", "+351", "13"]),
    ("identifier", EQUALITY, &["CRM-4", "crm-5", "crm"]),
    ("country_code", EQUALITY, &["pt", "IN"]),
    ("city", PIECES, &["porto", "Pune", "u", "por"]),
    ("company", PIECES, &["acme", "ACM", "x%"]),
    ("labels", PRESENCE, &["vip", "lead", "VIP", "LEAD"]),
    ("created_at", TIMES, &["2020-01-01", "2999-01-01"]),
    ("last_activity_at", TIMES, &["2020-01-01", "2999-01-01"]),
    ("blocked", EQUALITY, &["true", "false"]),
];

/// Keys of conversations, with values that match some conversations and not others.
pub const CONVERSATION_KEYS: &[(&str, &[FilterOperator], &[&str])] = &[
    ("status", EQUALITY, &["open", "resolved", "pending", "snoozed", "all"]),
    ("priority", EQUALITY, &["low", "urgent"]),
    ("assignee_id", PRESENCE, &["1", "2"]),
    ("inbox_id", PRESENCE, &["1", "7"]),
    ("campaign_id", PRESENCE, &["1"]),
    ("display_id", PIECES, &["1", "3", "12"]),
    ("labels", PRESENCE, &["vip", "lead", "Lead"]),
    ("browser_language", EQUALITY, &["\"en\"", "\"EN\""]),
    ("referer", PIECES, &["https://example.org/A", "example", "/a"]),
    ("created_at", TIMES, &["2020-01-01", "2999-01-01"]),
];
