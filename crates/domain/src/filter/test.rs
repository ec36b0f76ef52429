//! Translates one condition to SQL. Values are always bound as parameters and never become part of the statement's text.

use parley_fault::Protection;
use parley_storage::entity::{
    kind::{ConversationStatus, LabelTarget, Priority},
    labeling,
};
use sea_orm::sea_query::{Alias, Expr, ExprTrait as _, Func, Query, SimpleExpr};
use serde_json::Value as Json;

use super::{
    Operator,
    custom::Attribute,
    keys::Kind,
    model::{Context, Definition, Display, Model, Tested},
    value::{self, begins, ends},
};

/// A validated operator with the values to compare with.
#[derive(Clone, Copy)]
pub struct Comparison<'a> {
    /// The context in which the filter is evaluated.
    pub context: &'a Context,
    /// The comparison operator.
    pub operator: Operator,
    /// The values to compare with; not empty unless the operator tests for presence.
    pub values: &'a [Json],
}

const STATUSES: [ConversationStatus; 4] = [
    ConversationStatus::Open,
    ConversationStatus::Resolved,
    ConversationStatus::Pending,
    ConversationStatus::Snoozed,
];
const PRIORITIES: [Priority; 4] = [Priority::Low, Priority::Medium, Priority::High, Priority::Urgent];

pub(super) fn lower(expr: SimpleExpr) -> SimpleExpr {
    Func::lower(expr).into()
}

impl Comparison<'_> {
    /// Translates the comparison to a condition on a standard attribute.
    pub fn standard(&self, kind: Kind) -> Tested {
        match kind {
            Kind::Status => self.status(),
            Kind::Priority => Ok(self.among(self.column("priority"), self.priorities().ok_or(())?)),
            Kind::Id(column) => self.id(self.column(column)),
            Kind::Never => self.id(Expr::value(Option::<i64>::None).cast_as("bigint")),
            Kind::Number => self.number(),
            Kind::Labels => self.labels(),
            Kind::Text(column) => self.text(self.column(column), false),
            Kind::Email => self.email(),
            Kind::Phone => self.phone(),
            Kind::Additional(key, cased) => self.text(self.additional(key), cased),
            Kind::Time(column) => self.time(column),
            Kind::Blocked => {
                let blocked = value::flag(&self.values[0]).ok_or(())?;
                Ok(self.column("blocked").eq(blocked != self.negated()))
            }
        }
    }

    /// Translates the comparison to a condition on a custom attribute. Every operator is accepted; an operator that does not apply to the
    /// attribute's type is treated as equality.
    pub fn custom(&self, definition: &Definition) -> Tested {
        let attribute = Attribute {
            model: self.context.model,
            dialect: self.context.dialect,
            key: &definition.key,
        };
        match self.operator {
            Operator::IsPresent => return Ok(attribute.present()),
            Operator::IsNotPresent => return Ok(attribute.present().not()),
            Operator::Contains | Operator::DoesNotContain => return self.pieces(&attribute.text()),
            _ => {}
        }
        let first = &self.values[0];
        Ok(match definition.display {
            Display::Text => {
                let text = lower(Expr::value(value::text(first).ok_or(())?));
                self.compare(self.context.dialect.bytewise(lower(attribute.text())), text)
            }
            Display::Number => self.compare(attribute.number(), Expr::value(value::number(first).ok_or(())?)),
            Display::Date if self.operator == Operator::DaysBefore => {
                let day = value::days_before(first, self.context.now).ok_or(())?;
                attribute.date().lt(day.to_string())
            }
            Display::Date => self.compare(attribute.date(), Expr::value(value::day(first).ok_or(())?.to_string())),
            Display::Checkbox => {
                let equality = Self {
                    operator: if self.negated() { Operator::NotEqualTo } else { Operator::EqualTo },
                    ..*self
                };
                equality.compare(attribute.text(), Expr::value(value::flag(first).ok_or(())?.to_string()))
            }
        })
    }

    pub(super) fn negated(&self) -> bool {
        matches!(self.operator, Operator::NotEqualTo | Operator::DoesNotContain)
    }

    pub(super) fn table(&self) -> Alias {
        Alias::new(match self.context.model {
            Model::Contact => "contacts",
            Model::Conversation => "conversations",
        })
    }

    pub(super) fn column(&self, column: &'static str) -> SimpleExpr {
        Expr::col((self.table(), Alias::new(column)))
    }

    /// Returns an SQL expression for an additional attribute as text. The key must be a constant, never a value from a request.
    fn additional(&self, key: &'static str) -> SimpleExpr {
        let column = self.column("additional_attributes");
        self.context.dialect.json_field(column, key)
    }

    /// Returns the values to compare with. For contacts, only the first value is compared.
    pub(super) fn compared(&self) -> &[Json] {
        match self.context.model {
            Model::Contact => &self.values[..1],
            Model::Conversation => self.values,
        }
    }

    fn among<V: Into<sea_orm::Value>>(&self, expr: SimpleExpr, values: Vec<V>) -> SimpleExpr {
        if self.negated() {
            expr.is_not_in(values)
        } else {
            expr.is_in(values)
        }
    }

    /// Compares a custom attribute with a value. A missing attribute is unequal to every value.
    fn compare(&self, expr: SimpleExpr, with: SimpleExpr) -> SimpleExpr {
        match self.operator {
            Operator::NotEqualTo => expr.clone().is_null().or(expr.ne(with)),
            Operator::IsGreaterThan => expr.gt(with),
            Operator::IsLessThan => expr.lt(with),
            _ => expr.eq(with),
        }
    }

    fn status(&self) -> Tested {
        let mut numbers = Vec::new();
        for value in self.values {
            let name = value.as_str().ok_or(())?;
            let named = STATUSES.iter().filter(|status| name == "all" || status.name() == name);
            let before = numbers.len();
            numbers.extend(named.map(|status| *status as i16));
            if numbers.len() == before {
                return Err(());
            }
        }
        Ok(self.among(self.column("status"), numbers))
    }

    fn id(&self, expr: SimpleExpr) -> Tested {
        Ok(match self.operator {
            Operator::IsPresent => expr.is_not_null(),
            Operator::IsNotPresent => expr.is_null(),
            _ => {
                let ids = self.values.iter().map(value::integer).collect::<Option<Vec<_>>>();
                self.among(expr, ids.ok_or(())?)
            }
        })
    }

    fn number(&self) -> Tested {
        let column = self.column("id");
        match self.operator {
            Operator::Contains | Operator::DoesNotContain => self.pieces(&column.cast_as("text")),
            _ => self.id(column),
        }
    }

    /// Returns the numbers that the database stores for the requested priorities, or `None` if a name is invalid.
    pub(super) fn priorities(&self) -> Option<Vec<i16>> {
        let number = |name: &str| PRIORITIES.iter().find(|priority| priority.name() == name).map(|it| *it as i16);
        self.values.iter().map(|value| number(value.as_str()?)).collect()
    }

    /// Returns the kind of the resources that are filtered, in the encoding of the tables for labels and attribute values.
    pub(super) fn subject(&self) -> LabelTarget {
        match self.context.model {
            Model::Contact => LabelTarget::Contact,
            Model::Conversation => LabelTarget::Conversation,
        }
    }

    /// Returns a condition that matches if `name`, a stored label, is one of the requested labels. Labels are stored as clients sent them.
    /// Contacts' labels are compared case-insensitively, with both sides converted to lower case by the database. SQLite converts only
    /// ASCII letters, so the requested label is also compared in the lower case that this program computes.
    pub(super) fn is_label(&self, name: SimpleExpr) -> Option<SimpleExpr> {
        let names = self.compared().iter().map(value::text).collect::<Option<Vec<String>>>()?;
        Some(match self.context.model {
            Model::Contact if parley_fault::is_on(Protection::LabelCase) => {
                let spellings = names.iter().flat_map(|asked| [asked.clone(), asked.to_lowercase()]);
                lower(name).is_in(spellings.map(|spelling| lower(Expr::value(spelling))))
            }
            Model::Contact => name.is_in(names.iter().map(|asked| asked.to_lowercase())),
            Model::Conversation => name.is_in(names),
        })
    }

    fn labels(&self) -> Tested {
        let mut labelled = Query::select();
        labelled
            .expr(Expr::val(1))
            .from(labeling::Entity)
            .and_where(Expr::col((labeling::Entity, labeling::Column::AccountId)).eq(self.context.account.0))
            .and_where(Expr::col((labeling::Entity, labeling::Column::SubjectKind)).eq(self.subject() as i16))
            .and_where(Expr::col((labeling::Entity, labeling::Column::SubjectId)).eq(self.column("id")));
        if self.operator.needs_values() {
            let name = Expr::col((labeling::Entity, labeling::Column::Name));
            labelled.and_where(self.is_label(name).ok_or(())?);
        }
        let has = Expr::exists(labelled);
        Ok(match self.operator {
            Operator::NotEqualTo | Operator::IsNotPresent => has.not(),
            _ => has,
        })
    }

    /// Returns a condition on a text value. If `cased` is set, equality is case-sensitive.
    fn text(&self, expr: SimpleExpr, cased: bool) -> Tested {
        if matches!(self.operator, Operator::Contains | Operator::DoesNotContain) {
            return self.pieces(&expr);
        }
        let texts = self.compared().iter().map(value::text).collect::<Option<Vec<_>>>().ok_or(())?;
        Ok(self.equal(expr, texts, cased))
    }

    fn equal(&self, expr: SimpleExpr, texts: Vec<String>, cased: bool) -> SimpleExpr {
        if cased {
            return self.among(expr, texts);
        }
        // The database converts both sides to lower case, so that both are converted by the same rules.
        let texts = texts.into_iter().map(|text| lower(Expr::value(text)));
        if self.negated() {
            lower(expr).is_not_in(texts)
        } else {
            lower(expr).is_in(texts)
        }
    }

    /// Returns a condition on the e-mail address. This program stores addresses in lower case, and converts the requested address in the
    /// same way.
    fn email(&self) -> Tested {
        let column = self.column("email");
        if matches!(self.operator, Operator::Contains | Operator::DoesNotContain) {
            return self.pieces(&column);
        }
        let email = value::text(&self.values[0]).ok_or(())?.to_lowercase();
        Ok(self.among(column, vec![email]))
    }

    /// Returns a condition on the phone number. Numbers are stored with one leading `+`. Forms and query strings often lose or double this
    /// character, so it is normalized.
    fn phone(&self) -> Tested {
        if matches!(self.operator, Operator::Contains | Operator::DoesNotContain) {
            return self.pieces(&self.column("phone_number"));
        }
        let number = value::text(&self.values[0]).ok_or(())?.replace('+', "");
        Ok(self.among(self.column("phone_number"), vec![format!("+{number}")]))
    }

    /// Returns a condition that matches if the text contains any of the values or, if the operator is negated, none of them.
    fn pieces(&self, expr: &SimpleExpr) -> Tested {
        let mut joined: Option<SimpleExpr> = None;
        for value in self.values {
            let piece = value::text(value).ok_or(())?;
            let (text, piece) = (expr.clone(), piece.trim());
            let one = if self.negated() {
                self.context.dialect.does_not_contain(text, piece)
            } else {
                self.context.dialect.contains(text, piece)
            };
            joined = Some(match joined {
                None => one,
                Some(others) if self.negated() => others.and(one),
                Some(others) => others.or(one),
            });
        }
        joined.ok_or(())
    }

    /// Returns the time to compare with, and whether matches are at or after it (true) or before it (false).
    fn moment(&self) -> Option<(bool, i64)> {
        let first = self.values.first()?;
        Some(match self.operator {
            Operator::IsGreaterThan => (true, ends(value::day(first)?).0),
            Operator::IsLessThan => (false, begins(value::day(first)?).0),
            _ => (false, begins(value::days_before(first, self.context.now)?).0),
        })
    }

    fn time(&self, column: &'static str) -> Tested {
        let ((is_after, moment), column) = (self.moment().ok_or(())?, self.column(column));
        Ok(if is_after { column.gte(moment) } else { column.lt(moment) })
    }

    /// Returns a condition on a time that an index can answer. For the last activity, the indexed column contains only the hour or day, so
    /// the condition can match slightly more rows than the exact one.
    pub(super) fn about(&self, column: &'static str) -> Option<SimpleExpr> {
        let (is_after, moment) = self.moment()?;
        let (column, divisor) = match (column, self.context.model) {
            ("last_activity_at", Model::Conversation) => ("activity_hour", 3_600_000_000),
            ("last_activity_at", Model::Contact) => ("activity_day", 86_400_000_000),
            (exact, _) => (exact, 1),
        };
        let (column, bound) = (self.column(column), moment.div_euclid(divisor));
        Some(if is_after { column.gte(bound) } else { column.lte(bound) })
    }
}
