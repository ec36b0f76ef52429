//! Validates filters, which are lists of conditions on attributes, in the order in which Chatwoot reports errors, and translates each
//! filter to one SQL condition.
//!
//! Validation and translation have no side effects and do not access the database. The module `keys` defines the standard attributes,
//! `value` validates values, `custom` extracts custom attributes from JSON, and `lookup` selects the indexes. The module `resolve` reads
//! the definitions of custom attributes from the database and probes the selectivity.

mod custom;
pub(crate) mod has_label;
mod keys;
mod lookup;
mod model;
mod operator;
pub(crate) mod resolve;
pub(crate) mod selectivity;
mod test;
mod value;

use parley_types::error::{FieldViolation, Rule};
use sea_orm::{
    Condition,
    sea_query::{SelectStatement, SimpleExpr},
};
use serde_json::Value as Json;

pub use model::{Context, Definition, Display, Model};
pub use operator::Operator;

/// The maximum number of conditions in a filter.
pub const MOST_CONDITIONS: usize = 50;
/// The maximum number of values in a condition.
pub const MOST_VALUES: usize = 100;

/// The maximum number of violations that are reported. The details of an error are sent in headers, whose size is limited.
const MOST_FAULTS: usize = 10;
/// The maximum number of characters of an attribute key that an error message quotes, because errors are sent in headers, whose size is
/// limited.
const MOST_OF_A_KEY: usize = 255;

/// The logical operator that joins a condition with the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joiner {
    /// AND: both of the joined conditions must be true.
    And,
    /// OR: at least one of the joined conditions must be true.
    Or,
}

/// A filter condition as the caller requested it, before validation.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestedCondition {
    /// The key of the attribute to test.
    pub key: String,
    /// The operator; `None` if it is missing or unknown.
    pub operator: Option<Operator>,
    /// The values to compare with.
    pub values: Vec<Json>,
    /// How the condition is joined with the next one; `None` for the last condition.
    pub joiner: Option<Joiner>,
}

/// A filter that has been validated and translated to SQL.
#[derive(Clone, Debug)]
pub struct Filter {
    /// The SQL condition that the filter was translated to.
    pub condition: Condition,
    /// Index lookups for each alternative of the filter; the alternatives are separated by OR. Each query can be answered by an index, and
    /// returns the ids of all resources that match its alternative, and possibly of a few others.
    pub lookups: Vec<Vec<SelectStatement>>,
}

/// Validates and translates conditions. Violations are returned in the order of Chatwoot's checks, so the first violation is the one that
/// Chatwoot would report.
///
/// # Errors
/// Returns the violations, each with the message that clients of the JSON API expect. If there are too many, only the first ones are
/// returned.
pub fn read(context: &Context, given: &[RequestedCondition], definitions: &[Definition]) -> Result<Filter, Vec<FieldViolation>> {
    let mut violations = Vec::new();
    if given.len() > MOST_CONDITIONS {
        let description = format!("must have at most {MOST_CONDITIONS} conditions");
        return Err(vec![FieldViolation::new(
            "filter.conditions",
            Rule::TooMany(MOST_CONDITIONS),
            description,
        )]);
    }
    for (nth, condition) in given.iter().enumerate() {
        if condition.joiner.is_some() == (nth + 1 == given.len()) {
            let rule = if condition.joiner.is_some() {
                Rule::Invalid
            } else {
                Rule::Required
            };
            let description = "Query operator must be either \"AND\" or \"OR\".";
            violations.push(FieldViolation::new(format!("filter.conditions[{nth}].joiner"), rule, description));
        }
    }
    let mut any = Condition::any();
    let mut all = Condition::all();
    let (mut lookups, mut group) = (Vec::new(), Vec::new());
    for (nth, condition) in given.iter().enumerate() {
        match one(context, condition, definitions) {
            Ok((expr, lookup)) => {
                all = all.add(expr);
                group.extend(lookup);
            }
            Err((field, rule, description)) => {
                violations.push(FieldViolation::new(format!("filter.conditions[{nth}].{field}"), rule, description));
            }
        }
        // AND binds more tightly than OR, so conditions that are joined by AND form a group.
        if condition.joiner == Some(Joiner::Or) {
            any = any.add(std::mem::replace(&mut all, Condition::all()));
            lookups.push(std::mem::take(&mut group));
        }
    }
    if !violations.is_empty() {
        violations.truncate(MOST_FAULTS);
        return Err(violations);
    }
    lookups.push(group);
    let condition = if given.is_empty() { Condition::all() } else { any.add(all) };
    Ok(Filter { condition, lookups })
}

/// A translated condition, with the query for its index lookup, if an index can answer it.
type Read = (SimpleExpr, Option<SelectStatement>);

/// Validates and translates one condition. Checks the operator, the values and the key, in this order.
fn one(context: &Context, condition: &RequestedCondition, definitions: &[Definition]) -> Result<Read, (&'static str, Rule, String)> {
    let end = condition
        .key
        .char_indices()
        .nth(MOST_OF_A_KEY)
        .map_or(condition.key.len(), |(at, _)| at);
    let key = &condition.key[..end];
    let standard = keys::find(context.model, key);
    if let Some(standard) = standard
        && condition.operator.is_none_or(|operator| !standard.operators.contains(&operator))
    {
        let allowed: Vec<_> = standard.operators.iter().map(|operator| operator.name()).collect();
        let sentence = format!("Invalid operator. The allowed operators for {key} are [{}].", allowed.join(","));
        return Err(("operator", Rule::Unknown, sentence));
    }
    let operator = condition.operator.unwrap_or(Operator::EqualTo);
    let bad_values = |rule| Err(("values", rule, format!("Invalid value. The values provided for {key} are invalid")));
    if operator.needs_values() && condition.values.is_empty() {
        return bad_values(Rule::Required);
    }
    if condition.values.len() > MOST_VALUES {
        return bad_values(Rule::TooMany(MOST_VALUES));
    }
    let given = test::Comparison {
        context,
        operator,
        values: &condition.values,
    };
    let tested = if let Some(standard) = standard {
        given.standard(standard.kind).map(|expr| {
            let lookup = given.among_standard(standard.kind, &expr);
            (expr, lookup)
        })
    } else if let Some(definition) = definitions.iter().find(|definition| definition.key == condition.key) {
        given.custom(definition).map(|expr| (expr, given.among_custom(definition)))
    } else {
        let known = keys::names(context.model).join(",");
        let sentence =
            format!("Invalid attribute key - [{key}]. The key should be one of [{known}] or a custom attribute defined in the account.");
        return Err(("attribute_key", Rule::Unknown, sentence));
    };
    tested.or_else(|()| bad_values(Rule::Invalid))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sea_orm::{
        ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, QueryTrait as _,
    };
    use serde_json::json;

    use parley_types::{id::AccountId, time::Micros};
    use sea_orm::DbBackend;

    use super::*;
    use parley_storage::{Config, Database, entity::contact};

    const STORED: [&str; 9] = [
        r#"{"plan": "Gold", "seats": 7, "since": "2024-03-01", "happy": true}"#,
        r#"{"plan": "basic", "seats": "12.5", "since": "2024-05-31T10:00:00.000Z", "happy": false}"#,
        r#"{"plan": null, "seats": null, "since": null, "happy": null}"#,
        r"{}",
        r#"{"plan": {"a": 1}, "seats": "1e9", "since": "soon", "happy": "true"}"#,
        r#"{"plan": [1], "seats": "12-5", "since": 5, "happy": "maybe"}"#,
        r#"{"plan": "", "seats": -3, "since": "1999-01-01", "happy": 1}"#,
        r#"{"plan": 7, "seats": "999999999999999999999999999999999999999", "since": "2024-13-45", "happy": {}}"#,
        r#"{"$.plan": "x", "0": "zero", "a\"b": "quote", "plan": "gold plus"}"#,
    ];

    fn definitions() -> Vec<Definition> {
        use Display::{Checkbox, Date, Number, Text};
        let named = [
            ("plan", Text),
            ("seats", Number),
            ("since", Date),
            ("happy", Checkbox),
            ("$.plan", Text),
            ("0", Text),
            ("a\"b", Text),
        ];
        named
            .into_iter()
            .map(|(key, display)| Definition {
                key: key.to_owned(),
                display,
            })
            .collect()
    }

    fn given(key: &str, operator: Operator, value: Json) -> RequestedCondition {
        RequestedCondition {
            key: key.to_owned(),
            operator: Some(operator),
            values: if value.is_null() { Vec::new() } else { vec![value] },
            joiner: None,
        }
    }

    fn context(backend: DbBackend) -> Context {
        Context {
            model: Model::Contact,
            account: AccountId(1),
            dialect: backend.into(),
            // 2024-06-10
            now: Micros(1_718_000_000_000_000),
        }
    }

    /// Returns the contacts that a filter matches, and checks that each lookup contains all of them.
    async fn found(db: &Database, given: RequestedCondition) -> Vec<i64> {
        let filter = read(&context(DbBackend::Sqlite), &[given], &definitions()).expect("nothing is wrong with it");
        let query = contact::Entity::find().select_only().column(contact::Column::Id);
        let query = query.filter(filter.condition).order_by_asc(contact::Column::Id);
        let found: Vec<i64> = query.clone().into_tuple().all(db.read()).await.unwrap();
        for lookup in filter.lookups.concat() {
            let among = query.clone().filter(contact::Column::Id.in_subquery(lookup));
            assert_eq!(among.into_tuple::<i64>().all(db.read()).await.unwrap(), found);
        }
        found
    }

    /// No comparison fails, regardless of the stored values.
    #[tokio::test]
    async fn custom_attributes_compare_by_display_type() {
        use Operator::{
            Contains, DaysBefore, DoesNotContain, EqualTo, IsGreaterThan, IsLessThan, IsNotPresent, IsPresent, NotEqualTo, StartsWith,
        };
        let config = Config {
            url: "sqlite::memory:".to_owned(),
            create: true,
            max_connections: 1,
            alone: 0,
            connect_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(5),
        };
        let db = Database::open(&config).await.unwrap();
        db.migrate().await.unwrap();
        for (stored, id) in STORED.iter().zip(1..) {
            let sql = format!(
                "INSERT INTO contacts (id, account_id, name, email, blocked, additional_attributes, custom_attributes, avatar_url, created_at, \
                 updated_at, version) VALUES ({id}, 1, 'x', 'a{id}@b', 0, '{{}}', '{stored}', '', 0, 0, 0)"
            );
            db.write().execute_unprepared(&sql).await.unwrap();
        }
        let expected: [(&str, Operator, Json, &[i64]); 24] = [
            ("plan", EqualTo, json!("GOLD"), &[1]),
            ("plan", StartsWith, json!("gold"), &[1]),
            ("plan", NotEqualTo, json!("gold"), &[2, 3, 4, 5, 6, 7, 8, 9]),
            ("plan", Contains, json!("OL"), &[1, 9]),
            ("plan", DoesNotContain, json!("ol"), &[2, 7, 8]),
            ("plan", IsPresent, Json::Null, &[1, 2, 5, 6, 7, 8, 9]),
            ("plan", IsNotPresent, Json::Null, &[3, 4]),
            ("plan", EqualTo, json!(7), &[8]),
            ("plan", IsGreaterThan, json!("c"), &[1, 9]),
            ("seats", EqualTo, json!("7"), &[1]),
            ("seats", EqualTo, json!(12.5), &[2]),
            ("seats", IsGreaterThan, json!(-5), &[1, 2, 7]),
            ("seats", IsLessThan, json!(8), &[1, 7]),
            ("seats", NotEqualTo, json!(7), &[2, 3, 4, 5, 6, 7, 8, 9]),
            ("since", EqualTo, json!("2024-05-31"), &[2]),
            ("since", IsGreaterThan, json!("2024-03-01"), &[2, 8]),
            ("since", IsLessThan, json!("2024-03-01"), &[7]),
            ("since", DaysBefore, json!(10), &[1, 7]),
            ("happy", EqualTo, json!("true"), &[1, 5]),
            ("happy", IsGreaterThan, json!(false), &[2]),
            ("happy", NotEqualTo, json!(true), &[2, 3, 4, 6, 7, 8, 9]),
            ("$.plan", EqualTo, json!("x"), &[9]),
            ("0", IsPresent, Json::Null, &[9]),
            ("a\"b", EqualTo, json!("quote"), &[9]),
        ];
        for (key, operator, value, ids) in expected {
            let named = format!("{key} {operator:?} {value}");
            assert_eq!(found(&db, given(key, operator, value)).await, ids, "{named}");
        }
    }

    #[test]
    fn values_and_keys_are_bound_parameters() {
        for backend in [DbBackend::Sqlite, DbBackend::Postgres] {
            let mut all = Vec::new();
            for definition in definitions() {
                let value = match definition.display {
                    Display::Text => json!("it's"),
                    Display::Number => json!(7),
                    Display::Date => json!("2024-01-01"),
                    Display::Checkbox => json!(true),
                };
                all.push(RequestedCondition {
                    joiner: Some(Joiner::And),
                    ..given(&definition.key, Operator::EqualTo, value)
                });
            }
            all.push(given("name", Operator::Contains, json!("it's")));
            let filter = read(&context(backend), &all, &definitions()).expect("nothing is wrong with it");
            let statement = contact::Entity::find().filter(filter.condition).build(backend);
            assert!(
                !statement.sql.contains("it's") && !statement.sql.contains("a\"b"),
                "{}",
                statement.sql
            );
        }
    }

    #[test]
    fn and_binds_tighter_than_or() {
        let named = |name: &str, joiner| RequestedCondition {
            joiner,
            ..given("name", Operator::EqualTo, json!(name))
        };
        let all = [named("a", Some(Joiner::Or)), named("b", Some(Joiner::And)), named("c", None)];
        let filter = read(&context(DbBackend::Postgres), &all, &[]).expect("nothing is wrong with it");
        let sql = contact::Entity::find()
            .filter(filter.condition)
            .build(DbBackend::Postgres)
            .to_string();
        let (_, condition) = sql.split_once("WHERE").expect("a condition");
        assert_eq!(
            condition.replace("\"contacts\".", "").trim(),
            "LOWER(\"name\") IN (LOWER('a')) OR (LOWER(\"name\") IN (LOWER('b')) AND LOWER(\"name\") IN (LOWER('c')))"
        );
    }
}
