//! Lists of contacts: sorted, filtered by label, searched.

use parley_storage::{
    entity::{
        contact,
        kind::{LabelTarget, PresenceKind},
        presence,
    },
    joined::ContactSessions,
    load, present,
};
use parley_types::{error::Result, id::AccountId, time::Micros};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter, Select,
    sea_query::{Alias, Expr, Func, Query, SelectStatement, SimpleExpr},
};

use crate::{
    auth::caller::Caller,
    contacts::{Contacts, scope, search},
    filter::{Given, Model, has_label::labelled, resolve::resolve},
    page::{self, BucketedSortKey, Page, PageRequest, Sort},
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
            Self::Company => (Some(beginning("company_name")), true, true),
            Self::City => (Some(beginning("city")), true, true),
            Self::Country => (Some(beginning("country")), true, true),
        };
        Sort {
            by,
            // Each message of the contact moves the time: the index holds the day.
            coarse: (self == Self::LastActivityAt).then(|| BucketedSortKey {
                by: Expr::col((contact::Entity, Alias::new("activity_day"))),
                divisor: 86_400_000_000,
            }),
            aside: None,
            text,
            nullable,
            descending,
        }
    }
}

/// The beginning of an additional attribute as text, as the indexes spell it: they hold no long values.
fn beginning(key: &'static str) -> SimpleExpr {
    Expr::cust(format!("substr(\"contacts\".\"additional_attributes\" ->> '{key}', 1, 255)"))
}

/// Which contacts.
#[derive(Clone, Debug)]
pub struct ContactQuery {
    /// Only those with any of these labels.
    pub labels: Vec<String>,
    /// Only those that hold this text; trimmed, not empty.
    pub text: Option<String>,
    /// Those who are there now, in place of those who can be named.
    pub online: bool,
    /// Only those that this lets through.
    pub filter: Condition,
    /// The orders, each with whether it goes from the highest to the lowest. Not empty.
    pub orders: Vec<(ContactOrder, bool)>,
    /// Whether to count all.
    pub count: bool,
}

/// The contacts of an account that are there now.
fn there(account: AccountId) -> SelectStatement {
    use presence::Column;
    Query::select()
        .column(Column::Id)
        .from(presence::Entity)
        .and_where(Expr::col(Column::AccountId).eq(account.0))
        .and_where(Expr::col(Column::Kind).eq(PresenceKind::Contact as i16))
        .and_where(Expr::col(Column::SeenAt).gt(Micros::now().minus(present::WINDOW).0))
        .take()
}

impl ContactQuery {
    /// All of them, by id.
    pub fn all() -> Self {
        Self {
            labels: Vec::new(),
            text: None,
            online: false,
            filter: Condition::all(),
            orders: vec![(ContactOrder::Id, false)],
            count: false,
        }
    }

    /// Only contacts who can be named, and those whom `found` lets through.
    fn select(&self, account: AccountId, found: Condition) -> Select<contact::Entity> {
        use contact::Column;
        let which = if self.online {
            Condition::all().add(Column::Id.in_subquery(there(account)))
        } else {
            contact::is_resolved()
        };
        let query = contact::Entity::find().filter(Column::AccountId.eq(account)).filter(which);
        query.filter(self.filter.clone()).filter(found)
    }
}

impl Contacts {
    /// A page of the contacts that the caller sees, with their sessions in the caller's inboxes, and their total number if `query` asks for
    /// it.
    ///
    /// # Errors
    /// [`parley_types::error::Error::NotMember`].
    pub async fn list(
        &self,
        caller: &Caller,
        account: AccountId,
        query: &ContactQuery,
        page: &PageRequest,
    ) -> Result<(Page<ContactSessions>, Option<u64>)> {
        let access = caller.access(account)?;
        let db = self.context.db.read();
        let mut found = scope::seen(access, account);
        if !query.labels.is_empty() {
            let id = Expr::col((contact::Entity, contact::Column::Id));
            found = found.add(labelled(db, account, LabelTarget::Contact, &query.labels, id).await?);
        }
        if let Some(text) = &query.text {
            found = found.add(search::holding(db, account, text).await?);
        }
        let select = query.select(account, found);
        let total = if query.count { Some(select.clone().count(db).await?) } else { None };
        let sorts: Vec<_> = query.orders.iter().map(|(order, descending)| order.sort(*descending)).collect();
        let ids = page::ids_by(db, select, contact::Column::Id, &sorts, page).await?;
        let rows = page::rows(db, contact::Entity::find(), contact::Column::Id, |row| row.id.0, ids).await?;
        let contacts = load::with_labels(db, account, rows.items).await?;
        let contacts = load::with_sessions(db, account, contacts).await?;
        let page = Page {
            items: contacts.into_iter().map(|contact| scope::shown(contact, access)).collect(),
            keys: rows.keys,
            next: rows.next,
        };
        Ok((page, total))
    }

    /// A page of the contacts that match a filter, with their sessions, and their number if `query` asks for it. As in lists, contacts without
    /// a name, address or number are left out.
    ///
    /// # Errors
    /// [`parley_types::error::Error::NotMember`]; [`parley_types::error::Error::Invalid`] for the filter, with its faults in the order in
    /// which Chatwoot reports them.
    pub async fn filter(
        &self,
        caller: &Caller,
        account: AccountId,
        given: &[Given],
        query: ContactQuery,
        page: &PageRequest,
    ) -> Result<(Page<ContactSessions>, Option<u64>)> {
        caller.access(account)?;
        let (filter, _) = resolve(self.context.db.read(), account, Model::Contact, given).await?;
        self.list(caller, account, &ContactQuery { filter, ..query }, page).await
    }
}
