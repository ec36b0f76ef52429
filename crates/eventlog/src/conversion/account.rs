//! Conversion of accounts, users, memberships and tokens.

use parley_proto::{
    self as pb,
    value::{AttributeMaps, maybe_timestamp, timestamp},
};
use parley_storage::{
    entity::{account, membership, token, user},
    joined,
};
use parley_types::time::Micros;

use super::FromStored;

impl FromStored<&account::Model> for pb::Account {
    fn from_stored(row: &account::Model) -> Self {
        let mut maps = AttributeMaps::default();
        Self {
            id: row.id.0,
            name: row.name.clone(),
            locale: row.locale.clone(),
            status: pb::AccountStatus::from(row.status).into(),
            created_at: Some(timestamp(row.created_at)),
            updated_at: Some(timestamp(row.updated_at)),
            domain: row.domain.clone(),
            support_email: row.support_email.clone(),
            features: maps.structure("features", &row.features),
            limits: maps.structure("limits", &row.limits),
            custom_attributes: maps.structure("custom_attributes", &row.custom_attributes),
            truncated_fields: maps.truncated(),
        }
    }
}

impl FromStored<&account::Model> for pb::AccountSummary {
    fn from_stored(row: &account::Model) -> Self {
        Self {
            id: row.id.0,
            name: row.name.clone(),
        }
    }
}

impl FromStored<&user::Model> for pb::User {
    fn from_stored(row: &user::Model) -> Self {
        let mut maps = AttributeMaps::default();
        Self {
            id: row.id.0,
            name: row.name.clone(),
            display_name: row.display_name.clone(),
            email: row.email.clone(),
            avatar_url: row.avatar_url.clone(),
            custom_attributes: maps.structure("custom_attributes", &row.custom_attributes),
            ui_settings: maps.structure("ui_settings", &row.ui_settings),
            truncated_fields: maps.truncated(),
            message_signature: row.message_signature.clone(),
            created_at: Some(timestamp(row.created_at)),
            updated_at: Some(timestamp(row.updated_at)),
        }
    }
}

impl FromStored<&membership::Model> for pb::Membership {
    fn from_stored(row: &membership::Model) -> Self {
        Self {
            account_id: row.account_id.0,
            user_id: row.user_id.0,
            role: pb::Role::from(row.role).into(),
            availability: pb::Availability::from(row.availability).into(),
            auto_offline: row.auto_offline,
            active_at: maybe_timestamp(row.active_at),
            inviter_id: row.inviter_id.map(i64::from),
            account: None,
            availability_status: pb::Availability::Unspecified.into(),
        }
    }
}

impl FromStored<&joined::Agent> for pb::Agent {
    fn from_stored(agent: &joined::Agent) -> Self {
        let (user, membership) = (&agent.user, &agent.membership);
        let mut maps = AttributeMaps::default();
        Self {
            id: user.id.0,
            account_id: membership.account_id.0,
            name: user.name.clone(),
            available_name: user.available_name().to_owned(),
            email: user.email.clone(),
            avatar_url: user.avatar_url.clone(),
            role: pb::Role::from(membership.role).into(),
            availability: pb::Availability::from(membership.availability).into(),
            availability_status: pb::Availability::from(agent.availability(Micros::now())).into(),
            auto_offline: membership.auto_offline,
            custom_attributes: maps.structure("custom_attributes", &user.custom_attributes),
            truncated_fields: maps.truncated(),
        }
    }
}

impl FromStored<&token::Model> for pb::Token {
    fn from_stored(row: &token::Model) -> Self {
        let inboxes = row.inbox_ids.as_array().map(Vec::as_slice).unwrap_or_default();
        Self {
            id: row.id.0,
            kind: pb::TokenKind::from(row.kind).into(),
            name: row.name.clone(),
            user_id: row.user_id.map(i64::from),
            agent_bot_id: row.agent_bot_id.map(i64::from),
            account_id: row.account_id.map(i64::from),
            read_only: row.read_only,
            inbox_ids: inboxes.iter().filter_map(serde_json::Value::as_i64).collect(),
            expires_at: maybe_timestamp(row.expires_at),
            revoked_at: maybe_timestamp(row.revoked_at),
            created_at: Some(timestamp(row.created_at)),
        }
    }
}
