//! What members change of themselves in an account, whatever their role.

use parley_eventlog::cursor::Cursor;
use parley_storage::{entity::kind::Availability, joined::Agent};
use parley_types::{
    error::{Error, Result},
    id::{AccountId, UserId},
};

use crate::{
    Chat,
    auth::caller::Caller,
    people::members::MembershipPatch,
    write::call::{Answer, Call},
};

/// The caller's membership of an account is a user's: services and bots have none.
fn own(caller: &Caller, account: AccountId) -> Result<UserId> {
    caller.write_access(account)?;
    caller.user_id().ok_or(Error::Denied("only a user is a member of an account"))
}

impl Chat {
    /// Changes the caller's own availability in an account; what is absent stays.
    ///
    /// # Errors
    /// [`Error::NotMember`]; [`Error::Denied`] for callers who are no users, and for a token that may only read.
    pub async fn update_own_availability(
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
        self.change_membership(call, user, patch).await
    }

    /// Records that the caller works in an account now. Returns the head of its log.
    ///
    /// # Errors
    /// As [`Chat::update_own_availability`].
    pub async fn set_active_account(&self, caller: &Caller, account: AccountId) -> Result<Cursor> {
        let user = own(caller, account)?;
        self.note_active_account(account, user, caller.limits.account.is_none()).await?;
        let reach = self.events.log.reach(account).await?;
        Ok(reach.head_cursor())
    }
}
