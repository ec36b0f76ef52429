//! Lets administrators add agents by e-mail address. If no user has the address, a user is created.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use parley_eventlog::{
    kind::EventKind,
    pending_event::{Change, PendingEvent, Subject},
};
use parley_storage::{
    entity::{
        kind::{Availability, Role},
        membership, user,
    },
    joined::Agent,
    load,
};
use parley_types::{
    error::{Error, FieldViolation, Result, Rule},
    id::{UserId, secret},
};
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, Set, sea_query::OnConflict};
use serde_json::json;

use crate::{
    context::Context,
    people::{
        members::{MembershipPatch, agent, authorize_change},
        users::new_id,
    },
    write::{
        Write,
        call::{Answer, Call},
    },
};

/// Returns the users with the given addresses. Users that do not exist yet are created with the given names.
async fn users(write: &Write, wanted: &[(String, String)]) -> Result<Vec<user::Model>> {
    let at = write.set.at;
    let new = wanted.iter().map(|(email, name)| user::ActiveModel {
        id: new_id(),
        name: Set(name.clone()),
        email: Set(email.clone()),
        avatar_url: Set(String::new()),
        custom_attributes: Set(json!({})),
        ui_settings: Set(json!({})),
        pubsub_token: Set(secret()),
        created_at: Set(at),
        updated_at: Set(at),
        ..Default::default()
    });
    // Users exist outside of accounts, so another account could create the same user concurrently.
    user::Entity::insert_many(new)
        .on_conflict(OnConflict::column(user::Column::Email).do_nothing().to_owned())
        .exec_without_returning(&write.txn)
        .await?;
    let mut rows = user::Entity::find()
        .filter(user::Column::Email.is_in(wanted.iter().map(|(email, _)| email)))
        .all(&write.txn)
        .await?;
    rows.sort_by_key(|row| wanted.iter().position(|(email, _)| *email == row.email));
    Ok(rows)
}

/// Makes users members of the account, with the names and addresses that the account supplied, and adds an event for each. Existing members
/// are skipped.
///
/// The membership of an existing user does not differ from that of a new user, so the account cannot tell whether the user existed before.
async fn join(write: &mut Write, users: &[user::Model], wanted: &[(String, String)], new: MembershipPatch) -> Result<Vec<Agent>> {
    let (account, at) = (write.account().id, write.set.at);
    let members = load::agents(&write.txn, account, users.iter().map(|user| user.id)).await?;
    let strangers: Vec<&user::Model> = users.iter().filter(|user| !members.contains_key(&user.id)).collect();
    let names: HashMap<&str, &str> = wanted.iter().map(|(email, name)| (email.as_str(), name.as_str())).collect();
    if strangers.is_empty() {
        return Ok(Vec::new());
    }
    let inviter = write.caller.user_id();
    let rows = strangers.iter().map(|user| {
        let row = membership::Model {
            account_id: account,
            user_id: user.id,
            role: new.role.unwrap_or(Role::Agent),
            availability: new.availability.unwrap_or(Availability::Online),
            auto_offline: new.auto_offline.unwrap_or(true),
            active_at: None,
            inviter_id: inviter,
            created_at: at,
            updated_at: at,
            name: names.get(user.email.as_str()).map(|name| (*name).to_owned()),
            email: Some(user.email.clone()),
        };
        row.into_active_model().reset_all()
    });
    membership::Entity::insert_many(rows).exec_without_returning(&write.txn).await?;
    let mut agents = load::agents(&write.txn, account, strangers.iter().map(|user| user.id)).await?;
    let mut joined = Vec::with_capacity(strangers.len());
    for agent in strangers.iter().filter_map(|user| agents.remove(&user.id)) {
        let agent = Arc::unwrap_or_clone(agent);
        write
            .set
            .emit(PendingEvent::new(EventKind::AgentAdded, Subject::Agent(agent.clone())));
        joined.push(agent);
    }
    Ok(joined)
}

/// Operations on agents, whom administrators add by e-mail address.
#[derive(Clone, Debug)]
pub struct Agents {
    context: Arc<Context>,
}

impl Agents {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
        }
    }

    /// Makes the user with this e-mail address a member of the account. Creates the user if it does not exist.
    ///
    /// # Errors
    /// Returns [`Error::Denied`] unless the caller is an administrator, and [`Error::Taken`] if the user is already a member.
    pub async fn create(&self, call: Call<Agent>, email: String, name: String, new: MembershipPatch) -> Result<Answer<Agent>> {
        call.caller.administer(call.account)?;
        let answer = self
            .context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let wanted = [(email, name)];
                    let users = users(write, &wanted).await?;
                    let joined = join(write, &users, &wanted, new).await?.pop();
                    joined.ok_or_else(|| Error::Taken {
                        violations: vec![FieldViolation::new("user_id", Rule::Taken, "is already a member")],
                        kind: "member",
                        existing_id: users.first().map(|user| user.id.0),
                    })
                })
            })
            .await;
        self.context.tokens.forget();
        answer
    }

    /// Like [`Agents::create`] for several addresses. Users who are already members are skipped.
    ///
    /// # Errors
    /// Returns [`Error::Denied`] unless the caller is an administrator.
    pub async fn create_many(&self, call: Call<Vec<Agent>>, emails: Vec<String>) -> Result<Answer<Vec<Agent>>> {
        call.caller.administer(call.account)?;
        let mut seen = HashSet::new();
        let wanted: Vec<(String, String)> = emails
            .into_iter()
            .filter(|email| seen.insert(email.clone()))
            .map(|email| (email.clone(), email.split('@').next().unwrap_or_default().to_owned()))
            .collect();
        let answer = self
            .context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    if wanted.is_empty() {
                        return Ok(Vec::new());
                    }
                    let users = users(write, &wanted).await?;
                    join(write, &users, &wanted, MembershipPatch::default()).await
                })
            })
            .await;
        self.context.tokens.forget();
        answer
    }

    /// Changes a member. A new name applies only in this account: the user, and the user's other memberships, keep their names.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such member, and [`Error::Denied`] unless the caller is an administrator.
    pub async fn update(&self, call: Call<Agent>, id: UserId, name: Option<String>, patch: MembershipPatch) -> Result<Answer<Agent>> {
        authorize_change(&self.context.db, &call.caller, call.account, id).await?;
        call.caller.administer(call.account)?;
        let answer = self
            .context
            .writer
            .write(call, move |write| Box::pin(change(write, id, name, patch)))
            .await;
        self.context.tokens.forget();
        answer
    }
}

async fn change(write: &mut Write, id: UserId, name: Option<String>, patch: MembershipPatch) -> Result<Agent> {
    let (account, at) = (write.account().id, write.set.at);
    let before = agent(&write.txn, account, id).await?;
    let mut row = before.membership.clone();
    let settings = patch.apply(&mut row);
    let name = name.filter(|name| *name != before.user.name);
    if name.is_some() {
        row.name.clone_from(&name);
    }
    let renamed = Change::new("name", before.user.name.clone(), name.unwrap_or_else(|| before.user.name.clone()));
    let changes: Vec<Change> = renamed.into_iter().chain(settings).collect();
    if changes.is_empty() {
        return Ok(before);
    }
    if row != before.membership {
        row.updated_at = at;
        membership::Entity::update(row.into_active_model().reset_all())
            .exec(&write.txn)
            .await?;
    }
    let agent = agent(&write.txn, account, id).await?;
    write.set.emit(PendingEvent {
        kind: EventKind::AgentUpdated,
        subject: Subject::Agent(agent.clone()),
        changes,
    });
    Ok(agent)
}
