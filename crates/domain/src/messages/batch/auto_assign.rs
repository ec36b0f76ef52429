//! Automatic assignment of agents to conversations that new messages opened.

use parley_types::id::{AccountId, ConversationId};

use crate::{conversations::assignment, write::planner::FollowUp};

/// Returns the operations that assign agents to opened conversations, one per account. They run after the callers of the batch have
/// received their responses, so no caller waits for an agent to be chosen.
pub fn follow_ups(mut opened: Vec<(AccountId, ConversationId)>) -> Vec<FollowUp> {
    opened.sort_unstable();
    opened.dedup();
    let by_account = opened.chunk_by(|one, next| one.0 == next.0);
    let follow_up = |group: &[(AccountId, ConversationId)]| {
        let ids = group.iter().map(|(_, id)| *id).collect();
        FollowUp {
            account: group[0].0,
            operation: Box::new(move |write| assignment::assign_opened(write, ids)),
            failure: "failed to assign agents to newly opened conversations",
        }
    };
    by_account.map(follow_up).collect()
}
