//! Builds SQL expressions for custom attributes. Stored values are not validated against the attribute's definition. The expressions
//! therefore treat a value that does not have the attribute's type as missing, so that no cast can fail.

use parley_storage::Dialect;
use sea_orm::sea_query::{Alias, Expr, SimpleExpr};

use super::model::Model;

/// A custom attribute, whose value is stored in the JSON column `custom_attributes`.
#[derive(Clone, Copy, Debug)]
pub struct Attribute<'a> {
    /// The kind of resource that has the attribute.
    pub model: Model,
    /// The SQL dialect in which expressions on the attribute are written.
    pub dialect: Dialect,
    /// The attribute's key. It is bound as a parameter and never interpreted as a path.
    pub key: &'a str,
}

impl Attribute<'_> {
    fn map(&self) -> SimpleExpr {
        let table = match self.model {
            Model::Contact => "contacts",
            Model::Conversation => "conversations",
        };
        Expr::col((Alias::new(table), Alias::new("custom_attributes")))
    }

    /// Returns an SQL expression that tests whether the attribute has a value.
    pub fn present(&self) -> SimpleExpr {
        self.dialect.attribute_present(self.map(), self.key)
    }

    /// Returns an SQL expression for the value as text if it is a string, number or boolean; otherwise, the expression is NULL.
    pub fn text(&self) -> SimpleExpr {
        self.dialect.attribute_text(self.map(), self.key)
    }

    /// Returns an SQL expression for the value as a number if it is a number or a string that contains a decimal number; otherwise, the
    /// expression is NULL.
    pub fn number(&self) -> SimpleExpr {
        self.dialect.attribute_number(self.map(), self.key)
    }

    /// Returns an SQL expression for the first ten characters of a string that begins with a date. Their lexicographic order is the order
    /// of the dates.
    pub fn date(&self) -> SimpleExpr {
        self.dialect.attribute_date(self.map(), self.key)
    }
}
