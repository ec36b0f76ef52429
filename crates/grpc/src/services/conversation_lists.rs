//! The queries for conversation lists, and the fields of listed conversations that depend on the caller.

use parley_domain::{
    auth::caller::Caller,
    conversations::{
        list::{Assigned, ConversationQuery, Counts},
        order::ConversationOrder,
    },
};
use parley_proto as pb;
use parley_types::{
    error::Rule,
    id::{AccountId, ContactId, InboxId, TeamId, UserId},
};

use crate::validation::fields::{SHORT_TEXT, Validator};

/// Sets `is_member` in the teams of conversations for this caller. Events cannot contain this field because they are the same for all
/// subscribers.
pub(super) fn set_team_membership<'a>(
    caller: &Caller,
    account: AccountId,
    conversations: impl IntoIterator<Item = &'a mut pb::Conversation>,
) {
    let teams = caller
        .accounts
        .get(&account)
        .map(|access| access.teams.as_slice())
        .unwrap_or_default();
    for team in conversations.into_iter().filter_map(|conversation| conversation.team.as_mut()) {
        team.is_member = teams.contains(&TeamId(team.id));
    }
}

/// Converts conversation counts to the wire format.
pub(super) fn counts_to_proto(counts: Counts) -> pb::ConversationCounts {
    pb::ConversationCounts {
        mine: counts.mine,
        assigned: counts.all - counts.unassigned,
        unassigned: counts.unassigned,
        all: counts.all,
    }
}

/// Converts a list request to a query for conversations.
pub(super) fn query(fields: &mut Validator, req: pb::ListConversationsRequest, caller: Option<UserId>) -> ConversationQuery {
    let (name, descending) = req
        .order_by
        .strip_prefix('-')
        .map_or((req.order_by.as_str(), req.order_by.is_empty()), |name| (name, true));
    let order = ConversationOrder::of(name);
    if order.is_none() {
        let names = "last_activity_at, created_at, priority or waiting_since";
        fields.add_violation(
            "order_by",
            Rule::Unknown,
            format!("must be {names}, with the prefix \"-\" for descending order"),
        );
    }
    let mut statuses = Vec::new();
    for number in &req.statuses {
        match pb::ConversationStatus::try_from(*number)
            .ok()
            .and_then(pb::ConversationStatus::to_row)
        {
            Some(known) => statuses.push(known),
            None => fields.add_violation(
                "statuses",
                Rule::Unknown,
                format!("must be statuses that the contract defines; {number} is not one of them"),
            ),
        }
    }
    fields.count("inbox_ids", req.inbox_ids.len(), 1000);
    fields.count("labels", req.labels.len(), 100);
    fields.text("source_id", &req.source_id, SHORT_TEXT);
    fields.text("text", &req.text, SHORT_TEXT);
    let assigned = match fields.kind::<pb::AssigneeFilter>("assignee", req.assignee) {
        None | Some(pb::AssigneeFilter::Unspecified) => None,
        Some(pb::AssigneeFilter::Me) => Some(Assigned::To(caller)),
        Some(pb::AssigneeFilter::Assigned) => Some(Assigned::Somebody),
        Some(pb::AssigneeFilter::Unassigned) => Some(Assigned::Nobody),
    };
    ConversationQuery {
        statuses,
        inboxes: req.inbox_ids.into_iter().map(InboxId).collect(),
        contact: req.contact_id.map(ContactId),
        team: req.team_id.map(TeamId),
        source_id: Some(req.source_id).filter(|source_id| !source_id.is_empty()),
        assigned,
        participant: req.participating.then_some(caller),
        mentioned: req.mentioned.then_some(caller),
        labels: req.labels,
        text: Some(req.text).filter(|text| !text.trim().is_empty()),
        unattended: req.unattended,
        updated_since: fields.time("updated_since", req.updated_since.as_ref()),
        order: order.unwrap_or(ConversationOrder::LastActivityAt),
        descending,
        count: req.with_counts,
    }
}
