//! Manages agent bots and the inboxes that they are connected to. The module `auth::caller` defines what a bot is allowed to do.

use std::{collections::HashSet, sync::Arc};

use parley_eventlog::{
    kind::EventKind,
    pending_event::{Change, PendingEvent, Subject},
};
use parley_storage::{
    entity::{agent_bot, inbox, token},
    joined::Inbox,
    load,
};
use parley_types::{
    error::{Error, Result},
    id::{AccountId, AgentBotId, InboxId},
    time::Micros,
};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter, QuerySelect, Set, sea_query::Expr,
};

use crate::{
    auth::caller::Caller,
    context::Context,
    inboxes::{Inboxes, authorize_change},
    page::{self, Page, PageRequest, Sort},
    patch::patch_fields,
    people::outbox::{self, Outbox, OutboxSubject},
    write::{
        Write,
        call::{Answer, Call},
        once, replayed,
    },
};

/// An agent bot. It is reference-counted, because the messages that it sent share it.
pub type AgentBot = Arc<agent_bot::Model>;

/// The data for creating an agent bot.
#[derive(Clone, Debug)]
pub struct NewAgentBot {
    pub name: String,
    pub description: String,
    /// A URL that is stored for compatibility with Chatwoot and never called.
    pub outgoing_url: String,
    pub avatar_url: String,
}

/// Changes to an agent bot; `None` leaves a value unchanged.
#[derive(Clone, Debug, Default)]
pub struct AgentBotPatch {
    pub name: Option<String>,
    pub description: Option<String>,
    /// A URL that is stored for compatibility with Chatwoot and never called.
    pub outgoing_url: Option<String>,
    pub avatar_url: Option<String>,
}

impl AgentBotPatch {
    fn apply(self, row: &mut agent_bot::Model) -> Vec<Change> {
        patch_fields!(self, row: name, description, outgoing_url, avatar_url)
            .into_iter()
            .flatten()
            .collect()
    }
}

/// Operations on agent bots and the inboxes that they are connected to.
#[derive(Clone, Debug)]
pub struct AgentBots {
    context: Arc<Context>,
}

impl AgentBots {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
        }
    }

    /// Creates a bot that belongs to an account or, if `account` is `None`, to the installation.
    ///
    /// # Errors
    /// Returns [`Error::Denied`] unless the caller is an administrator of the account or the operator. Only the operator can create a bot
    /// that belongs to the installation.
    pub async fn create(&self, call: Call<AgentBot>, account: Option<AccountId>, new: NewAgentBot) -> Result<Answer<AgentBot>> {
        let insert = move |at: Micros| agent_bot::ActiveModel {
            account_id: Set(account),
            name: Set(new.name),
            description: Set(new.description),
            outgoing_url: Set(new.outgoing_url),
            avatar_url: Set(new.avatar_url),
            created_at: Set(at),
            updated_at: Set(at),
            ..Default::default()
        };
        let Some(account) = account else {
            call.caller.platform()?;
            return once(&self.context.db, call, move |txn| {
                Box::pin(async move { Ok((Arc::new(insert(Micros::now()).insert(txn).await?), None)) })
            })
            .await;
        };
        call.caller.administer_or_platform(account)?;
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let bot = Arc::new(insert(write.set.at).insert(&write.txn).await?);
                    write
                        .set
                        .emit(PendingEvent::new(EventKind::AgentBotCreated, Subject::AgentBot(Arc::clone(&bot))));
                    Ok(bot)
                })
            })
            .await
    }

    /// Returns a bot that the account can use or, if `account` is `None`, any bot.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such bot, [`Error::NotMember`] if the caller has no access to the account, and
    /// [`Error::Denied`] if `account` is `None` and the caller is not the operator.
    pub async fn get(&self, caller: &Caller, account: Option<AccountId>, id: AgentBotId) -> Result<AgentBot> {
        look(caller, account)?;
        self.find(account, id).await
    }

    async fn find(&self, account: Option<AccountId>, id: AgentBotId) -> Result<AgentBot> {
        if let Some(account) = account {
            return load::agent_bot(self.context.db.read(), account, id).await;
        }
        let row = agent_bot::Entity::find_by_id(id).one(self.context.db.read()).await?;
        row.map(Arc::new).ok_or_else(|| Error::not_found("agent_bot", id))
    }

    /// Returns a page of the bots that the account can use or, if `account` is `None`, of all bots, sorted by id.
    ///
    /// # Errors
    /// Returns [`Error::NotMember`] if the caller has no access to the account, and [`Error::Denied`] if `account` is `None` and the caller
    /// is not the operator.
    pub async fn list(&self, caller: &Caller, account: Option<AccountId>, page: &PageRequest) -> Result<Page<agent_bot::Model>> {
        look(caller, account)?;
        let mut query = agent_bot::Entity::find();
        if let Some(account) = account {
            let usable = Condition::any()
                .add(agent_bot::Column::AccountId.is_null())
                .add(agent_bot::Column::AccountId.eq(account));
            query = query.filter(usable);
        }
        let ids = page::ids(self.context.db.read(), query, agent_bot::Column::Id, &Sort::by_id(false), page).await?;
        page::rows(
            self.context.db.read(),
            agent_bot::Entity::find(),
            agent_bot::Column::Id,
            |row| row.id.0,
            ids,
        )
        .await
    }

    /// Returns a bot if the caller may change it. If an account is given, the bot must belong to that account.
    async fn owned(&self, caller: &Caller, account: Option<AccountId>, id: AgentBotId) -> Result<AgentBot> {
        match account {
            Some(account) => caller.administer_or_platform(account)?,
            None => caller.platform()?,
        }
        let bot = self.find(account, id).await?;
        if account.is_some() && bot.account_id.is_none() {
            return Err(Error::Denied("only a platform token may change a bot of the installation"));
        }
        Ok(bot)
    }

    /// Changes a bot.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such bot, and [`Error::Denied`] if the caller may not change it.
    pub async fn update(
        &self,
        mut call: Call<AgentBot>,
        account: Option<AccountId>,
        id: AgentBotId,
        patch: AgentBotPatch,
    ) -> Result<Answer<AgentBot>> {
        let bot = match self.owned(&call.caller, account, id).await {
            Err(gone @ Error::NotFound { .. }) => return replayed(&self.context.db, &call).await?.ok_or(gone),
            found => found?,
        };
        let answer = if let Some(account) = bot.account_id {
            call.account = account;
            self.context
                .writer
                .write(call, move |write| {
                    Box::pin(async move {
                        let (bot, changes) = changed(&write.txn, id, patch, write.set.at).await?;
                        if !changes.is_empty() {
                            write.set.emit(PendingEvent {
                                kind: EventKind::AgentBotUpdated,
                                subject: Subject::AgentBot(Arc::clone(&bot)),
                                changes,
                            });
                        }
                        Ok(bot)
                    })
                })
                .await
        } else {
            let (caller, traceparent) = (Arc::clone(&call.caller), call.traceparent.clone());
            let answer = once(&self.context.db, call, move |txn| {
                Box::pin(async move {
                    let at = Micros::now();
                    let (bot, changes) = changed(txn, id, patch, at).await?;
                    if !changes.is_empty() {
                        outbox::record(txn, OutboxSubject::AgentBot(id), at).await?;
                    }
                    Ok((bot, None))
                })
            })
            .await;
            if answer.is_ok() {
                Outbox::new(&self.context)
                    .deliver(&caller, &traceparent, OutboxSubject::AgentBot(id))
                    .await;
            }
            answer
        };
        self.context.tokens.forget();
        answer
    }

    /// Deletes a bot, disconnects it from its inboxes and revokes its tokens.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such bot, and [`Error::Denied`] if the caller may not change it.
    pub async fn delete(&self, mut call: Call<()>, account: Option<AccountId>, id: AgentBotId) -> Result<Answer<()>> {
        let bot = match self.owned(&call.caller, account, id).await {
            Err(gone @ Error::NotFound { .. }) => return replayed(&self.context.db, &call).await?.ok_or(gone),
            found => found?,
        };
        let answer = if let Some(account) = bot.account_id {
            call.account = account;
            self.context
                .writer
                .write(call, move |write| {
                    Box::pin(async move {
                        disconnect(write, id).await?;
                        remove(&write.txn, id).await?;
                        write
                            .set
                            .emit(PendingEvent::new(EventKind::AgentBotDeleted, Subject::AgentBot(bot)));
                        Ok(())
                    })
                })
                .await
        } else {
            for account in self.connected(id).await? {
                let call = Call {
                    caller: Arc::clone(&call.caller),
                    account,
                    key: None,
                    traceparent: call.traceparent.clone(),
                };
                self.remove_from(call, id).await?;
            }
            once(&self.context.db, call, move |txn| {
                Box::pin(async move { Ok((remove(txn, id).await?, None)) })
            })
            .await
        };
        self.context.tokens.forget();
        answer
    }

    /// Returns the accounts in which a bot is connected to at least one inbox.
    async fn connected(&self, id: AgentBotId) -> Result<HashSet<AccountId>> {
        let accounts: Vec<AccountId> = inbox::Entity::find()
            .select_only()
            .column(inbox::Column::AccountId)
            .filter(inbox::Column::AgentBotId.eq(id))
            .into_tuple()
            .all(self.context.db.write())
            .await?;
        Ok(accounts.into_iter().collect())
    }

    /// Disconnects a bot that belongs to the installation from the inboxes of an account before the bot is deleted, and appends an event
    /// that reports the deletion to the account.
    async fn remove_from(&self, call: Call<()>, id: AgentBotId) -> Result<()> {
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let bot = load::agent_bot(&write.txn, write.account().id, id).await?;
                    disconnect(write, id).await?;
                    write
                        .set
                        .emit(PendingEvent::new(EventKind::AgentBotDeleted, Subject::AgentBot(bot)));
                    Ok(())
                })
            })
            .await
            .map(drop)
    }

    /// Returns the bot that an inbox is connected to, if any, and whether the bot is active there.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such inbox, and [`Error::Denied`] if the caller has no access to it.
    pub async fn of_inbox(&self, caller: &Caller, account: AccountId, id: InboxId) -> Result<Option<(AgentBot, bool)>> {
        let inbox = Inboxes::new(&self.context).get(caller, account, id).await?;
        let Some(bot) = inbox.row.agent_bot_id else {
            return Ok(None);
        };
        let bots = load::agent_bots(self.context.db.read(), account, [bot].into_iter()).await?;
        Ok(bots.into_values().next().map(|bot| (bot, inbox.row.agent_bot_active)))
    }

    /// Connects an inbox to a bot, which can be active or inactive there, or disconnects the inbox if `bot` is `None`.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the inbox or the bot does not exist, and [`Error::Denied`] if the caller may not change the inbox.
    pub async fn set_of_inbox(&self, call: Call<Arc<Inbox>>, id: InboxId, bot: Option<(AgentBotId, bool)>) -> Result<Answer<Arc<Inbox>>> {
        authorize_change(&self.context.db, &call.caller, call.account, id).await?;
        let answer = self
            .context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let account = write.account().id;
                    if let Some((bot, _)) = bot {
                        load::agent_bot(&write.txn, account, bot).await?;
                    }
                    connect(write, load::inbox(&write.txn, account, id).await?, bot).await
                })
            })
            .await;
        self.context.tokens.forget();
        answer
    }
}

fn look(caller: &Caller, account: Option<AccountId>) -> Result<()> {
    match account {
        Some(account) if !caller.is_platform() => caller.access(account).map(drop),
        Some(_) => Ok(()),
        None => caller.platform(),
    }
}

async fn changed(db: &impl ConnectionTrait, id: AgentBotId, patch: AgentBotPatch, at: Micros) -> Result<(AgentBot, Vec<Change>)> {
    let row = agent_bot::Entity::find_by_id(id).one(db).await?;
    let mut row = row.ok_or_else(|| Error::not_found("agent_bot", id))?;
    let changes = patch.apply(&mut row);
    if !changes.is_empty() {
        row.updated_at = at;
        row = row.into_active_model().reset_all().update(db).await?;
    }
    Ok((Arc::new(row), changes))
}

/// Disconnects a bot from every inbox in the account that is connected to it.
async fn disconnect(write: &mut Write, id: AgentBotId) -> Result<()> {
    let rows = inbox::Entity::find()
        .filter(inbox::Column::AccountId.eq(write.account().id))
        .filter(inbox::Column::AgentBotId.eq(id))
        .all(&write.txn)
        .await?;
    for inbox in load::with_channels(&write.txn, rows).await? {
        connect(write, Arc::new(inbox), None).await?;
    }
    Ok(())
}

async fn connect(write: &mut Write, inbox: Arc<Inbox>, bot: Option<(AgentBotId, bool)>) -> Result<Arc<Inbox>> {
    let (id, active) = bot.map_or((None, false), |(id, active)| (Some(id), active));
    let changes: Vec<Change> = [
        Change::new("agent_bot_id", inbox.row.agent_bot_id.map(i64::from), id.map(i64::from)),
        Change::new("agent_bot_active", inbox.row.agent_bot_active, active),
    ]
    .into_iter()
    .flatten()
    .collect();
    if changes.is_empty() {
        return Ok(inbox);
    }
    let mut inbox = Arc::unwrap_or_clone(inbox);
    inbox.row.agent_bot_id = id;
    inbox.row.agent_bot_active = active;
    inbox.row.updated_at = write.set.at;
    inbox.row.version = write.set.next_seq();
    inbox.row = inbox.row.into_active_model().reset_all().update(&write.txn).await?;
    let inbox = Arc::new(inbox);
    write.set.emit(PendingEvent {
        kind: EventKind::InboxUpdated,
        subject: Subject::Inbox(Arc::clone(&inbox)),
        changes,
    });
    Ok(inbox)
}

async fn remove(db: &impl ConnectionTrait, id: AgentBotId) -> Result<()> {
    token::Entity::update_many()
        .col_expr(token::Column::RevokedAt, Expr::value(Micros::now().0))
        .filter(token::Column::AgentBotId.eq(id))
        .filter(token::Column::RevokedAt.is_null())
        .exec(db)
        .await?;
    agent_bot::Entity::delete_by_id(id).exec(db).await?;
    Ok(())
}
