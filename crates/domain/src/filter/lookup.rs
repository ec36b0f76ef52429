//! Builds index lookups for conditions. A lookup is a query that returns the ids of all resources that match a condition, and possibly of a
//! few others. If a condition is selective, the list is restricted to these ids, and the condition then decides which of them match.

use parley_storage::entity::contact;
use sea_orm::sea_query::{Alias, Expr, ExprTrait as _, Func, Query, SelectStatement, SimpleExpr, UnionType};

use super::{
    Definition, Display, Model,
    Operator::{self, Contains, DaysBefore, EqualTo, IsGreaterThan, IsLessThan, IsPresent},
    keys::Kind,
    test::{Comparison, lower},
    value,
};
use crate::filter::has_label::those;

/// The source of an attribute value, as stored in the table `attribute_values`.
#[derive(Clone, Copy)]
enum Source {
    Custom = 1,
    Additional = 2,
    /// Not a value, but a marker for a resource that has more custom attributes than the table stores for one resource.
    More = 3,
}

/// The maximum number of characters of a key in the table `attribute_values`. Values in the table are truncated to the same length.
const LONGEST: usize = 255;

impl Comparison<'_> {
    /// Returns a query for the ids of all resources that can match a condition on a standard attribute, if an index can answer it.
    pub fn among_standard(&self, kind: Kind, condition: &SimpleExpr) -> Option<SelectStatement> {
        let is_indexed = match kind {
            Kind::Labels => return self.labelled(),
            Kind::Additional(key, _) => return self.among_additional(key),
            Kind::Time(column) => return Some(self.subjects(self.about(column)?)),
            Kind::Priority if self.operator == EqualTo => {
                let indexed = self.column("priority").cast_as("bigint");
                return Some(self.subjects(indexed.is_in(self.priorities()?.into_iter().map(i64::from))));
            }
            // The index on `blocked` covers only blocked contacts, so it cannot find contacts that are not blocked.
            Kind::Blocked => {
                let is_asked = value::flag(self.values.first()?)? == (self.operator == EqualTo);
                return is_asked.then(|| self.subjects(self.column("blocked")));
            }
            Kind::Id(_) => matches!(self.operator, EqualTo | IsPresent),
            Kind::Number | Kind::Email | Kind::Phone | Kind::Text(_) => self.operator == EqualTo,
            Kind::Status | Kind::Priority | Kind::Never => false,
        };
        is_indexed.then(|| self.subjects(condition.clone()))
    }

    /// Returns a query for the ids of all resources that can match a condition on a custom attribute, if an index can answer it.
    pub fn among_custom(&self, definition: &Definition) -> Option<SelectStatement> {
        let key = definition.key.as_str();
        if self.negated() || self.operator == Operator::IsNotPresent || key.chars().count() > LONGEST {
            return None;
        }
        let (value, number) = (Expr::col(Alias::new("value")), Expr::col(Alias::new("number")));
        let all = self.values_of(Source::Custom, key);
        let first = self.values.first();
        let bound = match (definition.display, self.operator) {
            (_, IsPresent | Contains) => return Some(self.or_more(all)),
            (Display::Text, _) => self.beside(value, beginning(&value::text(first?)?)),
            (Display::Checkbox, _) => value.eq(value::flag(first?)?.to_string()),
            (Display::Number, _) => {
                let with = Expr::value(value::number(first?)?);
                number.clone().is_not_null().and(self.beside(number, with))
            }
            (Display::Date, DaysBefore) => value.lt(value::days_before(first?, self.context.now)?.to_string()),
            (Display::Date, IsGreaterThan) => value.gte(value::day(first?)?.to_string()),
            (Display::Date, IsLessThan) => value.lt(value::day(first?)?.to_string()),
            // Match values that begin with the day. The upper bound replaces the last digit by a colon, which sorts after every digit.
            (Display::Date, _) => {
                let day = value::day(first?)?.to_string();
                let end = format!("{}:", &day[..day.len() - 1]);
                value.clone().gte(day).and(value.lt(end))
            }
        };
        Some(self.or_more(all.clone().and_where(bound).take()))
    }

    /// Adds the resources that have more attributes than the table stores, because any of them could match.
    fn or_more(&self, mut found: SelectStatement) -> SelectStatement {
        found.union(UnionType::All, self.values_of(Source::More, "")).take()
    }

    /// Applies the operator to a value in the table. Strict comparisons also match equal values, because the stored value may be truncated.
    fn beside(&self, value: SimpleExpr, with: SimpleExpr) -> SimpleExpr {
        match self.operator {
            IsGreaterThan => value.gte(with),
            IsLessThan => value.lte(with),
            _ => value.eq(with),
        }
    }

    fn among_additional(&self, key: &'static str) -> Option<SelectStatement> {
        let all = self.values_of(Source::Additional, key);
        match self.operator {
            Contains => Some(all),
            EqualTo => {
                let texts = self.compared().iter().map(value::text).collect::<Option<Vec<_>>>()?;
                let texts = texts.iter().map(|text| beginning(text));
                Some(all.clone().and_where(Expr::col(Alias::new("value")).is_in(texts)).take())
            }
            _ => None,
        }
    }

    fn values_of(&self, source: Source, key: &str) -> SelectStatement {
        let column = |name: &'static str| Expr::col(Alias::new(name));
        Query::select()
            .column(Alias::new("subject_id"))
            .from(Alias::new("attribute_values"))
            .and_where(column("account_id").eq(self.context.account.0))
            .and_where(column("subject_kind").eq(self.subject() as i16))
            .and_where(column("source").eq(source as i16))
            .and_where(column("key").eq(key))
            .take()
    }

    fn labelled(&self) -> Option<SelectStatement> {
        let mut labelled = those(self.context.account, self.subject(), None);
        match self.operator {
            IsPresent => {}
            EqualTo => drop(labelled.and_where(self.is_label(Expr::col(Alias::new("name")))?)),
            _ => return None,
        }
        Some(labelled)
    }

    /// Returns a query for the ids of the contacts or conversations that match a condition.
    fn subjects(&self, condition: SimpleExpr) -> SelectStatement {
        let mut all = Query::select()
            .expr(self.column("id"))
            .from(self.table())
            .and_where(self.column("account_id").eq(self.context.account.0))
            .and_where(condition)
            .take();
        if self.context.model == Model::Contact {
            // Filtered lists contain only resolved contacts, and the partial indexes have the same condition.
            all.cond_where(contact::is_resolved());
        }
        all
    }
}

/// Returns an SQL expression for the beginning of a string, in lower case and truncated to the length that the table `attribute_values`
/// stores.
fn beginning(text: &str) -> SimpleExpr {
    Func::cust("substr")
        .args([lower(Expr::value(text)), Expr::value(1), Expr::value(255)])
        .into()
}
