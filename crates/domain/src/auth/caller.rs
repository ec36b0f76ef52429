//! Who calls, and what that caller may do in which account.

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

/// Whom a token speaks for.
#[derive(Clone, Debug)]
pub enum Principal {
    /// A user.
    User(Arc<user::Model>),
    /// A program in one account.
    Service {
        /// What the token was made for.
        name: String,
    },
    /// The operator.
    Platform,
    /// A bot.
    AgentBot(Arc<agent_bot::Model>),
    /// A contact, by a session of its own.
    Contact {
        /// The contact; 0 before there is a session.
        id: ContactId,
        /// Its name.
        name: String,
    },
    /// Parley itself, which no token speaks for.
    Parley,
}

/// What a caller may do in one account.
#[derive(Clone, Debug)]
pub struct Access {
    /// As what.
    pub role: Role,
    /// In which inboxes, if not in all.
    pub inboxes: Option<Vec<InboxId>>,
    /// Whether the account may be used.
    pub status: AccountStatus,
    /// To which teams it belongs.
    pub teams: Vec<TeamId>,
    /// Which contacts it sees.
    pub contacts: ContactScope,
    /// The user as the account sees it, if the caller is one.
    pub person: Option<Arc<user::Model>>,
    /// Which conversations a contact's session reaches; none for all other callers, who go by inboxes.
    pub reach: Option<SessionScope>,
}

/// Which contacts a caller sees. Agents see all of them, as in Chatwoot, whatever their inboxes are; a service that is limited to inboxes
/// is somebody else's program, and sees only those that it can have something to do with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContactScope {
    /// All of the account.
    #[default]
    Account,
    /// Those with a session in one of the caller's inboxes; all of the account for a caller who is not limited to inboxes.
    Inboxes,
    /// As [`Self::Inboxes`], and of the log only the events that are about such an inbox: an agent bot.
    Conversations,
}

/// Which conversations a contact's session reaches.
#[derive(Clone, Debug, Default)]
pub struct SessionScope {
    /// Those of this session.
    pub session: ContactInboxId,
    /// And, once it is verified, those of these sessions of its contact, in all inboxes.
    pub others: Vec<ContactInboxId>,
}

/// A caller whose token was good a moment ago.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Its token.
    pub token: TokenId,
    /// Whom the token speaks for.
    pub principal: Principal,
    /// Whether it may only read.
    pub read_only: bool,
    /// What it may do, by account.
    pub accounts: HashMap<AccountId, Access>,
    /// The limits that every credential inherits which is made with this one.
    pub limits: Limits,
}

/// The limits of a token, beside those of whom it speaks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The one account it is good for; none: all of its owner's.
    pub account: Option<AccountId>,
    /// When it expires; none: never.
    pub expires_at: Option<Micros>,
}

const ROLE: &str = "only an administrator may do this";
/// Why a read-only token is refused.
pub const READ_ONLY: &str = "the token may only read";
const INBOX: &str = "the caller is no member of this inbox";
const VOUCH: &str = "only a caller who sees every inbox may mark a session as verified";
/// Why everyone but the operator is refused.
pub const PLATFORM: &str = "only a platform token may do this";
/// Why the operator is refused.
pub const OPERATOR: &str = "a platform token sees nothing inside of accounts";
/// Why a bot is refused.
pub const BOT: &str = "a bot may not make this call";

/// As lines of the log name it: without names of people.
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
    /// Parley itself, for what it does by its own rules. It may enter no account: its verbs ask for no access.
    pub fn parley() -> Self {
        Self {
            token: TokenId(0),
            principal: Principal::Parley,
            read_only: false,
            accounts: HashMap::new(),
            limits: Limits::default(),
        }
    }

    /// Requires a token that may change something. Every call that changes something passes this, be it of an account or the caller's own.
    ///
    /// # Errors
    /// [`Error::Denied`] for a token that may only read.
    pub fn may_write(&self) -> Result<()> {
        if self.read_only && parley_fault::is_on(Protection::ReadOnly) {
            Err(Error::Denied(READ_ONLY))
        } else {
            Ok(())
        }
    }

    /// Whether it is Parley itself: its events have no actor.
    pub fn is_parley(&self) -> bool {
        matches!(self.principal, Principal::Parley)
    }

    /// What the caller may do in an account.
    ///
    /// # Errors
    /// [`Error::NotMember`] also when there is no such account, so that nobody learns which exist; [`Error::Suspended`].
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

    /// As [`Caller::access`], for a call that changes something.
    ///
    /// # Errors
    /// [`Error::Denied`] for a token that may only read.
    pub fn write_access(&self, account: AccountId) -> Result<&Access> {
        let access = self.access(account)?;
        self.may_write().map(|()| access)
    }

    /// As [`Caller::write_access`], for administrators.
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

    /// As [`Caller::write_access`], for callers who may mark a session as verified: those who may read everything that it reaches then,
    /// which are administrators and services without a list of inboxes.
    ///
    /// # Errors
    /// [`Error::Denied`] for agents, bots and limited services, and for a token that may only read.
    pub fn vouch(&self, account: AccountId) -> Result<()> {
        let access = self.write_access(account)?;
        if access.administrator().is_ok() || !parley_fault::is_on(Protection::Vouching) {
            Ok(())
        } else {
            Err(Error::Denied(VOUCH))
        }
    }

    /// As [`Caller::administer`], for a change of something that every member may see: who may not change it is told first if `look` does not
    /// find it. An administrator learns that from the write, which a request that comes again does not reach.
    ///
    /// # Errors
    /// What `look` returns; [`Error::Denied`] for agents.
    pub async fn administer_seen<T>(&self, account: AccountId, look: impl Future<Output = Result<T>>) -> Result<()> {
        self.access(account)?;
        match self.administer(account) {
            Ok(_) => Ok(()),
            Err(denied) => look.await.and(Err(denied)),
        }
    }

    /// As [`Caller::administer`], and platform tokens, which stand above accounts.
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

    /// Requires a caller who may open a consumer of the account: an administrator, or a service without a list of inboxes. A consumer's
    /// position covers the whole account, so a caller who sees less would commit events that it never received. For the same reason an agent
    /// bot may open the one that is its own and no other.
    ///
    /// # Errors
    /// [`Error::Denied`] for agents, for services limited to inboxes, and for a token that may only read; [`Error::Invalid`] for a bot and
    /// another consumer.
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

    /// Whether it is the operator.
    pub fn is_platform(&self) -> bool {
        matches!(self.principal, Principal::Platform)
    }

    /// Asks for the operator.
    ///
    /// # Errors
    /// [`Error::Denied`] for everybody else.
    pub fn platform(&self) -> Result<()> {
        if self.is_platform() {
            self.may_write()
        } else {
            Err(Error::Denied(PLATFORM))
        }
    }

    /// Whether the caller may see the secrets of an account, such as the keys that sign contacts' identifiers: who has them can write as
    /// anybody, so only administrators and services without a list of inboxes may, and no token that may only read.
    pub fn sees_secrets(&self, account: AccountId) -> bool {
        self.access(account).is_ok_and(|access| access.administrator().is_ok()) && self.may_write().is_ok()
    }

    /// The user, if the caller is one.
    pub fn user(&self) -> Option<&Arc<user::Model>> {
        match &self.principal {
            Principal::User(user) => Some(user),
            _ => None,
        }
    }

    /// The user as an account sees it, if the caller is one: what other members and contacts are shown.
    pub fn person(&self, account: AccountId) -> Option<&Arc<user::Model>> {
        let access = self.accounts.get(&account);
        access.and_then(|access| access.person.as_ref()).or_else(|| self.user())
    }

    /// The user's id, if the caller is one.
    pub fn user_id(&self) -> Option<UserId> {
        self.user().map(|user| user.id)
    }

    /// The bot, if the caller is one.
    pub fn agent_bot(&self) -> Option<&Arc<agent_bot::Model>> {
        match &self.principal {
            Principal::AgentBot(bot) => Some(bot),
            _ => None,
        }
    }

    /// The caller as events and activity lines of an account name it.
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
    /// Asks for an administrator's role, for what only administrators read.
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

    /// Asks for an inbox.
    ///
    /// # Errors
    /// [`Error::Denied`] when the caller does not work in it.
    pub fn inbox(&self, inbox: InboxId) -> Result<()> {
        if self.sees(inbox) { Ok(()) } else { Err(Error::Denied(INBOX)) }
    }

    /// Asks for a conversation: by its inbox, or, for a contact, by its session.
    ///
    /// # Errors
    /// [`Error::Denied`] when the caller does not work in its inbox; [`Error::NotFound`] for somebody else's.
    pub fn conversation(&self, row: &conversation::Model) -> Result<()> {
        match &self.reach {
            None => self.inbox(row.inbox_id),
            Some(reach) if reach.session == row.contact_inbox_id => Ok(()),
            Some(reach) if reach.others.contains(&row.contact_inbox_id) => Ok(()),
            Some(_) => Err(Error::not_found("conversation", row.id)),
        }
    }

    /// The inboxes of which a contact must have a session to be seen; absent: all contacts are seen.
    pub fn contact_inboxes(&self) -> Option<&[InboxId]> {
        match self.contacts {
            ContactScope::Account => None,
            ContactScope::Inboxes | ContactScope::Conversations => {
                self.inboxes.as_deref().filter(|_| parley_fault::is_on(Protection::ContactScope))
            }
        }
    }

    /// Whether the caller works in an inbox.
    pub fn sees(&self, inbox: InboxId) -> bool {
        self.inboxes.as_ref().is_none_or(|inboxes| inboxes.contains(&inbox))
    }
}
