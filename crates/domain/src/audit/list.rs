//! Lists stored audit events.

use std::sync::Arc;

use parley_storage::entity::audit_event;
use parley_types::{error::Result, id::AccountId};
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter};

use super::AuditRow;
use crate::{
    auth::caller::Caller,
    context::Context,
    page::{self, Page, PageRequest, Sort},
};

/// Operations on stored audit events.
#[derive(Clone, Debug)]
pub struct AuditEvents {
    context: Arc<Context>,
}

impl AuditEvents {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
        }
    }

    /// Waits until this replica has stored every event that it has recorded so far, or has permanently failed to store it.
    pub async fn flush(&self) {
        self.context.audit.flush().await;
    }

    /// Lists audit events, newest first: the events of one account, those that belong to no account (account 0), or all events if `account`
    /// is `None`. Also returns the total number of these events if `count` is set.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::Denied`] unless the caller is an administrator of the account or the operator. Only the
    /// operator can list all events, or the events that belong to no account.
    pub async fn list(
        &self,
        caller: &Caller,
        account: Option<AccountId>,
        page: &PageRequest,
        count: bool,
    ) -> Result<(Page<AuditRow>, Option<u64>)> {
        match account.filter(|account| account.0 != 0) {
            Some(account) if !caller.is_platform() => caller.access(account)?.administrator()?,
            Some(_) => {}
            // Do not call `platform` for the operator: it rejects read-only tokens, which are allowed to list events.
            None if caller.is_platform() => {}
            None => caller.platform()?,
        }
        let db = self.context.db.read();
        let mut query = audit_event::Entity::find();
        if let Some(account) = account {
            query = query.filter(audit_event::Column::AccountId.eq(account));
        }
        let total = if count { Some(query.clone().count(db).await?) } else { None };
        let ids = page::ids(db, query, audit_event::Column::Id, &Sort::by_id(true), page).await?;
        let page = page::rows(db, audit_event::Entity::find(), audit_event::Column::Id, |row| row.id, ids).await?;
        Ok((page, total))
    }
}
