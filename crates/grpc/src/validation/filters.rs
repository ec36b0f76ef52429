//! Converts filters in requests to domain conditions. `parley_domain::filter` validates the conditions and reports their violations in
//! order.

use parley_domain::filter::{Joiner, Operator, RequestedCondition};
use parley_proto::{self as pb, FilterJoiner, FilterOperator, value::json_of};
use parley_types::error::Rule;

use super::fields::Validator;

/// Converts the conditions of a filter. An absent filter has no conditions.
pub fn read(fields: &mut Validator, filter: Option<pb::Filter>) -> Vec<RequestedCondition> {
    let conditions = filter.unwrap_or_default().conditions;
    conditions
        .into_iter()
        .enumerate()
        .map(|(nth, condition)| one(fields, nth, condition))
        .collect()
}

fn one(fields: &mut Validator, nth: usize, condition: pb::FilterCondition) -> RequestedCondition {
    let mut values = Vec::with_capacity(condition.values.len());
    for value in &condition.values {
        match json_of(value) {
            Ok(json) => values.push(json),
            Err(_) => fields.add_violation(
                &format!("filter.conditions[{nth}].values"),
                Rule::NotExact,
                "must be finite numbers",
            ),
        }
    }
    RequestedCondition {
        operator: operator(condition.operator()),
        joiner: match condition.joiner() {
            FilterJoiner::Unspecified => None,
            FilterJoiner::And => Some(Joiner::And),
            FilterJoiner::Or => Some(Joiner::Or),
        },
        key: condition.attribute_key,
        values,
    }
}

fn operator(operator: FilterOperator) -> Option<Operator> {
    Some(match operator {
        FilterOperator::Unspecified => return None,
        FilterOperator::EqualTo => Operator::EqualTo,
        FilterOperator::NotEqualTo => Operator::NotEqualTo,
        FilterOperator::Contains => Operator::Contains,
        FilterOperator::DoesNotContain => Operator::DoesNotContain,
        FilterOperator::IsPresent => Operator::IsPresent,
        FilterOperator::IsNotPresent => Operator::IsNotPresent,
        FilterOperator::IsGreaterThan => Operator::IsGreaterThan,
        FilterOperator::IsLessThan => Operator::IsLessThan,
        FilterOperator::DaysBefore => Operator::DaysBefore,
        FilterOperator::StartsWith => Operator::StartsWith,
    })
}
