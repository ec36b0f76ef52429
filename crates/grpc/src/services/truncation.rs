//! Truncates responses without pagination, whose rows are named in the request or belong to one user. Fields beyond the size limit are
//! omitted from the rows and listed in the rows' `truncated_fields`.

use parley_fault::Protection;
use parley_proto as pb;

use crate::validation::page::PAGE_BYTES;

/// Returns the rows in order. Applies `shorten` to the first row that makes the response exceed the maximum size of a page in bytes, and to
/// all rows after it.
fn truncate_rows<M: prost::Message>(rows: impl Iterator<Item = M>, shorten: impl Fn(&mut M)) -> Vec<M> {
    let mut bytes = 0;
    let fit = |mut row: M| {
        bytes += row.encoded_len();
        if bytes > PAGE_BYTES && parley_fault::is_on(Protection::PageBytes) {
            shorten(&mut row);
        }
        row
    };
    rows.map(fit).collect()
}

/// Returns account members. Once the response exceeds the maximum size of a page in bytes, the attributes and avatars of the remaining
/// members are omitted.
pub fn agents(agents: impl Iterator<Item = pb::Agent>) -> Vec<pb::Agent> {
    truncate_rows(agents, |agent| {
        agent.custom_attributes = None;
        agent.avatar_url.clear();
        agent.truncated_fields = ["custom_attributes", "avatar_url"].map(str::to_owned).to_vec();
    })
}

/// Returns created messages. Once the response exceeds the maximum size of a page in bytes, the fields that the caller sent and the
/// sender's contact are omitted from the remaining messages.
pub fn messages(messages: impl Iterator<Item = pb::Message>) -> Vec<pb::Message> {
    truncate_rows(messages, |message| {
        message.content = None;
        message.content_attributes = None;
        message.additional_attributes = None;
        if let Some(sender) = &mut message.sender {
            sender.contact = None;
        }
        message.truncated_fields = ["content", "content_attributes", "additional_attributes", "sender.contact"]
            .map(str::to_owned)
            .to_vec();
    })
}

/// Returns a user's memberships. Once the response exceeds the maximum size of a page in bytes, the account fields that the operator sets
/// are omitted from the remaining memberships.
pub fn memberships(memberships: impl Iterator<Item = pb::Membership>) -> Vec<pb::Membership> {
    truncate_rows(memberships, |membership| {
        if let Some(account) = &mut membership.account {
            account.features = None;
            account.limits = None;
            account.custom_attributes = None;
            account.truncated_fields = ["features", "limits", "custom_attributes"].map(str::to_owned).to_vec();
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncates_rows_beyond_the_size_limit() {
        let message = |id| pb::Message {
            id,
            content: Some("x".repeat(500_000)),
            ..pb::Message::default()
        };
        let fitted = messages((1..=8).map(message));
        assert_eq!(fitted.len(), 8);
        assert!(fitted.iter().map(prost::Message::encoded_len).sum::<usize>() < 2 * 1024 * 1024);
        for message in fitted {
            assert_eq!(message.content.is_none(), message.truncated_fields.contains(&"content".to_owned()));
            assert_eq!(message.content.is_some(), message.id <= 3);
        }
    }
}
