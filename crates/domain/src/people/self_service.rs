//! Changes that members make to their own membership, whatever their role.

use std::sync::Arc;

use parley_eventlog::cursor::Cursor;
use parley_storage::{entity::kind::Availability, joined::Agent};
use parley_types::{
    error::{Error, Result},
    id::{AccountId, UserId},
};

use crate::{
    auth::caller::Caller,
    context::Context,
    people::{
        members::{Members, MembershipPatch},
        presence::Presence,
    },
    write::call::{Answer, Call},
};

/// Returns the caller's user id. Services and bots have no membership.
fn own(caller: &Caller, account: AccountId) -> Result<UserId> {
    caller.write_access(account)?;
    caller.user_id().ok_or(Error::Denied("only users can be members of an account"))
}

/// Operations that members perform on their own membership.
#[derive(Clone, Debug)]
pub struct OwnMembership {
    context: Arc<Context>,
}

impl OwnMembership {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
        }
    }

    /// Changes the caller's own availability in an account. `None` leaves a value unchanged.
    ///
    /// # Errors
    /// Returns [`Error::NotMember`] if the caller has no access to the account, and [`Error::Denied`] if the caller is not a user or the
    /// token is read-only.
    pub async fn update_availability(
        &self,
        call: Call<Agent>,
        availability: Option<Availability>,
        auto_offline: Option<bool>,
    ) -> Result<Answer<Agent>> {
        let user = own(&call.caller, call.account)?;
        let patch = MembershipPatch {
            role: None,
            availability,
            auto_offline,
        };
        Members::new(&self.context).change(call, user, patch).await
    }

    /// Records that the caller has switched to an account. Returns the head of its log.
    ///
    /// # Errors
    /// Same as [`OwnMembership::update_availability`].
    pub async fn set_active_account(&self, caller: &Caller, account: AccountId) -> Result<Cursor> {
        let user = own(caller, account)?;
        Presence::new(&self.context)
            .record_active_account(account, user, caller.limits.account.is_none())
            .await?;
        let range = self.context.events.log.range(account).await?;
        Ok(range.head_cursor())
    }
}
