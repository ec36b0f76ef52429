//! Changes the status of a conversation, including the handover from an agent bot to the agents.

use crate::conversations::answers::StatusSet;
use std::sync::Arc;

use parley_eventlog::kind::{ActorType, EventKind};
use parley_storage::{
    entity::kind::{ConversationStatus, Role},
    joined::Conversation,
    load,
};
use parley_types::{error::Result, id::ConversationId, time::Micros};

use crate::{
    auth::caller::Access,
    conversations::{
        Conversations,
        assignment::{assign, assign_automatically},
        rows::{save, summary_of},
    },
    messages::{
        automatic,
        rules::{self, add_activity, changed_with},
    },
    write::{
        Write,
        call::{Answer, Call},
    },
};

impl Conversations {
    /// Sets the status of a conversation, or toggles it between open and resolved if `status` is `None`. `until` is the time at which a
    /// snoozed conversation reopens.
    ///
    /// # Errors
    /// [`parley_types::error::Error::NotFound`] if the conversation does not exist; [`parley_types::error::Error::Denied`] if the caller
    /// has no access to the inbox.
    pub async fn update_status(
        &self,
        call: Call<StatusSet>,
        id: ConversationId,
        status: Option<ConversationStatus>,
        until: Option<Micros>,
    ) -> Result<Answer<StatusSet>> {
        let access = call.caller.write_access(call.account)?.clone();
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let account = Arc::clone(write.account());
                    let mut conversation = load::conversation(&write.txn, &account, id).await?;
                    access.conversation(&conversation.row)?;
                    let handed_off = update(write, &mut conversation, &access, status, until).await?;
                    if !write.set.drafts().is_empty() {
                        save(write, &mut conversation).await?;
                    }
                    // Activity messages are stored after this closure returns, so the summary must take the newest message from the write
                    // set.
                    let newest = write.set.newest_message().cloned();
                    let conversation = summary_of(conversation, newest.as_ref(), &write.txn).await?;
                    Ok(StatusSet { conversation, handed_off })
                })
            })
            .await
    }
}

async fn update(
    write: &mut Write,
    conversation: &mut Conversation,
    access: &Access,
    asked: Option<ConversationStatus>,
    until: Option<Micros>,
) -> Result<bool> {
    use ConversationStatus::{Open, Pending, Resolved};
    let before = conversation.row.status;
    let toggled = if before == Open { Resolved } else { Open };
    let status = asked.unwrap_or(toggled);
    let changed = set(write, conversation, status, until).await?;
    let handed_off = write.caller.agent_bot().is_some() && before == Pending && asked == Some(Open);
    if handed_off {
        changed_with(&mut write.set, conversation, EventKind::ConversationBotHandoff, Vec::new());
    }
    // As in Chatwoot, an agent who opens a conversation becomes its assignee, but an administrator does not.
    match write.caller.user_id() {
        Some(user) if status == Open && access.role == Role::Agent => assign(write, conversation, Some(user)).await?,
        _ if changed => assign_automatically(write, conversation).await?,
        _ => {}
    }
    Ok(handed_off)
}

/// Sets the status, and adds an activity message if the status changed. Returns whether it changed.
///
/// # Errors
/// [`parley_types::error::Error::Database`] or [`parley_types::error::Error::Unavailable`] if a query fails.
pub(crate) async fn set(
    write: &mut Write,
    conversation: &mut Conversation,
    status: ConversationStatus,
    until: Option<Micros>,
) -> Result<bool> {
    use ConversationStatus::{Open, Pending, Resolved, Snoozed};
    let changed = rules::set_status(&mut write.set, conversation, status, until);
    if changed {
        let actor = write.caller.actor(write.account().id);
        let name = actor.name;
        let line = match status {
            Resolved if actor.kind == ActorType::Contact => format!("Conversation was resolved by {name}"),
            Resolved => format!("Conversation was marked resolved by {name}"),
            Open => format!("Conversation was reopened by {name}"),
            Pending => format!("Conversation was marked as pending by {name}"),
            Snoozed => format!("Conversation was snoozed by {name}"),
        };
        add_activity(&mut write.set, conversation, line);
    }
    if changed && status == Resolved {
        automatic::survey(write, conversation).await?;
    }
    Ok(changed)
}
