//! Inboxes and their API channels.

pub mod agent_bots;
pub mod members;

use std::sync::Arc;

use parley_eventlog::{
    kind::EventKind,
    pending_event::{Change, PendingEvent, Subject},
};
use parley_storage::{
    Database,
    entity::{
        api_channel, attachment, contact_inbox, conversation, conversation_participant, inbox,
        kind::{ChannelType, LabelTarget, SenderNameType},
        labeling, message,
    },
    joined::Inbox,
    load,
    octets::octets,
};
use parley_types::{
    attribute_limits::check_change,
    error::Result,
    id::{AccountId, InboxId, Seq, secret},
    time::Micros,
};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, IntoActiveModel, QueryFilter, Set,
    sea_query::{Expr, Func, Query},
};
use serde_json::{Value as Json, json};

use crate::files::rows;
use crate::{
    auth::caller::Caller,
    context::Context,
    files::avatars,
    messages::liquid,
    page::{self, Page, PageRequest, Sort},
    write::call::{Answer, Call},
};

/// An inbox to create, or the new values of an existing inbox.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // same fields as the row
#[allow(clippy::struct_excessive_bools)] // settings of a Chatwoot inbox
pub struct NewInbox {
    pub name: String,
    pub avatar_url: String,
    pub greeting_enabled: bool,
    pub greeting_message: Option<String>,
    pub working_hours_enabled: bool,
    pub working_hours: Json,
    pub out_of_office_message: Option<String>,
    pub timezone: String,
    pub enable_email_collect: bool,
    pub csat_survey_enabled: bool,
    pub csat_config: Json,
    pub enable_auto_assignment: bool,
    pub auto_assignment_config: Json,
    pub allow_messages_after_resolved: bool,
    pub lock_to_single_conversation: bool,
    pub sender_name_type: SenderNameType,
    pub business_name: Option<String>,
    pub portal_id: Option<i64>,
    pub hmac_mandatory: bool,
    pub attach_unverified_sessions: bool,
    pub webhook_url: Option<String>,
    pub channel_attributes: Json,
}

impl NewInbox {
    /// Returns an inbox with Chatwoot's defaults, for requests that contain only a name.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            avatar_url: String::new(),
            greeting_enabled: false,
            greeting_message: None,
            working_hours_enabled: false,
            working_hours: default_working_hours(),
            out_of_office_message: None,
            timezone: "UTC".to_owned(),
            enable_email_collect: true,
            csat_survey_enabled: false,
            csat_config: json!({}),
            enable_auto_assignment: true,
            auto_assignment_config: json!({}),
            allow_messages_after_resolved: true,
            lock_to_single_conversation: false,
            sender_name_type: SenderNameType::Friendly,
            business_name: None,
            portal_id: None,
            hmac_mandatory: false,
            attach_unverified_sessions: true,
            webhook_url: None,
            channel_attributes: json!({}),
        }
    }

    /// Creates a [`NewInbox`] from the current values of an existing inbox.
    pub fn of(inbox: &Inbox) -> Self {
        let Inbox { row, channel } = inbox.clone();
        Self {
            name: row.name,
            avatar_url: row.avatar_url,
            greeting_enabled: row.greeting_enabled,
            greeting_message: row.greeting_message,
            working_hours_enabled: row.working_hours_enabled,
            working_hours: row.working_hours,
            out_of_office_message: row.out_of_office_message,
            timezone: row.timezone,
            enable_email_collect: row.enable_email_collect,
            csat_survey_enabled: row.csat_survey_enabled,
            csat_config: row.csat_config,
            enable_auto_assignment: row.enable_auto_assignment,
            auto_assignment_config: row.auto_assignment_config,
            allow_messages_after_resolved: row.allow_messages_after_resolved,
            lock_to_single_conversation: row.lock_to_single_conversation,
            sender_name_type: row.sender_name_type,
            business_name: row.business_name,
            portal_id: row.portal_id,
            hmac_mandatory: channel.hmac_mandatory,
            attach_unverified_sessions: channel.attach_unverified_sessions,
            webhook_url: channel.webhook_url,
            channel_attributes: channel.additional_attributes,
        }
    }

    /// Checks the inbox's templates for automatic messages (greeting, out-of-office message and satisfaction survey).
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::Invalid`] for the first setting whose template cannot be rendered, and
    /// [`parley_types::error::Error::Busy`] if the thread pool that renders templates has no free capacity.
    pub async fn check_templates(&self) -> Result<()> {
        let survey = self.csat_config.get("message").and_then(Json::as_str);
        liquid::check("inbox.greeting_message", self.greeting_message.as_deref()).await?;
        liquid::check("inbox.out_of_office_message", self.out_of_office_message.as_deref()).await?;
        liquid::check("inbox.csat_config.message", survey).await
    }

    /// Returns every setting with the name under which events report its changes.
    fn fields(&self) -> [(&'static str, Json); 22] {
        [
            ("name", json!(self.name)),
            ("avatar_url", json!(self.avatar_url)),
            ("greeting_enabled", json!(self.greeting_enabled)),
            ("greeting_message", json!(self.greeting_message)),
            ("working_hours_enabled", json!(self.working_hours_enabled)),
            ("working_hours", self.working_hours.clone()),
            ("out_of_office_message", json!(self.out_of_office_message)),
            ("timezone", json!(self.timezone)),
            ("enable_email_collect", json!(self.enable_email_collect)),
            ("csat_survey_enabled", json!(self.csat_survey_enabled)),
            ("csat_config", self.csat_config.clone()),
            ("enable_auto_assignment", json!(self.enable_auto_assignment)),
            ("auto_assignment_config", self.auto_assignment_config.clone()),
            ("allow_messages_after_resolved", json!(self.allow_messages_after_resolved)),
            ("lock_to_single_conversation", json!(self.lock_to_single_conversation)),
            ("sender_name_type", json!(self.sender_name_type.name())),
            ("business_name", json!(self.business_name)),
            ("portal_id", json!(self.portal_id)),
            ("api_channel.hmac_mandatory", json!(self.hmac_mandatory)),
            ("api_channel.attach_unverified_sessions", json!(self.attach_unverified_sessions)),
            ("api_channel.webhook_url", json!(self.webhook_url)),
            ("api_channel.additional_attributes", self.channel_attributes.clone()),
        ]
    }

    /// Checks the attribute maps against their size limits. `before` is the inbox as stored or, for a new inbox, one with default values.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::Invalid`] if a map exceeds [`parley_types::attribute_limits`].
    fn check_attributes(&self, before: &Self) -> Result<()> {
        for (field, before, after) in [
            ("inbox.csat_config", &before.csat_config, &self.csat_config),
            (
                "inbox.auto_assignment_config",
                &before.auto_assignment_config,
                &self.auto_assignment_config,
            ),
            (
                "inbox.api_channel.additional_attributes",
                &before.channel_attributes,
                &self.channel_attributes,
            ),
        ] {
            check_change(field, before, after)?;
        }
        Ok(())
    }

    fn put(self, inbox: &mut inbox::ActiveModel, channel: &mut api_channel::ActiveModel, at: Micros, version: Seq) {
        inbox.name = Set(self.name);
        inbox.avatar_url = Set(self.avatar_url);
        inbox.greeting_enabled = Set(self.greeting_enabled);
        inbox.greeting_message = Set(self.greeting_message);
        inbox.working_hours_enabled = Set(self.working_hours_enabled);
        inbox.working_hours = Set(self.working_hours);
        inbox.out_of_office_message = Set(self.out_of_office_message);
        inbox.timezone = Set(self.timezone);
        inbox.enable_email_collect = Set(self.enable_email_collect);
        inbox.csat_survey_enabled = Set(self.csat_survey_enabled);
        inbox.csat_config = Set(self.csat_config);
        inbox.enable_auto_assignment = Set(self.enable_auto_assignment);
        inbox.auto_assignment_config = Set(self.auto_assignment_config);
        inbox.allow_messages_after_resolved = Set(self.allow_messages_after_resolved);
        inbox.lock_to_single_conversation = Set(self.lock_to_single_conversation);
        inbox.sender_name_type = Set(self.sender_name_type);
        inbox.business_name = Set(self.business_name);
        inbox.portal_id = Set(self.portal_id);
        inbox.updated_at = Set(at);
        inbox.version = Set(version);
        channel.hmac_mandatory = Set(self.hmac_mandatory);
        channel.attach_unverified_sessions = Set(self.attach_unverified_sessions);
        channel.webhook_url = Set(self.webhook_url);
        channel.additional_attributes = Set(self.channel_attributes);
        channel.updated_at = Set(at);
    }
}

/// Returns the default hours: nine to five from Monday to Friday, as in Chatwoot.
fn default_working_hours() -> Json {
    let day = |day: i64| {
        let closed = day == 0 || day == 6;
        let hour = |hour: i64| if closed { Json::Null } else { json!(hour) };
        json!({
            "day_of_week": day, "closed_all_day": closed, "open_all_day": false, "open_hour": hour(9),
            "open_minutes": hour(0), "close_hour": hour(17), "close_minutes": hour(0),
        })
    };
    (0..7).map(day).collect()
}

/// Inserts an inbox with a new channel.
///
/// # Errors
/// Returns [`parley_types::error::Error::Database`] if a query fails.
pub async fn insert(
    db: &impl ConnectionTrait,
    account: AccountId,
    new: NewInbox,
    identifier: String,
    version: Seq,
    at: Micros,
) -> Result<Inbox> {
    let mut row = inbox::ActiveModel {
        account_id: Set(account),
        channel_type: Set(ChannelType::Api),
        created_at: Set(at),
        ..Default::default()
    };
    let mut channel = api_channel::ActiveModel {
        account_id: Set(account),
        identifier: Set(identifier),
        hmac_token: Set(secret()),
        created_at: Set(at),
        ..Default::default()
    };
    new.put(&mut row, &mut channel, at, version);
    let channel = channel.insert(db).await?;
    row.channel_id = Set(channel.id);
    Ok(Inbox {
        row: row.insert(db).await?,
        channel,
    })
}

/// Operations on inboxes.
#[derive(Clone, Debug)]
pub struct Inboxes {
    context: Arc<Context>,
}

impl Inboxes {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
        }
    }

    /// Creates an inbox without members.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::Denied`] unless the caller is an administrator, and [`parley_types::error::Error::Invalid`] if
    /// a template cannot be rendered or an attribute map is too large.
    pub async fn create(&self, call: Call<Arc<Inbox>>, new: NewInbox) -> Result<Answer<Arc<Inbox>>> {
        call.caller.administer(call.account)?;
        new.check_attributes(&NewInbox::named(&new.name))?;
        new.check_templates().await?;
        let (files, mut new) = (self.context.files.clone(), new);
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    avatars::replace(&files, write, "inbox.avatar_url", "", &mut new.avatar_url).await?;
                    let (version, at) = (write.set.next_seq(), write.set.at);
                    let inbox = Arc::new(insert(&write.txn, write.account().id, new, secret(), version, at).await?);
                    write
                        .set
                        .emit(PendingEvent::new(EventKind::InboxCreated, Subject::Inbox(Arc::clone(&inbox))));
                    Ok(inbox)
                })
            })
            .await
    }

    /// Returns one inbox.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::NotFound`] if there is no such inbox, and [`parley_types::error::Error::Denied`] if the caller
    /// is an agent who is not a member of it.
    pub async fn get(&self, caller: &Caller, account: AccountId, id: InboxId) -> Result<Arc<Inbox>> {
        let access = caller.access(account)?;
        let inbox = load::inbox(self.context.db.read(), account, id).await?;
        access.inbox(id)?;
        Ok(inbox)
    }

    /// Returns a page of the inboxes that the caller can see, sorted by name.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::NotMember`] if the caller has no access to the account.
    pub async fn list(&self, caller: &Caller, account: AccountId, page: &PageRequest) -> Result<Page<Inbox>> {
        let access = caller.access(account)?;
        let mut query = inbox::Entity::find().filter(inbox::Column::AccountId.eq(account));
        if let Some(only) = &access.inboxes {
            query = query.filter(inbox::Column::Id.is_in(only.iter().map(|id| id.0)));
        }
        let by = Func::lower(Expr::col((inbox::Entity, inbox::Column::Name))).into();
        let sort = Sort {
            by: Some(by),
            coarse: None,
            aside: None,
            text: true,
            nullable: false,
            descending: false,
        };
        let db = self.context.db.read();
        let ids = page::ids(db, query, inbox::Column::Id, &sort, page).await?;
        let channel = format!(
            "(SELECT {} FROM api_channels WHERE api_channels.id = inboxes.channel_id)",
            octets::<api_channel::Entity>(self.context.db.dialect(), "api_channels")
        );
        let ids = page::fitting(db, inbox::Entity::find(), inbox::Column::Id, Some(channel), ids).await?;
        let rows = inbox::Entity::find()
            .filter(inbox::Column::Id.is_in(ids.items.iter().copied()))
            .all(db)
            .await?;
        let inboxes = load::with_channels(db, rows).await?;
        Ok(ids.with(inboxes, |inbox| inbox.row.id.0))
    }

    /// Checks first that an inbox exists and then that the caller may change it: if the inbox does not exist, even an unauthorized caller
    /// receives [`parley_types::error::Error::NotFound`].
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::NotFound`] if there is no such inbox, and [`parley_types::error::Error::Denied`] if the caller
    /// may not change it.
    pub async fn authorize_change(&self, caller: &Caller, account: AccountId, id: InboxId) -> Result<()> {
        authorize_change(&self.context.db, caller, account, id).await
    }

    /// Applies `patch` to the settings of an inbox.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::NotFound`] if there is no such inbox, [`parley_types::error::Error::Denied`] if the caller may
    /// not change it, and [`parley_types::error::Error::Invalid`] if an attribute map is too large or the avatar is not available.
    pub async fn update(
        &self,
        call: Call<Arc<Inbox>>,
        id: InboxId,
        patch: impl FnOnce(&mut NewInbox) + Send + 'static,
    ) -> Result<Answer<Arc<Inbox>>> {
        authorize_change(&self.context.db, &call.caller, call.account, id).await?;
        let files = self.context.files.clone();
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let inbox = load::inbox(&write.txn, write.account().id, id).await?;
                    let before = NewInbox::of(&inbox);
                    let mut after = before.clone();
                    patch(&mut after);
                    after.check_attributes(&before)?;
                    avatars::replace(&files, write, "inbox.avatar_url", &before.avatar_url, &mut after.avatar_url).await?;
                    let pairs = before.fields().into_iter().zip(after.fields());
                    let changes: Vec<Change> = pairs
                        .filter_map(|((field, before), (_, after))| Change::new(field, before, after))
                        .collect();
                    if changes.is_empty() {
                        return Ok(inbox);
                    }
                    let (at, version) = (write.set.at, write.set.next_seq());
                    let inbox = Arc::unwrap_or_clone(inbox);
                    let (mut row, mut channel) = (inbox.row.into_active_model(), inbox.channel.into_active_model());
                    after.put(&mut row, &mut channel, at, version);
                    let inbox = Arc::new(Inbox {
                        row: row.update(&write.txn).await?,
                        channel: channel.update(&write.txn).await?,
                    });
                    write.set.emit(PendingEvent {
                        kind: EventKind::InboxUpdated,
                        subject: Subject::Inbox(Arc::clone(&inbox)),
                        changes,
                    });
                    Ok(inbox)
                })
            })
            .await
    }

    /// Deletes an inbox with its conversations and sessions.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::NotFound`] if there is no such inbox, and [`parley_types::error::Error::Denied`] if the caller
    /// may not change it.
    pub async fn delete(&self, call: Call<()>, id: InboxId) -> Result<Answer<()>> {
        authorize_change(&self.context.db, &call.caller, call.account, id).await?;
        let files = self.context.files.clone();
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let account = write.account().id;
                    let inbox = load::inbox(&write.txn, account, id).await?;
                    avatars::remove_replaced(&files, write, &inbox.row.avatar_url).await?;
                    let mut conversations = Query::select();
                    conversations
                        .column(conversation::Column::Id)
                        .from(conversation::Entity)
                        .and_where(Expr::col(conversation::Column::AccountId).eq(account.0))
                        .and_where(Expr::col(conversation::Column::InboxId).eq(id.0));
                    delete_conversations(&write.txn, account, conversations).await?;
                    contact_inbox::Entity::delete_many()
                        .filter(contact_inbox::Column::AccountId.eq(account))
                        .filter(contact_inbox::Column::InboxId.eq(id))
                        .exec(&write.txn)
                        .await?;
                    inbox::Entity::delete_by_id(id).exec(&write.txn).await?;
                    api_channel::Entity::delete_by_id(inbox.channel.id).exec(&write.txn).await?;
                    write.set.emit(PendingEvent::new(EventKind::InboxDeleted, Subject::Inbox(inbox)));
                    Ok(())
                })
            })
            .await
    }
}

/// Checks first that an inbox exists and then that the caller may change it.
///
/// # Errors
/// Returns [`parley_types::error::Error::NotFound`] if there is no such inbox, and [`parley_types::error::Error::Denied`] if the caller may
/// not change it.
pub(crate) async fn authorize_change(db: &Database, caller: &Caller, account: AccountId, id: InboxId) -> Result<()> {
    caller.administer_seen(account, load::inbox(db.read(), account, id)).await
}

/// Deletes conversations with their messages, attachments, labels and participants, in a fixed number of statements.
///
/// # Errors
/// Returns [`parley_types::error::Error::Database`] if a query fails.
pub async fn delete_conversations(db: &impl ConnectionTrait, account: AccountId, ids: sea_orm::sea_query::SelectStatement) -> Result<()> {
    let mut messages = Query::select();
    messages
        .column(message::Column::Id)
        .from(message::Entity)
        .and_where(Expr::col(message::Column::AccountId).eq(account.0))
        .and_where(Expr::col(message::Column::ConversationId).in_subquery(ids.clone()));
    let attachments = attachment::Column::AccountId
        .eq(account)
        .and(attachment::Column::MessageId.in_subquery(messages));
    rows::release(db, attachments).await?;
    message::Entity::delete_many()
        .filter(message::Column::AccountId.eq(account))
        .filter(message::Column::ConversationId.in_subquery(ids.clone()))
        .exec(db)
        .await?;
    labeling::Entity::delete_many()
        .filter(labeling::Column::AccountId.eq(account))
        .filter(labeling::Column::SubjectKind.eq(LabelTarget::Conversation))
        .filter(labeling::Column::SubjectId.in_subquery(ids.clone()))
        .exec(db)
        .await?;
    conversation_participant::Entity::delete_many()
        .filter(conversation_participant::Column::AccountId.eq(account))
        .filter(conversation_participant::Column::ConversationId.in_subquery(ids.clone()))
        .exec(db)
        .await?;
    conversation::Entity::delete_many()
        .filter(conversation::Column::AccountId.eq(account))
        .filter(conversation::Column::Id.in_subquery(ids))
        .exec(db)
        .await?;
    Ok(())
}
