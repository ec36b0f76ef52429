//! Callers, and what each caller may do in each account.

use std::{collections::HashMap, sync::Arc};

use parley_eventlog::{kind::ActorType, pending_event::Actor};
use parley_fault::Protection;
use parley_storage::entity::{
    agent_bot, conversation,
    kind::{AccountStatus, Role},
    user,
};
use parley_types::{
    error::{Error, Result, Rule},
    id::{AccountId, ContactId, ContactInboxId, InboxId, TeamId, TokenId, UserId},
    time::Micros,
};

/// The identity that a token authenticates.
#[derive(Clone, Debug)]
pub enum Principal {
    /// A user.
    User(Arc<user::Model>),
    /// A program that acts in one account.
    Service {
        /// The name of the token.
        name: String,
    },
    /// The operator of the installation.
    Platform,
    /// An agent bot.
    AgentBot(Arc<agent_bot::Model>),
    /// A contact, through one of its sessions.
    Contact {
        /// The contact's id; 0 before a session exists.
        id: ContactId,
        /// The contact's name.
        name: String,
    },
    /// Parley itself, which has no token.
    Parley,
}

/// A caller's access to one account.
#[derive(Clone, Debug)]
pub struct Access {
    /// The caller's role in the account.
    pub role: Role,
    /// The inboxes that the caller is limited to; `None` means all.
    pub inboxes: Option<Vec<InboxId>>,
    /// The status of the account.
    pub status: AccountStatus,
    /// The teams that the caller belongs to.
    pub teams: Vec<TeamId>,
    /// Which contacts the caller can see.
    pub contacts: ContactScope,
    /// The user with the membership's name and address, if the caller is a user.
    pub person: Option<Arc<user::Model>>,
    /// Which conversations a contact session can access; `None` for all other callers, whose access depends on inboxes.
    pub session_scope: Option<SessionScope>,
}

/// Which contacts a caller can see. As in Chatwoot, agents see all contacts, regardless of their inboxes. A service that is limited to
/// inboxes is a third party's program, so it sees only contacts that use these inboxes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContactScope {
    /// All contacts of the account.
    #[default]
    Account,
    /// Contacts with a session in one of the caller's inboxes; all contacts if the caller is not limited to inboxes.
    Inboxes,
    /// The same contacts as [`Self::Inboxes`], with a restriction on events: the caller receives only those that concern one of its
    /// inboxes. Used for agent bots.
    Conversations,
}

/// The conversations that a contact session can access.
#[derive(Clone, Debug, Default)]
pub struct SessionScope {
    /// The session itself, which can always access its own conversations.
    pub session: ContactInboxId,
    /// Other sessions of the same contact, in any inbox, whose conversations the session can also access. Empty unless the session is
    /// verified.
    pub others: Vec<ContactInboxId>,
}

/// An authenticated caller. Its token was valid when it was last looked up, which can be a few seconds ago.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The id of the caller's token.
    pub token: TokenId,
    /// The identity that the token authenticates.
    pub principal: Principal,
    /// Whether the token is read-only.
    pub read_only: bool,
    /// The accounts that the caller can access, with its access to each.
    pub accounts: HashMap<AccountId, Access>,
    /// The limits of the caller's token. Every token created with it inherits them.
    pub limits: Limits,
}

/// The limits of a token, in addition to the permissions of its principal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The only account that the token is valid for; `None` means all accounts of its principal.
    pub account: Option<AccountId>,
    /// When the token expires; `None` means never.
    pub expires_at: Option<Micros>,
}

const ROLE: &str = "only an administrator may do this";
/// The error text for an attempt to write with a read-only token.
pub const READ_ONLY: &str = "the token is read-only";
const INBOX: &str = "the caller is not a member of this inbox";
const VOUCH: &str = "only a caller who sees every inbox may mark a session as verified";
/// The error text for a call that only the operator may make.
pub const PLATFORM: &str = "only a platform token may do this";
/// The error text for a call with which the operator tries to access an account's data.
pub const OPERATOR: &str = "a platform token has no access to the data of accounts";
/// The error text for a call that a bot may not make.
pub const BOT: &str = "a bot may not make this call";

/// Formats the caller for log lines. Users, bots and contacts appear only with their ids, because people's names must not be logged.
impl std::fmt::Display for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.principal {
            Principal::User(user) => write!(f, "user {}", user.id),
            Principal::Service { name } => write!(f, "service {name}"),
            Principal::Platform => f.write_str("operator"),
            Principal::AgentBot(bot) => write!(f, "agent bot {}", bot.id),
            Principal::Contact { id, .. } => write!(f, "contact {id}"),
            Principal::Parley => f.write_str("parley"),
        }
    }
}

impl Caller {
    /// Returns a caller that represents Parley itself, for operations that Parley performs by its own rules. This caller has access to no
    /// account, because such operations do not check access.
    pub fn parley() -> Self {
        Self {
            token: TokenId(0),
            principal: Principal::Parley,
            read_only: false,
            accounts: HashMap::new(),
            limits: Limits::default(),
        }
    }

    /// Checks that the token may write. Every operation that changes something must make this check, whether it changes an account or the
    /// caller's own data.
    ///
    /// # Errors
    /// [`Error::Denied`] for a read-only token.
    pub fn may_write(&self) -> Result<()> {
        if self.read_only && parley_fault::is_on(Protection::ReadOnly) {
            Err(Error::Denied(READ_ONLY))
        } else {
            Ok(())
        }
    }

    /// Returns whether the caller is Parley itself. Events that Parley itself causes have no actor.
    pub fn is_parley(&self) -> bool {
        matches!(self.principal, Principal::Parley)
    }

    /// Returns the caller's access to an account.
    ///
    /// # Errors
    /// [`Error::NotMember`] ([`Error::NotConnected`] for an agent bot, [`Error::WrongToken`] for the operator) if the caller has no
    /// access or the account does not exist, so that callers cannot find out which accounts exist; [`Error::Suspended`] if the account is
    /// suspended.
    pub fn access(&self, account: AccountId) -> Result<&Access> {
        let access = self.accounts.get(&account).ok_or_else(|| self.stranger(account))?;
        match access.status {
            AccountStatus::Active => Ok(access),
            AccountStatus::Suspended => Err(Error::Suspended(account)),
            AccountStatus::Deleted => Err(self.stranger(account)),
        }
    }

    fn stranger(&self, account: AccountId) -> Error {
        match self.principal {
            Principal::AgentBot(_) => Error::NotConnected(account),
            Principal::Platform => Error::WrongToken(OPERATOR),
            Principal::User(_) | Principal::Service { .. } | Principal::Contact { .. } | Principal::Parley => Error::NotMember(account),
        }
    }

    /// Same as [`Caller::access`], for operations that change something.
    ///
    /// # Errors
    /// [`Error::Denied`] for a read-only token.
    pub fn write_access(&self, account: AccountId) -> Result<&Access> {
        let access = self.access(account)?;
        self.may_write().map(|()| access)
    }

    /// Same as [`Caller::write_access`], for operations that only administrators may perform.
    ///
    /// # Errors
    /// [`Error::Denied`] for agents.
    pub fn administer(&self, account: AccountId) -> Result<&Access> {
        let access = self.write_access(account)?;
        if access.role == Role::Administrator && access.inboxes.is_none() {
            Ok(access)
        } else {
            Err(Error::Denied(ROLE))
        }
    }

    /// Checks that the caller may write to the account and mark sessions as verified. Only callers who can read everything that a verified
    /// session can access may do so: administrators, and services that are not limited to inboxes.
    ///
    /// # Errors
    /// [`Error::Denied`] for agents, bots and limited services, and for a read-only token.
    pub fn vouch(&self, account: AccountId) -> Result<()> {
        let access = self.write_access(account)?;
        if access.administrator().is_ok() || !parley_fault::is_on(Protection::Vouching) {
            Ok(())
        } else {
            Err(Error::Denied(VOUCH))
        }
    }

    /// Same as [`Caller::administer`], for a resource that every member can see. `look` reads the resource. If it fails (because the
    /// resource does not exist, for example), a caller who may not change the resource receives its error instead of [`Error::Denied`]. For
    /// administrators, `look` is not run: the write itself reports a missing resource, and a repeated request receives its stored response
    /// even if the resource no longer exists.
    ///
    /// # Errors
    /// Any error from [`Caller::access`] or `look`; [`Error::Denied`] if `look` succeeds but the caller may not change the resource.
    pub async fn administer_seen<T>(&self, account: AccountId, look: impl Future<Output = Result<T>>) -> Result<()> {
        self.access(account)?;
        match self.administer(account) {
            Ok(_) => Ok(()),
            Err(denied) => look.await.and(Err(denied)),
        }
    }

    /// Same as [`Caller::administer`], but also allows platform tokens, which are not limited to accounts.
    ///
    /// # Errors
    /// [`Error::Denied`] for agents.
    pub fn administer_or_platform(&self, account: AccountId) -> Result<()> {
        if self.is_platform() {
            self.platform()
        } else {
            self.administer(account).map(drop)
        }
    }

    /// Checks that the caller may open a durable consumer in the account. Administrators may, and so may services that are not limited to
    /// inboxes. The position of a consumer covers the whole account, so a caller who sees only part of the account would commit events that
    /// it never received. For the same reason, an agent bot may open only its own consumer.
    ///
    /// # Errors
    /// [`Error::Denied`] for agents, for services limited to inboxes, and for a read-only token; [`Error::Invalid`] if a bot opens a
    /// consumer other than its own.
    pub fn consume(&self, account: AccountId, consumer: &str) -> Result<()> {
        let access = self.write_access(account)?;
        if let Principal::AgentBot(bot) = &self.principal {
            let own = format!("agent_bot/{}", bot.id);
            return if consumer == own || !parley_fault::is_on(Protection::ConsumerScope) {
                Ok(())
            } else {
                let text = format!("must be {own}, the consumer of this bot");
                Err(Error::invalid("open.consumer", Rule::Invalid, text))
            };
        }
        let narrow = access.inboxes.is_some() && parley_fault::is_on(Protection::ConsumerScope);
        if access.role == Role::Administrator && !narrow {
            Ok(())
        } else {
            Err(Error::Denied(ROLE))
        }
    }

    /// Returns whether the caller is the operator.
    pub fn is_platform(&self) -> bool {
        matches!(self.principal, Principal::Platform)
    }

    /// Checks that the caller is the operator.
    ///
    /// # Errors
    /// [`Error::Denied`] for every other caller, and for a read-only token.
    pub fn platform(&self) -> Result<()> {
        if self.is_platform() {
            self.may_write()
        } else {
            Err(Error::Denied(PLATFORM))
        }
    }

    /// Returns whether the caller can see the secrets of an account, such as the keys that sign the identifiers of contacts. A caller who
    /// knows these keys can write as any contact, so only administrators and services that are not limited to inboxes can see them, and
    /// only with a token that may write.
    pub fn sees_secrets(&self, account: AccountId) -> bool {
        self.access(account).is_ok_and(|access| access.administrator().is_ok()) && self.may_write().is_ok()
    }

    /// Returns the caller's user, or `None` if the caller is not a user.
    pub fn user(&self) -> Option<&Arc<user::Model>> {
        match &self.principal {
            Principal::User(user) => Some(user),
            _ => None,
        }
    }

    /// Returns the user as other members and contacts of the account see them, with the membership's name and address, or `None` if the
    /// caller is not a user.
    pub fn person(&self, account: AccountId) -> Option<&Arc<user::Model>> {
        let access = self.accounts.get(&account);
        access.and_then(|access| access.person.as_ref()).or_else(|| self.user())
    }

    /// Returns the user's id, if the caller is a user.
    pub fn user_id(&self) -> Option<UserId> {
        self.user().map(|user| user.id)
    }

    /// Returns the caller's agent bot, or `None` if the caller is not a bot.
    pub fn agent_bot(&self) -> Option<&Arc<agent_bot::Model>> {
        match &self.principal {
            Principal::AgentBot(bot) => Some(bot),
            _ => None,
        }
    }

    /// Returns the actor that represents the caller in an account's events and activity messages.
    pub fn actor(&self, account: AccountId) -> Actor {
        match &self.principal {
            Principal::User(user) => Actor {
                kind: ActorType::User,
                id: user.id.0,
                name: self.person(account).unwrap_or(user).name.clone(),
            },
            Principal::Service { name } => Actor {
                kind: ActorType::Service,
                id: self.token.0,
                name: name.clone(),
            },
            Principal::AgentBot(bot) => Actor {
                kind: ActorType::AgentBot,
                id: bot.id.0,
                name: bot.name.clone(),
            },
            Principal::Contact { id, name } => Actor {
                kind: ActorType::Contact,
                id: id.0,
                name: name.clone(),
            },
            Principal::Parley => Actor {
                kind: ActorType::Unspecified,
                id: 0,
                name: "Parley".to_owned(),
            },
            Principal::Platform => Actor {
                kind: ActorType::Platform,
                id: 0,
                name: String::new(),
            },
        }
    }
}

impl Access {
    /// Checks that the caller is an administrator, for data that only administrators may read.
    ///
    /// # Errors
    /// [`Error::Denied`] for agents.
    pub fn administrator(&self) -> Result<()> {
        if self.role == Role::Administrator && self.inboxes.is_none() {
            Ok(())
        } else {
            Err(Error::Denied(ROLE))
        }
    }

    /// Checks that the caller can access an inbox.
    ///
    /// # Errors
    /// [`Error::Denied`] if the caller is not a member of the inbox.
    pub fn inbox(&self, inbox: InboxId) -> Result<()> {
        if self.sees(inbox) { Ok(()) } else { Err(Error::Denied(INBOX)) }
    }

    /// Checks that the caller can access a conversation: through the conversation's inbox or, if the caller is a contact session, through
    /// the session.
    ///
    /// # Errors
    /// [`Error::Denied`] if the caller is not a member of the conversation's inbox; [`Error::NotFound`] if the caller is a contact session
    /// that cannot access the conversation.
    pub fn conversation(&self, row: &conversation::Model) -> Result<()> {
        match &self.session_scope {
            None => self.inbox(row.inbox_id),
            Some(scope) if scope.session == row.contact_inbox_id => Ok(()),
            Some(scope) if scope.others.contains(&row.contact_inbox_id) => Ok(()),
            Some(_) => Err(Error::not_found("conversation", row.id)),
        }
    }

    /// Returns the caller's inboxes if the caller can see only contacts with a session in one of these inboxes, or `None` if the caller can
    /// see all contacts.
    pub fn contact_inboxes(&self) -> Option<&[InboxId]> {
        match self.contacts {
            ContactScope::Account => None,
            ContactScope::Inboxes | ContactScope::Conversations => {
                self.inboxes.as_deref().filter(|_| parley_fault::is_on(Protection::ContactScope))
            }
        }
    }

    /// Returns whether the caller can access an inbox.
    pub fn sees(&self, inbox: InboxId) -> bool {
        self.inboxes.as_ref().is_none_or(|inboxes| inboxes.contains(&inbox))
    }
}
