//! Custom attributes as SQL expressions. Stored values were never checked against a definition, so a value that is none of the attribute's kind
//! counts as missing: no cast may fail.

use parley_storage::Dialect;
use sea_orm::sea_query::{Alias, Expr, SimpleExpr};

use super::model::Model;

/// An attribute in the column `custom_attributes`.
#[derive(Clone, Copy, Debug)]
pub struct Attribute<'a> {
    /// Whose.
    pub model: Model,
    /// The dialect that its expressions are written in.
    pub dialect: Dialect,
    /// The attribute's key; it is bound, and never a path.
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

    /// Whether there is a value.
    pub fn present(&self) -> SimpleExpr {
        self.dialect.attribute_present(self.map(), self.key)
    }

    /// A text, number or boolean as text.
    pub fn text(&self) -> SimpleExpr {
        self.dialect.attribute_text(self.map(), self.key)
    }

    /// A number, also one that is written as a text.
    pub fn number(&self) -> SimpleExpr {
        self.dialect.attribute_number(self.map(), self.key)
    }

    /// The first ten characters of a text that begins with a date, which sort as dates do.
    pub fn date(&self) -> SimpleExpr {
        self.dialect.attribute_date(self.map(), self.key)
    }
}
