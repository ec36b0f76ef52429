//! The JSON representation of the platform API's resources, for the operator. A token is returned only by the call that creates it and is
//! null afterwards, because only its hash is stored.

use parley_proto::{self as pb, AccountStatus, Availability, Role};

use super::{
    agent::{UserFields, account_status},
    json_type::json_type,
    values::{Id, Name},
};
use crate::params::{attributes::Attributes, timestamps::Iso};

json_type! {
    /// An account of the installation, as the platform API returns it.
    pub struct PlatformAccount(account: pb::Account) {
        id: Id = account.id.into(),
        status: Name<AccountStatus> = account_status(&account),
        name: String = account.name,
        /// Language code of the account.
        locale: String = account.locale,
        /// Domain of the account.
        domain: Option<String> = account.domain,
        /// E-mail address for support.
        support_email: Option<String> = account.support_email,
        /// Feature flags of the account by name.
        features: Attributes = account.features.into(),
        custom_attributes: Attributes = account.custom_attributes.into(),
        /// Limits of the account by name.
        limits: Attributes = account.limits.into(),
    }
    truncated_fields = account.truncated_fields;
}

json_type! {
    #[schemars(inline)]
    struct UserAccount(membership: pb::Membership) {
        id: Id = membership.account_id.into(),
        role: Name<Role> = Name(membership.role()),
        name: Option<String> = membership.account.map(|account| account.name),
        active_at: Option<Iso> = Iso::optional(membership.active_at),
    }
}

json_type! {
    /// A user of the installation, as the platform API returns it.
    pub struct PlatformUser(user: pb::User, memberships: Vec<pb::Membership>, access_token: Option<String>) with {
        let last = memberships.first();
    } {
        /// Token of the user. Returned only by the call that creates the user.
        access_token: Option<String> = access_token,
        /// Id of the account in which the user was last present.
        account_id: Option<Id> = last.map(|last| last.account_id.into()),
        /// Always null; the key exists for compatibility with Chatwoot.
        pubsub_token: Option<String> = None,
        role: Option<Name<Role>> = last.and_then(|last| Name::known(last.role())),
        /// Accounts of which the user is a member.
        accounts: Vec<UserAccount> = memberships.into_iter().map(UserAccount::from).collect(),
        #[serde(flatten)]
        user: UserFields = user.into(),
    }
}

json_type! {
    /// The membership of a user in an account.
    pub struct AccountUser(agent: pb::Agent) {
        /// Id of the user, because memberships have no ids of their own.
        id: Id = agent.id.into(),
        account_id: Id = agent.account_id.into(),
        /// Id of the user.
        user_id: Id = agent.id.into(),
        role: Name<Role> = Name(agent.role()),
        /// Always null; the key exists for compatibility with Chatwoot.
        inviter_id: () = (),
        created_at: () = (),
        updated_at: () = (),
        /// Always null; the key exists for compatibility with Chatwoot.
        active_at: () = (),
        availability: Name<Availability> = Name(agent.availability()),
        auto_offline: bool = agent.auto_offline,
        /// Always null; the key exists for compatibility with Chatwoot.
        custom_role_id: () = (),
    }
}

json_type! {
    /// An agent bot, as the platform API returns it.
    pub struct AgentBot(bot: pb::AgentBot, access_token: Option<String>) {
        id: Id = bot.id.into(),
        name: String = bot.name,
        #[schemars(with = "Option<String>")]
        description: String = bot.description,
        /// URL that the operator stored for the bot. Parley never calls it.
        #[schemars(with = "Option<String>")]
        outgoing_url: String = bot.outgoing_url,
        /// Id of the account that the bot belongs to; null if every account may use the bot.
        account_id: Option<Id> = bot.account_id.map(Id),
        /// Token of the bot. Returned only by the call that creates the bot.
        access_token: Option<String> = access_token,
    }
}
