//! The queries of conversation lists, and the fields of listed conversations that depend on the caller.

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

use crate::validation::fields::{Fields, SHORT};

/// Sets `is_member` of the conversations' teams for this caller. Events cannot contain it because they are the same for all subscribers.
pub(super) fn own_team<'a>(caller: &Caller, account: AccountId, conversations: impl IntoIterator<Item = &'a mut pb::Conversation>) {
    let teams = caller
        .accounts
        .get(&account)
        .map(|access| access.teams.as_slice())
        .unwrap_or_default();
    for team in conversations.into_iter().filter_map(|conversation| conversation.team.as_mut()) {
        team.is_member = teams.contains(&TeamId(team.id));
    }
}

/// Converts counts to the wire format.
pub(super) fn counted(counts: Counts) -> pb::ConversationCounts {
    pb::ConversationCounts {
        mine: counts.mine,
        assigned: counts.all - counts.unassigned,
        unassigned: counts.unassigned,
        all: counts.all,
    }
}

/// Converts a list request to a query.
pub(super) fn query(fields: &mut Fields, asked: pb::ListConversationsRequest, caller: Option<UserId>) -> ConversationQuery {
    let (name, descending) = asked
        .order_by
        .strip_prefix('-')
        .map_or((asked.order_by.as_str(), asked.order_by.is_empty()), |name| (name, true));
    let order = ConversationOrder::of(name);
    if order.is_none() {
        let names = "last_activity_at, created_at, priority or waiting_since";
        fields.refuse(
            "order_by",
            Rule::Unknown,
            format!("must be {names}, with \"-\" in front for descending"),
        );
    }
    let mut statuses = Vec::new();
    for number in &asked.statuses {
        match pb::ConversationStatus::try_from(*number)
            .ok()
            .and_then(pb::ConversationStatus::to_row)
        {
            Some(known) => statuses.push(known),
            None => fields.refuse(
                "statuses",
                Rule::Unknown,
                format!("must be statuses that the contract names, which {number} is not"),
            ),
        }
    }
    fields.count("inbox_ids", asked.inbox_ids.len(), 1000);
    fields.count("labels", asked.labels.len(), 100);
    fields.text("source_id", &asked.source_id, SHORT);
    fields.text("text", &asked.text, SHORT);
    let assigned = match fields.kind::<pb::AssigneeFilter>("assignee", asked.assignee) {
        None | Some(pb::AssigneeFilter::Unspecified) => None,
        Some(pb::AssigneeFilter::Me) => Some(Assigned::To(caller)),
        Some(pb::AssigneeFilter::Assigned) => Some(Assigned::Somebody),
        Some(pb::AssigneeFilter::Unassigned) => Some(Assigned::Nobody),
    };
    ConversationQuery {
        statuses,
        inboxes: asked.inbox_ids.into_iter().map(InboxId).collect(),
        contact: asked.contact_id.map(ContactId),
        team: asked.team_id.map(TeamId),
        source_id: Some(asked.source_id).filter(|source_id| !source_id.is_empty()),
        assigned,
        participant: asked.participating.then_some(caller),
        mentioned: asked.mentioned.then_some(caller),
        labels: asked.labels,
        text: Some(asked.text).filter(|text| !text.trim().is_empty()),
        unattended: asked.unattended,
        updated_since: fields.time("updated_since", asked.updated_since.as_ref()),
        order: order.unwrap_or(ConversationOrder::LastActivityAt),
        descending,
        count: asked.with_counts,
    }
}
