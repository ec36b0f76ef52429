//! Searches for records that contain a given text.

use sea_orm::{
    Condition, EntityTrait, ExprTrait, QueryFilter, Select,
    sea_query::{CaseStatement, Expr, Func, LikeExpr, SimpleExpr},
};

use crate::page::Sort;

/// Returns a condition that matches if the column contains `text`, ignoring case. If `first` is set, the column must start with `text`.
fn has<E: EntityTrait>(column: E::Column, text: &str, first: bool) -> SimpleExpr {
    let mut pattern = String::from(if first { "" } else { "%" });
    for letter in text.to_lowercase().chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    Expr::expr(Func::lower(Expr::col((E::default(), column)))).like(LikeExpr::new(pattern).escape('\\'))
}

/// Selects the rows in which either column contains `text`, ignoring case. Rows whose `name` starts with the text come first, then rows
/// whose `name` contains it, then the others. If `text` is empty, all rows are selected, in the order of their ids.
pub(super) fn best_matches<E: EntityTrait>(rows: Select<E>, [name, other]: [E::Column; 2], text: &str) -> (Select<E>, Sort) {
    let mut sort = Sort::by_id(false);
    if text.is_empty() {
        return (rows, sort);
    }
    let named = has::<E>(name, text, false);
    let nearness = CaseStatement::new()
        .case(has::<E>(name, text, true), 0_i64)
        .case(named.clone(), 1_i64)
        .finally(2_i64);
    sort.by = Some(nearness.into());
    (rows.filter(Condition::any().add(named).add(has::<E>(other, text, false))), sort)
}
