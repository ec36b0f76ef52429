//! Contact inboxes: the sessions of contacts in inboxes.

use parley_fault::Protection;
use parley_types::{
    id::{AccountId, ContactId, ContactInboxId, InboxId},
    time::Micros,
};
use sea_orm::{Condition, entity::prelude::*, sea_query::Expr};
use sha2::{Digest as _, Sha256};

use crate::submitted::{self, Submitted};

/// A row of `contact_inboxes`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "contact_inboxes")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: ContactInboxId,
    pub account_id: AccountId,
    pub contact_id: ContactId,
    pub inbox_id: InboxId,
    /// The id of the session in its inbox; unique in the inbox.
    pub source_id: String,
    pub hmac_verified: bool,
    /// The data that the session has submitted about its contact; `None` if it submitted nothing, or if the row is older than this column.
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub submitted: Option<Submitted>,
    /// Another contact whose e-mail address, phone number or identifier the session submitted.
    pub possible_duplicate_id: Option<ContactId>,
    pub pubsub_token: String,
    pub created_at: Micros,
    pub updated_at: Micros,
    #[sea_orm(belongs_to, from = "account_id", to = "id", skip_fk)]
    pub account: BelongsTo<super::account::Entity>,
    #[sea_orm(belongs_to, relation_enum = "Contact", from = "contact_id", to = "id", on_delete = "Cascade")]
    pub contact: BelongsTo<super::contact::Entity>,
    #[sea_orm(belongs_to, from = "inbox_id", to = "id", on_delete = "Cascade")]
    pub inbox: BelongsTo<super::inbox::Entity>,
    #[sea_orm(
        belongs_to,
        relation_enum = "PossibleDuplicate",
        from = "possible_duplicate_id",
        to = "id",
        on_delete = "SetNull"
    )]
    pub possible_duplicate: BelongsTo<Option<super::contact::Entity>>,
}

impl ActiveModelBehavior for ActiveModel {}

/// The lowest of the substitute ids that unverified sessions see instead of contact ids. It is above every id that a sequence assigns. All
/// substitute ids are below 2^53, the limit up to which JavaScript represents integers exactly.
const SHOWN_IDS: i64 = 1 << 52;

impl Model {
    /// Returns the id that an unverified session sees instead of the id of its contact. The real id would reveal whether a contact with the
    /// submitted address existed before. The returned id is a digest of the session's own ids, so it discloses nothing about the contact
    /// and stays the same when the session moves to another contact.
    pub fn shown_contact_id(&self) -> i64 {
        let digest = Sha256::digest(format!("session {} of account {}", self.id, self.account_id));
        let number = digest.iter().take(8).fold(0_i64, |number, byte| (number << 8) | i64::from(*byte));
        SHOWN_IDS | (number & (SHOWN_IDS - 1))
    }

    /// Returns how the session was connected to its contact.
    pub fn relation(&self) -> submitted::Relation {
        self.submitted
            .as_ref()
            .map_or(submitted::Relation::Assigned, |submitted| submitted.relation)
    }

    /// Returns whether the connection to the contact is confirmed by something other than the data that the session submitted: by an HMAC
    /// signature, or by the member who created the session.
    pub fn is_vouched_for(&self) -> bool {
        self.hmac_verified || self.relation() == submitted::Relation::Assigned
    }
}

/// Returns a condition on `contact_inboxes` that is equivalent to [`Model::is_vouched_for`].
pub fn vouched_for() -> Condition {
    Condition::any().add(Column::HmacVerified.eq(true)).add(Expr::cust(
        "COALESCE(\"contact_inboxes\".\"submitted\" ->> 'relation', 'assigned') = 'assigned'",
    ))
}

/// Matches sessions that make their contact visible to a service that is limited to their inbox. Unverified sessions that were attached to
/// the contact only by submitting its e-mail address, phone number or identifier do not match, because the service could open such a
/// session itself.
pub fn opens_contact() -> Condition {
    if !parley_fault::is_on(Protection::MatchedSessions) {
        return Condition::all();
    }
    Condition::any().add(Column::HmacVerified.eq(true)).add(Expr::cust(
        "COALESCE(\"contact_inboxes\".\"submitted\" ->> 'relation', 'assigned') <> 'matched'",
    ))
}
