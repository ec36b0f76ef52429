//! Creates and reads conversations, and publishes typing notifications. The module `changes` handles other changes to conversations.

pub mod answers;
pub mod assignment;
pub mod attachments;
pub mod changes;
pub mod filter;
pub mod list;
pub mod order;
pub mod participants;
pub mod read_state;
pub(crate) mod rows;
pub(crate) mod seen;
pub mod status;
pub mod transcripts;
pub mod unsnooze;

use crate::conversations::answers::CreatedConversation;
use crate::conversations::rows::check_member;
use crate::conversations::rows::save;
use crate::conversations::rows::save_contact;
use crate::conversations::rows::summary_of;
use crate::messages::rules::wants_assignment;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use parley_eventlog::{
    cursor::Cursor,
    ephemeral::Typing,
    kind::{ActorType, EventKind},
    pending_event::{Actor, PendingEvent, Subject},
};
use parley_storage::{
    entity::{
        contact_inbox, conversation,
        kind::{ConversationStatus, Priority},
    },
    joined::{Conversation, ConversationSummary},
    load,
};
use parley_types::{
    error::{Error, Result},
    id::{AccountId, ContactId, ConversationId, InboxId, TeamId, UserId},
    time::Micros,
};
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder};
use serde_json::{Map, Value as Json};
use uuid::Uuid;

use crate::{
    auth::caller::{Access, Caller},
    contacts::{
        scope,
        sessions::{NewSession, session, session_added},
    },
    context::Context,
    messages::{
        liquid::dry_run::render_texts,
        new_message::NewMessage,
        prepare::prepare_message,
        resolve_speakers,
        rules::{add_message, first_status, needs_rendering},
    },
    people::{team_members, teams},
    search::Search,
    write::{
        Write,
        call::{Answer, Call},
    },
};

/// The data for creating a conversation.
#[derive(Clone, Debug)]
pub struct NewConversation {
    /// The inbox of the conversation, if the request names one.
    pub inbox: Option<InboxId>,
    /// The contact of the conversation, if the request names one.
    pub contact: Option<ContactId>,
    /// The source id of the contact session, if the request names one.
    pub source_id: Option<String>,
    /// The initial status.
    pub status: ConversationStatus,
    /// The time at which the conversation reopens, if it is snoozed.
    pub snoozed_until: Option<Micros>,
    /// The user to assign the conversation to.
    pub assignee: Option<UserId>,
    /// The team to assign the conversation to. An assignee who is not in the team is ignored.
    pub team: Option<TeamId>,
    /// The initial priority, if any.
    pub priority: Option<Priority>,
    /// Additional attributes, which programs set. Custom attributes, by contrast, are defined by the account.
    pub additional_attributes: Map<String, Json>,
    /// Custom attributes, which the account defines.
    pub custom_attributes: Map<String, Json>,
    /// Whether to mark the session as verified if a new session is created for the conversation.
    pub hmac_verified: bool,
    /// The first message, if any.
    pub message: Option<NewMessage>,
}

/// A typing notification.
#[derive(Clone, Copy, Debug)]
pub struct NewTyping {
    /// Whether typing started, rather than stopped.
    pub typing: bool,
    /// Whether the text being typed is a private note.
    pub private: bool,
    /// Whether the contact, rather than the caller, is typing.
    pub by_contact: bool,
}

/// Operations on conversations.
#[derive(Clone, Debug)]
pub struct Conversations {
    context: Arc<Context>,
    search: Search,
}

impl Conversations {
    pub(crate) fn new(context: &Arc<Context>, search: Search) -> Self {
        Self {
            context: Arc::clone(context),
            search,
        }
    }

    /// Creates a conversation, with a first message if `new` has one.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the inbox, the contact or the session does not exist; [`Error::Denied`] if the caller has no access to the
    /// inbox, or if `hmac_verified` is set and the caller must not mark sessions as verified.
    pub async fn create(&self, call: Call<CreatedConversation>, mut new: NewConversation) -> Result<Answer<CreatedConversation>> {
        let access = call.caller.write_access(call.account)?.clone();
        if new.hmac_verified {
            call.caller.vouch(call.account)?;
        }
        resolve_speakers(self.context.db.read(), call.account, new.message.iter_mut()).await?;
        self.context.files.resolve_uploads(new.message.iter_mut().collect())?;
        let messages_per_minute = self.context.writer.planner_config().messages_per_minute;
        self.context
            .writer
            .write(call, move |write| -> BoxFuture<'_, Result<CreatedConversation>> {
                Box::pin(async move {
                    let account = Arc::clone(write.account());
                    let (session, made) = find_session(write, &access, &new).await?;
                    if made {
                        session_added(write, &session).await?;
                    }
                    let inbox = load::inbox(&write.txn, account.id, session.inbox_id).await?;
                    let locked = if inbox.row.lock_to_single_conversation {
                        newest(write, &session).await?
                    } else {
                        None
                    };
                    let mut conversation = match locked {
                        Some(id) => load::conversation(&write.txn, &account, id).await?,
                        None => begin(write, &session, &new).await?,
                    };
                    let mut message = None;
                    if let Some(mut first) = new.message {
                        prepare_message(write, &conversation, &mut first, messages_per_minute).await?;
                        let caller = Arc::clone(&write.caller);
                        if needs_rendering(&conversation, &first) {
                            // Templates can contain the conversation's number, which is allocated only in this transaction, so they cannot
                            // be rendered before the write is queued.
                            render_texts(write, |set| add_message(set, &mut conversation.clone(), &caller, first.clone())).await;
                        }
                        let slept = conversation.row.status != ConversationStatus::Open;
                        let made = add_message(&mut write.set, &mut conversation, &caller, first);
                        if slept && wants_assignment(&conversation) {
                            assignment::assign_automatically(write, &mut conversation).await?;
                        }
                        save(write, &mut conversation).await?;
                        save_contact(write, &conversation).await?;
                        message = Some(made);
                    }
                    let conversation = summary_of(conversation, message.as_deref(), &write.txn).await?;
                    Ok(CreatedConversation { conversation, message })
                })
            })
            .await
    }

    /// Returns one conversation with its newest messages.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the conversation does not exist; [`Error::Denied`] if the caller has no access to the inbox.
    pub async fn get(&self, caller: &Caller, account: AccountId, id: ConversationId) -> Result<ConversationSummary> {
        rows::read_summary(self.context.db.read(), caller, account, id).await
    }

    /// Notifies subscribers that the caller or the contact started or stopped typing. Returns the head of the event log.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the conversation does not exist; [`Error::Denied`] if the caller has no access to the inbox.
    pub async fn set_typing(&self, caller: &Caller, account: AccountId, id: ConversationId, new: NewTyping) -> Result<Cursor> {
        let access = caller.write_access(account)?;
        let db = self.context.db.read();
        let conversation = load::conversation(db, &load::account(db, account).await?, id).await?;
        access.conversation(&conversation.row)?;
        let contact = &conversation.contact.row;
        let actor = if new.by_contact {
            Actor {
                kind: ActorType::Contact,
                id: contact.id.0,
                name: contact.name.clone(),
            }
        } else {
            caller.actor(account)
        };
        let typing = Typing {
            account,
            conversation: id,
            inbox: conversation.row.inbox_id,
            actor,
            typing: new.typing,
            private: new.private,
        };
        self.context.events.broadcaster.publish_ephemeral(&typing);
        let range = self.context.events.log.range(account).await?;
        Ok(range.head_cursor())
    }
}

/// Returns the session for a new conversation, and whether the session was created. If both an inbox and a contact are given, finds or
/// creates the session. Otherwise, looks the session up by its source id, within the inbox or contact if one is given.
async fn find_session(write: &Write, access: &Access, new: &NewConversation) -> Result<(contact_inbox::Model, bool)> {
    let account = write.account().id;
    if let Some(inbox) = new.inbox {
        load::inbox(&write.txn, account, inbox).await?;
        access.inbox(inbox)?;
    }
    if let Some(contact) = new.contact {
        scope::check(&write.txn, access, account, contact).await?;
        load::contact(&write.txn, account, contact).await?;
    }
    if let (Some(inbox), Some(contact)) = (new.inbox, new.contact) {
        let new = NewSession {
            contact,
            inbox,
            source_id: new.source_id.clone(),
            hmac_verified: new.hmac_verified,
            ..NewSession::default()
        };
        return session(write, new).await;
    }
    let source_id = new.source_id.clone().unwrap_or_default();
    let mut query = contact_inbox::Entity::find()
        .filter(contact_inbox::Column::AccountId.eq(account))
        .filter(contact_inbox::Column::SourceId.eq(source_id.as_str()));
    if let Some(inbox) = new.inbox {
        query = query.filter(contact_inbox::Column::InboxId.eq(inbox));
    }
    if let Some(contact) = new.contact {
        query = query.filter(contact_inbox::Column::ContactId.eq(contact));
    }
    let row = query.order_by_asc(contact_inbox::Column::Id).one(&write.txn).await?;
    let row = row.ok_or_else(|| Error::not_found("contact_inbox", source_id))?;
    access.inbox(row.inbox_id)?;
    Ok((row, false))
}

async fn newest(write: &Write, session: &contact_inbox::Model) -> Result<Option<ConversationId>> {
    let row = conversation::Entity::find()
        .filter(conversation::Column::AccountId.eq(session.account_id))
        .filter(conversation::Column::ContactInboxId.eq(session.id))
        .order_by_desc(conversation::Column::Id)
        .one(&write.txn)
        .await?;
    Ok(row.map(|row| row.id))
}

/// Creates a conversation, and assigns it automatically if automatic assignment is enabled for its inbox.
async fn begin(write: &mut Write, session: &contact_inbox::Model, new: &NewConversation) -> Result<Conversation> {
    let mut conversation = insert(write, session, new).await?;
    let begun = conversation.row.assignee_id;
    assignment::assign_automatically(write, &mut conversation).await?;
    if conversation.row.assignee_id != begun {
        save(write, &mut conversation).await?;
    }
    Ok(conversation)
}

async fn insert(write: &mut Write, session: &contact_inbox::Model, new: &NewConversation) -> Result<Conversation> {
    let account = Arc::clone(write.account());
    let contact = load::contact(&write.txn, account.id, session.contact_id).await?;
    if let Some(assignee) = new.assignee {
        check_member(write, assignee).await?;
    }
    if let Some(team) = new.team {
        teams::known(write, team).await?;
    }
    let assignee = match (new.assignee, new.team) {
        (Some(user), Some(team)) if !team_members::members(&write.txn, account.id, team).await?.contains(&user) => None,
        (assignee, _) => assignee,
    };
    // As in Chatwoot, a conversation with a blocked contact is created with the status resolved.
    let inbox = load::inbox(&write.txn, account.id, session.inbox_id).await?;
    let status = if contact.row.blocked {
        ConversationStatus::Resolved
    } else if inbox.row.agent_bot_active {
        first_status(&inbox)
    } else {
        new.status
    };
    let at = write.set.at;
    let row = conversation::Model {
        account_id: account.id,
        id: write.set.allocate_conversation_id(),
        uuid: Uuid::new_v4(),
        inbox_id: session.inbox_id,
        contact_id: session.contact_id,
        contact_inbox_id: session.id,
        status,
        priority: new.priority,
        assignee_id: assignee,
        team_id: new.team,
        snoozed_until: new.snoozed_until.filter(|_| status == ConversationStatus::Snoozed),
        additional_attributes: Json::Object(new.additional_attributes.clone()),
        custom_attributes: Json::Object(new.custom_attributes.clone()),
        agent_last_seen_at: None,
        assignee_last_seen_at: None,
        contact_last_seen_at: None,
        first_reply_created_at: None,
        waiting_since: Some(at),
        last_activity_at: at,
        last_incoming_at: None,
        unread_count: 0,
        message_count: 0,
        last_message_id: None,
        last_non_activity_message_id: None,
        last_public_message_id: None,
        last_reply_at: None,
        last_template_at: None,
        created_at: at,
        updated_at: at,
        version: write.set.next_seq(),
    };
    let id = row.id;
    row.into_active_model().reset_all().insert(&write.txn).await?;
    let conversation = load::conversation(&write.txn, &account, id).await?;
    write.set.emit(PendingEvent::new(
        EventKind::ConversationCreated,
        Subject::Conversation(conversation.clone()),
    ));
    Ok(conversation)
}
