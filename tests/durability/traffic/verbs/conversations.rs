//! Changes of conversations.

use parley_proto::{self as pb, ConversationPriority, ConversationStatus};
use rand::{Rng as _, seq::IndexedRandom as _};

use super::{Desk, Talk, call, key, value};

impl Desk {
    pub(super) async fn open(&mut self) -> Option<()> {
        let person = self.people.choose(&mut self.choices)?.clone();
        let request = pb::CreateConversationRequest {
            account_id: self.post.account,
            request_id: key(),
            inbox_id: Some(self.post.inbox),
            contact_id: Some(person.id),
            source_id: Some(person.source),
            ..Default::default()
        };
        let answer = call!(self, conversations.create_conversation, request)?;
        let id = answer.conversation?.id;
        self.done("create_conversation", "conversation.created", ("conversation", id), answer.cursor);
        self.talks.push(Talk {
            id,
            contact: person.id,
            status: ConversationStatus::Open,
            priority: ConversationPriority::Unspecified,
            messages: Vec::new(),
            assigned: false,
            of_team: false,
        });
        Some(())
    }

    pub(super) async fn status(&mut self, index: usize) -> Option<()> {
        let status = match self.talks[index].status {
            ConversationStatus::Open => ConversationStatus::Resolved,
            _ => ConversationStatus::Open,
        };
        let id = self.talks[index].id;
        let request = pb::UpdateConversationStatusRequest {
            account_id: self.post.account,
            request_id: key(),
            conversation_id: id,
            status: status.into(),
            ..Default::default()
        };
        let answer = call!(self, conversations.update_conversation_status, request)?;
        self.talks[index].status = status;
        self.done("update_status", "conversation.status_changed", ("conversation", id), answer.cursor);
        Some(())
    }

    pub(super) async fn priority(&mut self, index: usize) -> Option<()> {
        let priority = match self.talks[index].priority {
            ConversationPriority::High => ConversationPriority::Low,
            _ => ConversationPriority::High,
        };
        let id = self.talks[index].id;
        let request = pb::UpdateConversationPriorityRequest {
            account_id: self.post.account,
            request_id: key(),
            conversation_id: id,
            priority: priority.into(),
        };
        let answer = call!(self, conversations.update_conversation_priority, request)?;
        self.talks[index].priority = priority;
        self.done("update_priority", "conversation.updated", ("conversation", id), answer.cursor);
        Some(())
    }

    pub(super) async fn labels(&mut self, index: usize) -> Option<()> {
        self.number += 1;
        let id = self.talks[index].id;
        let request = pb::UpdateConversationLabelsRequest {
            account_id: self.post.account,
            request_id: key(),
            conversation_id: id,
            labels: vec![format!("label-{}", self.number)],
        };
        let answer = call!(self, conversations.update_conversation_labels, request)?;
        self.done("update_labels", "conversation.updated", ("conversation", id), answer.cursor);
        Some(())
    }

    pub(super) async fn attributes(&mut self, index: usize) -> Option<()> {
        self.number += 1;
        let id = self.talks[index].id;
        let request = pb::UpdateConversationAttributesRequest {
            account_id: self.post.account,
            request_id: key(),
            conversation_id: id,
            custom_attributes: Some(value("order", &format!("value {}", self.number))),
            ..Default::default()
        };
        let answer = call!(self, conversations.update_conversation_attributes, request)?;
        self.done("update_attributes", "conversation.updated", ("conversation", id), answer.cursor);
        Some(())
    }

    /// Assigns the conversation to the administrator, or unassigns it.
    pub(super) async fn assign(&mut self, index: usize) -> Option<()> {
        let id = self.talks[index].id;
        let assignee_id = (!self.talks[index].assigned).then_some(1);
        let request = pb::UpdateConversationAssigneeRequest {
            account_id: self.post.account,
            request_id: key(),
            conversation_id: id,
            assignee_id,
        };
        let answer = call!(self, conversations.update_conversation_assignee, request)?;
        self.talks[index].assigned = answer.conversation?.assignee.is_some();
        self.done("update_assignee", "assignee.changed", ("conversation", id), answer.cursor);
        Some(())
    }

    /// Assigns the conversation to the writer's team, or removes the team.
    pub(super) async fn hand_over(&mut self, index: usize) -> Option<()> {
        let team = self.team().await?;
        let id = self.talks[index].id;
        let team_id = (!self.talks[index].of_team).then_some(team);
        let request = pb::UpdateConversationTeamRequest {
            account_id: self.post.account,
            request_id: key(),
            conversation_id: id,
            team_id,
        };
        let answer = call!(self, conversations.update_conversation_team, request)?;
        let conversation = answer.conversation?;
        // A team assignment unassigns an agent who is not a member of the team.
        self.talks[index].assigned = conversation.assignee.is_some();
        self.talks[index].of_team = conversation.team.is_some();
        self.done("update_team", "team.changed", ("conversation", id), answer.cursor);
        Some(())
    }

    pub(super) async fn seen(&mut self, index: usize) -> Option<()> {
        let request = pb::MarkConversationSeenRequest {
            account_id: self.post.account,
            request_id: key(),
            conversation_id: self.talks[index].id,
            ..Default::default()
        };
        // Whether an event follows depends on whether messages were unread, so none is expected.
        call!(self, conversations.mark_conversation_seen, request).map(drop)
    }

    pub(super) async fn type_something(&mut self, index: usize) -> Option<()> {
        let (account, id) = (self.post.account, self.talks[index].id);
        self.post.note(|history| history.typed.extend([(account, id)]));
        let request = pb::SetTypingRequest {
            account_id: account,
            conversation_id: id,
            typing: self.choices.random_bool(0.5),
            ..Default::default()
        };
        call!(self, conversations.set_typing, request).map(drop)
    }

    /// Deletes a conversation.
    pub(super) async fn end(&mut self, index: usize) -> Option<()> {
        let talk = self.talks.swap_remove(index);
        let request = pb::DeleteConversationRequest {
            account_id: self.post.account,
            request_id: key(),
            conversation_id: talk.id,
        };
        let answer = call!(self, conversations.delete_conversation, request)?;
        self.done(
            "delete_conversation",
            "conversation.deleted",
            ("conversation", talk.id),
            answer.cursor,
        );
        Some(())
    }
}
