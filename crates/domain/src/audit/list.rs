//! Listing audit events.

use parley_storage::entity::audit_event;
use parley_types::{error::Result, id::AccountId};
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter};

use super::AuditRow;
use crate::{
    Chat,
    auth::caller::Caller,
    page::{self, Page, PageRequest, Sort},
};

impl Chat {
    /// Lists audit events, the newest first: of an account (0: of none), or of all. Counts them where asked to.
    ///
    /// # Errors
    /// [`parley_types::error::Error::Denied`] for everyone but administrators and the operator, who alone lists what is outside of accounts.
    pub async fn audit_events(
        &self,
        caller: &Caller,
        account: Option<AccountId>,
        page: &PageRequest,
        count: bool,
    ) -> Result<(Page<AuditRow>, Option<u64>)> {
        match account.filter(|account| account.0 != 0) {
            Some(account) if !caller.is_platform() => caller.access(account)?.administrator()?,
            Some(_) => {}
            // Read-only tokens of the operator list too.
            None if caller.is_platform() => {}
            None => caller.platform()?,
        }
        let db = self.db.read();
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
