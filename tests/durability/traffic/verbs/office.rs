//! Changes of account settings: labels, a team and an inbox.

use parley_proto as pb;
use prost_types::FieldMask;

use super::{Desk, call, key};

impl Desk {
    /// Creates a label, or deletes the one that it created last.
    pub(super) async fn label(&mut self) -> Option<()> {
        if let Some(label_id) = self.label.take() {
            let request = pb::DeleteLabelRequest {
                account_id: self.post.account,
                request_id: key(),
                label_id,
            };
            let answer = call!(self, LabelsServiceClient::delete_label, request)?;
            self.done("delete_label", "label.deleted", ("label", label_id), answer.cursor);
            return Some(());
        }
        self.number += 1;
        let request = pb::CreateLabelRequest {
            account_id: self.post.account,
            request_id: key(),
            label: Some(pb::Label {
                title: format!("made-{}", self.number),
                ..Default::default()
            }),
        };
        let answer = call!(self, LabelsServiceClient::create_label, request)?;
        let id = answer.label?.id;
        self.label = Some(id);
        self.done("create_label", "label.created", ("label", id), answer.cursor);
        Some(())
    }

    /// The writer's team, created on first use. It has no members.
    pub(super) async fn team(&mut self) -> Option<i64> {
        if self.team.is_none() {
            let request = pb::CreateTeamRequest {
                account_id: self.post.account,
                request_id: key(),
                team: Some(pb::Team {
                    name: format!("team of {}", self.post.name),
                    ..pb::Team::default()
                }),
            };
            let answer = call!(self, teams.create_team, request)?;
            let id = answer.team?.id;
            self.done("create_team", "team.created", ("team", id), answer.cursor);
            self.team = Some(id);
        }
        self.team
    }

    /// Renames the inbox that all traffic uses.
    pub(super) async fn inbox(&mut self) -> Option<()> {
        self.number += 1;
        let id = self.post.inbox;
        let request = pb::UpdateInboxRequest {
            account_id: self.post.account,
            request_id: key(),
            inbox: Some(pb::Inbox {
                id,
                name: format!("Inbox {}", self.number),
                ..pb::Inbox::default()
            }),
            update_mask: Some(FieldMask {
                paths: vec!["name".to_owned()],
            }),
        };
        let answer = call!(self, inboxes.update_inbox, request)?;
        self.done("update_inbox", "inbox.updated", ("inbox", id), answer.cursor);
        Some(())
    }
}
