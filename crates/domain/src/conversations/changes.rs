//! Applies changes other than new messages to a conversation, and adds the activity messages that describe the changes.

use crate::conversations::assignment::assign;
use std::sync::Arc;

use parley_eventlog::{kind::EventKind, pending_event::Change};
use parley_storage::{
    entity::kind::{LabelTarget, Priority},
    joined::{Conversation, ConversationSummary},
    load,
};
use parley_types::{
    attribute_limits::check_change,
    error::Result,
    id::{ConversationId, TeamId, UserId},
};
use serde_json::{Map, Value as Json};

use crate::conversations::seen;
use crate::{
    attributes::{attribute_changes, set_labels},
    conversations::{
        Conversations, assignment, read_state,
        rows::{save, summary_of},
        seen::mark_read,
    },
    messages::rules::{add_activity, changed_with},
    people::{team_members, teams},
    write::{
        Write,
        call::{Answer, Call},
    },
};

/// A change to a conversation.
#[derive(Clone, Debug)]
pub enum ConversationPatch {
    /// Sets the priority; `None` removes it.
    Priority(Option<Priority>),
    /// Sets the assignee; `None` removes it.
    Assignee(Option<UserId>),
    /// Sets the team; `None` removes it.
    Team(Option<TeamId>),
    /// Replaces all labels.
    Labels(Vec<String>),
    /// Replaces the custom attributes, the additional attributes, or both.
    Attributes(Option<Map<String, Json>>, Option<Map<String, Json>>),
    /// Records that the caller, or the contact, viewed the conversation.
    Seen {
        /// Whether the contact, rather than the caller, viewed the conversation.
        by_contact: bool,
    },
    /// Marks the conversation as unread, beginning with the newest incoming message.
    Unread,
    /// If true, blocks the contact and resolves the conversation; if false, unblocks the contact.
    Muted(bool),
}

impl Conversations {
    /// Changes a conversation.
    ///
    /// # Errors
    /// [`parley_types::error::Error::NotFound`] if the conversation or the team does not exist; [`parley_types::error::Error::Denied`] if
    /// the caller has no access to the inbox; [`parley_types::error::Error::Invalid`] if the assignee is not a member of the account.
    pub async fn update(
        &self,
        call: Call<ConversationSummary>,
        id: ConversationId,
        patch: ConversationPatch,
    ) -> Result<Answer<ConversationSummary>> {
        let access = call.caller.write_access(call.account)?.clone();
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let account = Arc::clone(write.account());
                    let mut conversation = load::conversation(&write.txn, &account, id).await?;
                    access.conversation(&conversation.row)?;
                    match patch {
                        ConversationPatch::Priority(priority) => update_priority(write, &mut conversation, priority),
                        ConversationPatch::Assignee(assignee) => assign(write, &mut conversation, assignee).await?,
                        ConversationPatch::Team(team) => hand_to_team(write, &mut conversation, team).await?,
                        ConversationPatch::Labels(labels) => update_labels(write, &mut conversation, labels).await?,
                        ConversationPatch::Attributes(custom, additional) => {
                            update_attributes(write, &mut conversation, custom, additional)?;
                        }
                        ConversationPatch::Seen { by_contact } => {
                            seen::seen(write, &mut conversation, by_contact);
                            if by_contact {
                                mark_read(write, &mut conversation).await?;
                            }
                        }
                        ConversationPatch::Unread => read_state::unread(write, &mut conversation).await?,
                        ConversationPatch::Muted(muted) => read_state::mute(write, &mut conversation, muted).await?,
                    }
                    if !write.set.drafts().is_empty() {
                        save(write, &mut conversation).await?;
                    }
                    // Activity messages are stored after this closure returns, so the summary must take the newest message from the write
                    // set.
                    let newest = write.set.newest_message().cloned();
                    summary_of(conversation, newest.as_ref(), &write.txn).await
                })
            })
            .await
    }
}

fn update_priority(write: &mut Write, conversation: &mut Conversation, priority: Option<Priority>) {
    let before = conversation.row.priority;
    let Some(change) = Change::new("priority", before.map(Priority::name), priority.map(Priority::name)) else {
        return;
    };
    conversation.row.priority = priority;
    changed_with(&mut write.set, conversation, EventKind::ConversationUpdated, vec![change]);
    let name = write.caller.actor(write.account().id).name;
    let line = match (before, priority) {
        (_, None) => format!("{name} removed the priority"),
        (None, Some(after)) => format!("{name} set the priority to {}", after.name()),
        (Some(before), Some(after)) => format!("{name} changed the priority from {} to {}", before.name(), after.name()),
    };
    add_activity(&mut write.set, conversation, line);
}

/// Assigns a conversation to a team, or removes its team. As in Chatwoot, an assignee who is not in the team is removed; if the
/// conversation then has no assignee, the next online member of the team is assigned.
async fn hand_to_team(write: &mut Write, conversation: &mut Conversation, team: Option<TeamId>) -> Result<()> {
    let before = (conversation.row.team_id, conversation.row.assignee_id);
    let Some(change) = Change::new("team_id", before.0.map(i64::from), team.map(i64::from)) else {
        return Ok(());
    };
    let left = conversation.team.take();
    conversation.row.team_id = team;
    if let Some(id) = team {
        let team = teams::known(write, id).await?;
        let members = team_members::members(&write.txn, team.account_id, id).await?;
        if before.1.is_some_and(|user| !members.contains(&user)) {
            (conversation.row.assignee_id, conversation.assignee) = (None, None);
        }
        if conversation.row.assignee_id.is_none() {
            let inbox = conversation.row.inbox_id;
            let able = assignment::of_team(write, &team, assignment::members(write, inbox).await?).await?;
            conversation.assignee = assignment::next(write, inbox, able).await?;
            conversation.row.assignee_id = conversation.assignee.as_ref().map(|agent| agent.user.id);
        }
        conversation.team = Some(Arc::new(team));
    }
    let after = conversation.row.assignee_id;
    let assigned = Change::new("assignee_id", before.1.map(i64::from), after.map(i64::from));
    let changes = [Some(change.clone()), assigned.clone()].into_iter().flatten().collect();
    changed_with(&mut write.set, conversation, EventKind::ConversationUpdated, changes);
    changed_with(&mut write.set, conversation, EventKind::TeamChanged, vec![change]);
    let newly = conversation
        .assignee
        .as_ref()
        .filter(|_| assigned.is_some())
        .map(|agent| agent.user.name.clone());
    if let Some(change) = assigned {
        changed_with(&mut write.set, conversation, EventKind::AssigneeChanged, vec![change]);
    }
    let name = write.caller.actor(write.account().id).name;
    let line = match (&conversation.team, newly) {
        (Some(team), Some(agent)) => format!("Assigned to {agent} via {} by {name}", team.name),
        (Some(team), None) => format!("Assigned to {} by {name}", team.name),
        (None, _) => format!(
            "Unassigned from {} by {name}",
            left.map_or_else(String::new, |team| team.name.clone())
        ),
    };
    add_activity(&mut write.set, conversation, line);
    Ok(())
}

async fn update_labels(write: &mut Write, conversation: &mut Conversation, labels: Vec<String>) -> Result<()> {
    let before = conversation.labels.to_vec();
    let Some(change) = Change::new("label_list", before.clone(), labels.clone()) else {
        return Ok(());
    };
    set_labels(
        &write.txn,
        write.account().id,
        LabelTarget::Conversation,
        conversation.row.id.0,
        &labels,
    )
    .await?;
    let missing = |from: &[String], of: &[String]| {
        from.iter()
            .filter(|label| !of.contains(label))
            .cloned()
            .collect::<Vec<_>>()
            .join(", ")
    };
    let (added, removed) = (missing(&labels, &before), missing(&before, &labels));
    conversation.labels = Arc::new(labels);
    changed_with(&mut write.set, conversation, EventKind::ConversationUpdated, vec![change]);
    let name = write.caller.actor(write.account().id).name;
    for (verb, labels) in [("added", added), ("removed", removed)] {
        if !labels.is_empty() {
            add_activity(&mut write.set, conversation, format!("{name} {verb} {labels}"));
        }
    }
    Ok(())
}

fn update_attributes(
    write: &mut Write,
    conversation: &mut Conversation,
    custom: Option<Map<String, Json>>,
    additional: Option<Map<String, Json>>,
) -> Result<()> {
    let before = (
        conversation.row.custom_attributes.clone(),
        conversation.row.additional_attributes.clone(),
    );
    if let Some(custom) = custom {
        conversation.row.custom_attributes = Json::Object(custom);
    }
    if let Some(additional) = additional {
        conversation.row.additional_attributes = Json::Object(additional);
    }
    check_change("custom_attributes", &before.0, &conversation.row.custom_attributes)?;
    check_change("additional_attributes", &before.1, &conversation.row.additional_attributes)?;
    let mut changes = attribute_changes("custom_attributes", &before.0, &conversation.row.custom_attributes);
    changes.extend(attribute_changes(
        "additional_attributes",
        &before.1,
        &conversation.row.additional_attributes,
    ));
    if !changes.is_empty() {
        changed_with(&mut write.set, conversation, EventKind::ConversationUpdated, changes);
    }
    Ok(())
}
