//! Searches in texts of records.

use sea_orm::{
    Condition, EntityTrait, ExprTrait, QueryFilter, Select,
    sea_query::{CaseStatement, Expr, Func, LikeExpr, SimpleExpr},
};

use crate::page::Sort;

/// A condition for a column that contains `text`, ignoring case. If `first` is set, the column must start with it.
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

/// Selects the rows in which the name or the other text contains `text`, ignoring case: first those whose name begins with it, then those
/// whose name contains it, then the others. All rows by id if `text` is empty.
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
