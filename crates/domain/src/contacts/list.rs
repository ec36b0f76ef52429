//! Lists contacts, with sort orders, filters and search.

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
    filter::{Model, RequestedCondition, has_label::labelled, resolve::resolve},
    page::{self, BucketedSortKey, Page, PageRequest, Sort},
};

/// The value by which a list of contacts is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are self-explanatory
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
    /// Parses the name of a sort order in a request; an empty name means the default order.
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
            // Every message from a contact changes the time of its last activity. The index therefore contains only the day, which changes
            // rarely.
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

/// Returns the beginning of an additional attribute as text, in the form in which the indexes contain it. Index entries are truncated,
/// because they cannot contain long values.
fn beginning(key: &'static str) -> SimpleExpr {
    Expr::cust(format!("substr(\"contacts\".\"additional_attributes\" ->> '{key}', 1, 255)"))
}

/// The filters and the order of a list of contacts.
#[derive(Clone, Debug)]
pub struct ContactQuery {
    /// Returns only contacts with any of these labels; empty means no restriction.
    pub labels: Vec<String>,
    /// Returns only contacts that contain this text, which is trimmed and not empty.
    pub text: Option<String>,
    /// Returns only contacts that are online now, including unresolved contacts (those without an e-mail address, phone number or
    /// identifier).
    pub online: bool,
    /// Restricts the list to contacts that match this condition.
    pub filter: Condition,
    /// The sort orders, each with a flag for descending order. Must not be empty.
    pub orders: Vec<(ContactOrder, bool)>,
    /// Whether to also return the total number of matching contacts.
    pub count: bool,
}

/// Returns a query for the ids of the account's contacts that are online now.
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
    /// Returns a query that matches all resolved contacts, sorted by id.
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

    /// Selects the contacts that match this query and the condition `found`.
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
    /// Returns a page of the contacts that match `query` and that the caller can see, with their sessions in the caller's inboxes, and
    /// their total number if `query` requests it.
    ///
    /// # Errors
    /// [`parley_types::error::Error::NotMember`] if the caller has no access to the account.
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

    /// Returns a page of the contacts that match a filter, with their sessions, and their total number if `query` requests it. As in other
    /// lists, contacts that have neither an e-mail address nor a phone number nor an identifier are left out.
    ///
    /// # Errors
    /// [`parley_types::error::Error::NotMember`] if the caller has no access to the account; [`parley_types::error::Error::Invalid`] for an
    /// invalid filter, with its violations in the order in which Chatwoot reports them.
    pub async fn filter(
        &self,
        caller: &Caller,
        account: AccountId,
        given: &[RequestedCondition],
        query: ContactQuery,
        page: &PageRequest,
    ) -> Result<(Page<ContactSessions>, Option<u64>)> {
        caller.access(account)?;
        let (filter, _) = resolve(self.context.db.read(), account, Model::Contact, given).await?;
        self.list(caller, account, &ContactQuery { filter, ..query }, page).await
    }
}
