//! Memberships: who works in an account, and in which of its inboxes.

use std::sync::Arc;

use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, IntoActiveModel, QueryFilter, Set,
    sea_query::{Expr, Func, Query},
};

use crate::{
    chat::{
        Chat,
        call::{Answer, Call},
        caller::Caller,
        page::{self, Page, PageRequest, Sort},
    },
    db::{
        entity::{
            conversation, inbox_member,
            kind::{Availability, Role},
            membership, user,
        },
        joined::Agent,
        load,
    },
    error::{Error, Result, Rule, Violation},
    events::draft::{Change, Draft, Subject},
    events::kind::EventKind,
    id::{AccountId, InboxId, UserId},
};

/// A membership to make or change; what is none stays, or takes its default.
#[derive(Clone, Copy, Debug, Default)]
pub struct MembershipPatch {
    /// The role.
    pub role: Option<Role>,
    /// What the user shows.
    pub availability: Option<Availability>,
    /// Whether the user counts as offline while not connected.
    pub auto_offline: Option<bool>,
}

async fn agent(db: &impl ConnectionTrait, account: AccountId, user: UserId) -> Result<Agent> {
    let mut agents = load::agents(db, account, [user].into_iter()).await?;
    agents
        .remove(&user)
        .map(Arc::unwrap_or_clone)
        .ok_or_else(|| Error::not_found("member", user))
}

fn by_name() -> Sort {
    Sort {
        by: Some(Func::lower(Expr::col((user::Entity, user::Column::Name))).into()),
        coarse: None,
        text: true,
        nullable: false,
        descending: false,
    }
}

impl Chat {
    /// Makes a user a member.
    ///
    /// # Errors
    /// [`Error::Denied`]; [`Error::Taken`] for a member; [`Error::Invalid`] without such a user.
    pub async fn create_membership(&self, call: Call<Agent>, id: UserId, new: MembershipPatch) -> Result<Answer<Agent>> {
        call.caller.administer_or_platform(call.account)?;
        let inviter = call.caller.user_id();
        let answer = self
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let account = write.account().id;
                    if load::users(&write.txn, [id].into_iter()).await?.is_empty() {
                        return Err(Error::invalid("user_id", Rule::Unknown, "must be a user"));
                    }
                    if membership::Entity::find_by_id((account, id)).one(&write.txn).await?.is_some() {
                        let violations = vec![Violation::new("user_id", Rule::Taken, "is a member already")];
                        return Err(Error::Taken {
                            violations,
                            kind: "member",
                            existing_id: Some(id.0),
                        });
                    }
                    let row = membership::Model {
                        account_id: account,
                        user_id: id,
                        role: new.role.unwrap_or(Role::Agent),
                        availability: new.availability.unwrap_or(Availability::Online),
                        auto_offline: new.auto_offline.unwrap_or(true),
                        active_at: None,
                        inviter_id: inviter,
                        created_at: write.ledger.at,
                        updated_at: write.ledger.at,
                    };
                    row.into_active_model().reset_all().insert(&write.txn).await?;
                    let agent = agent(&write.txn, account, id).await?;
                    write.ledger.emit(Draft::new(EventKind::AgentAdded, Subject::Agent(agent.clone())));
                    Ok(agent)
                })
            })
            .await;
        self.tokens.forget();
        answer
    }

    /// Changes a member.
    ///
    /// # Errors
    /// [`Error::Denied`]; [`Error::NotFound`].
    pub async fn update_membership(&self, call: Call<Agent>, id: UserId, patch: MembershipPatch) -> Result<Answer<Agent>> {
        call.caller.administer_or_platform(call.account)?;
        let answer = self
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let account = write.account().id;
                    let row = membership::Entity::find_by_id((account, id)).one(&write.txn).await?;
                    let mut row = row.ok_or_else(|| Error::not_found("member", id))?;
                    let before = row.clone();
                    row.role = patch.role.unwrap_or(row.role);
                    row.availability = patch.availability.unwrap_or(row.availability);
                    row.auto_offline = patch.auto_offline.unwrap_or(row.auto_offline);
                    let changes: Vec<Change> = [
                        Change::new("role", before.role.name(), row.role.name()),
                        Change::new("availability", before.availability.name(), row.availability.name()),
                        Change::new("auto_offline", before.auto_offline, row.auto_offline),
                    ]
                    .into_iter()
                    .flatten()
                    .collect();
                    if !changes.is_empty() {
                        row.updated_at = write.ledger.at;
                        row.into_active_model().reset_all().update(&write.txn).await?;
                    }
                    let agent = agent(&write.txn, account, id).await?;
                    if !changes.is_empty() {
                        write.ledger.emit(Draft {
                            kind: EventKind::AgentUpdated,
                            subject: Subject::Agent(agent.clone()),
                            changes,
                        });
                    }
                    Ok(agent)
                })
            })
            .await;
        self.tokens.forget();
        answer
    }

    /// Ends a membership, and with it the user's inboxes and assignments in the account.
    ///
    /// # Errors
    /// [`Error::Denied`]; [`Error::NotFound`].
    pub async fn delete_membership(&self, call: Call<()>, id: UserId) -> Result<Answer<()>> {
        call.caller.administer_or_platform(call.account)?;
        let answer = self
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let account = write.account().id;
                    let agent = agent(&write.txn, account, id).await?;
                    membership::Entity::delete_by_id((account, id)).exec(&write.txn).await?;
                    inbox_member::Entity::delete_many()
                        .filter(inbox_member::Column::AccountId.eq(account))
                        .filter(inbox_member::Column::UserId.eq(id))
                        .exec(&write.txn)
                        .await?;
                    let version = write.ledger.next_seq();
                    conversation::Entity::update_many()
                        .col_expr(conversation::Column::AssigneeId, Expr::value(Option::<i64>::None))
                        .col_expr(conversation::Column::Version, Expr::value(version.0))
                        .filter(conversation::Column::AccountId.eq(account))
                        .filter(conversation::Column::AssigneeId.eq(id))
                        .exec(&write.txn)
                        .await?;
                    write.ledger.emit(Draft::new(EventKind::AgentRemoved, Subject::Agent(agent)));
                    Ok(())
                })
            })
            .await;
        self.tokens.forget();
        answer
    }

    /// The members of an account, by name.
    ///
    /// # Errors
    /// [`Error::NotMember`].
    pub async fn members(&self, caller: &Caller, account: AccountId, page: &PageRequest) -> Result<Page<Agent>> {
        if !caller.is_platform() {
            caller.access(account)?;
        }
        let mut members = Query::select();
        members
            .column(membership::Column::UserId)
            .from(membership::Entity)
            .and_where(Expr::col(membership::Column::AccountId).eq(account.0));
        self.agents_among(account, members, page).await
    }

    /// The members of an inbox, by name.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Denied`] for agents who are none of them.
    pub async fn inbox_members(&self, caller: &Caller, account: AccountId, inbox: InboxId, page: &PageRequest) -> Result<Page<Agent>> {
        let access = caller.access(account)?;
        load::inbox(self.db.read(), account, inbox).await?;
        access.inbox(inbox)?;
        let mut members = Query::select();
        members
            .column(inbox_member::Column::UserId)
            .from(inbox_member::Entity)
            .and_where(Expr::col(inbox_member::Column::AccountId).eq(account.0))
            .and_where(Expr::col(inbox_member::Column::InboxId).eq(inbox.0));
        self.agents_among(account, members, page).await
    }

    /// A page of these users as members of the account, by name.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(super) async fn agents_among(
        &self,
        account: AccountId,
        users: sea_orm::sea_query::SelectStatement,
        page: &PageRequest,
    ) -> Result<Page<Agent>> {
        let db = self.db.read();
        let query = user::Entity::find().filter(user::Column::Id.in_subquery(users));
        let ids = page::ids(db, query, user::Column::Id, &by_name(), page).await?;
        let agents = load::agents(db, account, ids.items.iter().copied().map(UserId)).await?;
        let agents = agents.into_values().map(Arc::unwrap_or_clone).collect();
        Ok(Page {
            items: page::in_order(&ids.items, agents, |agent: &Agent| agent.user.id.0),
            next: ids.next,
        })
    }

    /// Makes the members of an inbox exactly these, each once.
    ///
    /// # Errors
    /// [`Error::Denied`]; [`Error::NotFound`]; [`Error::Invalid`] for users who are no members of the account.
    pub async fn set_inbox_members(&self, call: Call<Vec<Agent>>, inbox: InboxId, users: Vec<UserId>) -> Result<Answer<Vec<Agent>>> {
        call.caller.administer(call.account)?;
        let answer = self
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let account = write.account().id;
                    let row = load::inbox(&write.txn, account, inbox).await?;
                    let agents = load::agents(&write.txn, account, users.iter().copied()).await?;
                    if !users.iter().all(|user| agents.contains_key(user)) {
                        return Err(Error::invalid("user_ids", Rule::Unknown, "must be members of the account"));
                    }
                    inbox_member::Entity::delete_many()
                        .filter(inbox_member::Column::AccountId.eq(account))
                        .filter(inbox_member::Column::InboxId.eq(inbox))
                        .exec(&write.txn)
                        .await?;
                    let at = write.ledger.at;
                    let member = |user: &UserId| inbox_member::ActiveModel {
                        account_id: Set(account),
                        inbox_id: Set(inbox),
                        user_id: Set(*user),
                        created_at: Set(at),
                    };
                    if !agents.is_empty() {
                        inbox_member::Entity::insert_many(agents.keys().map(member))
                            .exec_without_returning(&write.txn)
                            .await?;
                    }
                    let mut members: Vec<Agent> = agents.into_values().map(Arc::unwrap_or_clone).collect();
                    members.sort_by_key(|agent| (agent.user.name.to_lowercase(), agent.user.id));
                    let after: Vec<i64> = members.iter().map(|agent| agent.user.id.0).collect();
                    let changes = Change::new("member_ids", serde_json::Value::Null, after).into_iter().collect();
                    write.ledger.emit(Draft {
                        kind: EventKind::InboxUpdated,
                        subject: Subject::Inbox(row),
                        changes,
                    });
                    Ok(members)
                })
            })
            .await;
        self.tokens.forget();
        answer
    }
}
