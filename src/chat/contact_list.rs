//! Lists of contacts: sorted, filtered by label, searched.

use sea_orm::{
    ColumnTrait, Condition, DbBackend, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter, Select,
    sea_query::{Expr, Func, Query, SimpleExpr},
};

use crate::{
    chat::{
        Chat,
        caller::Caller,
        page::{self, Page, PageRequest, Sort},
    },
    db::{
        entity::{contact, kind::SubjectKind, labeling},
        joined::ContactSessions,
        load,
    },
    error::Result,
    id::AccountId,
};

/// What a list of contacts is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it
pub enum ContactOrder {
    Id,
    Name,
    Email,
    PhoneNumber,
    LastActivityAt,
    CreatedAt,
    Company,
    City,
    Country,
}

impl ContactOrder {
    /// The order of a name in a request.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "" => Self::Id,
            "name" => Self::Name,
            "email" => Self::Email,
            "phone_number" => Self::PhoneNumber,
            "last_activity_at" => Self::LastActivityAt,
            "created_at" => Self::CreatedAt,
            "company" => Self::Company,
            "city" => Self::City,
            "country" => Self::Country,
            _ => return None,
        })
    }

    fn sort(self, descending: bool) -> Sort {
        use contact::Column;
        let column = |column: Column| Expr::col((contact::Entity, column));
        let (by, text, nullable): (Option<SimpleExpr>, bool, bool) = match self {
            Self::Id => (None, false, false),
            Self::Name => (Some(Func::lower(column(Column::Name)).into()), true, false),
            Self::Email => (Some(column(Column::Email)), true, true),
            Self::PhoneNumber => (Some(column(Column::PhoneNumber)), true, true),
            Self::LastActivityAt => (Some(column(Column::LastActivityAt)), false, true),
            Self::CreatedAt => (Some(column(Column::CreatedAt)), false, false),
            Self::Company => (Some(attribute("company_name")), true, true),
            Self::City => (Some(attribute("city")), true, true),
            Self::Country => (Some(attribute("country")), true, true),
        };
        Sort {
            by,
            coarse: None,
            text,
            nullable,
            descending,
        }
    }
}

/// An additional attribute as text; both databases spell it so.
fn attribute(key: &'static str) -> SimpleExpr {
    Expr::cust(format!("\"contacts\".\"additional_attributes\" ->> '{key}'"))
}

/// Which contacts.
#[derive(Clone, Debug)]
pub struct ContactQuery {
    /// Only those with any of these labels.
    pub labels: Vec<String>,
    /// Only those that hold this text; trimmed, not empty.
    pub text: Option<String>,
    /// The order.
    pub order: ContactOrder,
    /// From the highest to the lowest.
    pub descending: bool,
    /// Whether to count all.
    pub count: bool,
}

impl ContactQuery {
    /// Only contacts who can be named: those with an address, a number or an id elsewhere. Chatwoot calls them resolved.
    fn select(&self, account: AccountId, backend: DbBackend) -> Select<contact::Entity> {
        use contact::Column;
        let present = |column: Column| Condition::all().add(column.is_not_null()).add(column.ne(""));
        let named = Condition::any()
            .add(present(Column::Email))
            .add(present(Column::PhoneNumber))
            .add(present(Column::Identifier));
        let mut query = contact::Entity::find().filter(Column::AccountId.eq(account)).filter(named);
        if !self.labels.is_empty() {
            let mut labelled = Query::select();
            labelled
                .column(labeling::Column::SubjectId)
                .from(labeling::Entity)
                .and_where(Expr::col(labeling::Column::AccountId).eq(account.0))
                .and_where(Expr::col(labeling::Column::SubjectKind).eq(SubjectKind::Contact as i16))
                .and_where(Expr::col(labeling::Column::Name).is_in(self.labels.clone()));
            query = query.filter(Column::Id.in_subquery(labelled));
        }
        if let Some(text) = &self.text {
            let folded = format!("%{}%", text.to_lowercase());
            let holds = |expr: SimpleExpr| Expr::expr(Func::lower(expr)).like(folded.clone());
            let column = |column: Column| Expr::col((contact::Entity, column));
            query = query.filter(
                Condition::any()
                    .add(holds(column(Column::Name)))
                    .add(holds(column(Column::Email)))
                    .add(holds(column(Column::PhoneNumber)))
                    .add(holds(attribute("company_name")))
                    .add(identifier_holds(text, backend)),
            );
        }
        query
    }
}

/// Letter case counts in identifiers, and SQLite's LIKE knows none: there GLOB stands for it, with its own wildcards.
fn identifier_holds(text: &str, backend: DbBackend) -> SimpleExpr {
    let column = Expr::col((contact::Entity, contact::Column::Identifier));
    if backend != DbBackend::Sqlite {
        return column.like(format!("%{text}%"));
    }
    let pattern: String = text
        .chars()
        .map(|char| match char {
            '%' => "*".to_owned(),
            '_' => "?".to_owned(),
            '*' | '?' | '[' => format!("[{char}]"),
            other => other.to_string(),
        })
        .collect();
    Expr::cust_with_exprs("? GLOB ?", [column, Expr::value(format!("*{pattern}*"))])
}

impl Chat {
    /// A page of contacts with their sessions, and how many there are, if asked.
    ///
    /// # Errors
    /// [`crate::error::Error::NotMember`].
    pub async fn contacts(
        &self,
        caller: &Caller,
        account: AccountId,
        query: &ContactQuery,
        page: &PageRequest,
    ) -> Result<(Page<ContactSessions>, Option<u64>)> {
        caller.access(account)?;
        let db = self.db.read();
        let total = if query.count {
            Some(query.select(account, db.get_database_backend()).count(db).await?)
        } else {
            None
        };
        let sort = query.order.sort(query.descending);
        let ids = page::ids(
            db,
            query.select(account, db.get_database_backend()),
            contact::Column::Id,
            &sort,
            page,
        )
        .await?;
        let rows = contact::Entity::find()
            .filter(contact::Column::Id.is_in(ids.items.iter().copied()))
            .all(db)
            .await?;
        let rows = page::in_order(&ids.items, rows, |row| row.id.0);
        let contacts = load::with_labels(db, account, rows).await?;
        let items = load::with_sessions(db, account, contacts).await?;
        Ok((Page { items, next: ids.next }, total))
    }
}
