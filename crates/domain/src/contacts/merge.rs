//! Merges two contacts: everything that belongs to one moves to the other, in one transaction.

use std::sync::Arc;

use parley_eventlog::{
    erasure,
    kind::EventKind,
    pending_event::{Change, PendingEvent, Subject},
};
use parley_fault::Protection;
use parley_storage::{
    entity::{
        contact, contact_inbox, conversation,
        kind::{LabelTarget, SenderType},
        message,
    },
    joined::{Contact, ContactSessions},
    load,
    submitted::Submitted,
};
use parley_types::{
    attribute_limits::merge_missing,
    error::{Error, Result},
    id::{AccountId, ContactId, ConversationId, Seq},
};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{CaseStatement, Expr, ExprTrait as _, Query},
};
use serde_json::Value as Json;

use crate::{
    attributes::set_labels,
    contacts::{Contacts, changes::changes, notes, sessions::with_sessions},
    files::{Files, avatars},
    write::{
        Write,
        call::{Answer, Call},
        idempotency,
    },
};

/// The maximum number of conversations that one statement moves. Each conversation binds its number and version, and databases limit the
/// number of bound parameters.
const AT_ONCE: usize = 1000;

impl Contacts {
    /// Merges the contact `mergee` into the contact `base`.
    ///
    /// # Errors
    /// [`Error::Denied`] for callers who cannot see the whole account, because after the merge, verified sessions of either contact can
    /// access the conversations of the other; [`Error::NotFound`] if one of the contacts does not exist.
    pub async fn merge(&self, call: Call<ContactSessions>, base: ContactId, mergee: ContactId) -> Result<Answer<ContactSessions>> {
        call.caller.administer(call.account)?;
        let files = self.context.files.clone();
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move { merge(&files, write, base, mergee, None).await })
            })
            .await
    }
}

/// Merges `mergee` into `base`, as part of a write. Does nothing if both are the same contact. If an unverified session of `mergee` caused
/// the merge, `unproved` is the data that the session submitted, which is not copied to `base`.
///
/// A session remains verified only if the identifier that it proved is the identifier of the merged contact.
///
/// # Errors
/// [`Error::NotFound`] if one of the contacts does not exist.
pub(crate) async fn merge(
    files: &Files,
    write: &mut Write,
    base: ContactId,
    mergee: ContactId,
    unproved: Option<&Submitted>,
) -> Result<ContactSessions> {
    let account = write.account().id;
    let mut found = load::contacts(&write.txn, account, [base, mergee].into_iter()).await?;
    let mut take = |id: ContactId| found.remove(&id).ok_or_else(|| Error::not_found("contact", id));
    let kept = Arc::unwrap_or_clone(take(base)?);
    if base == mergee {
        return with_sessions(&write.txn, account, kept).await;
    }
    let gone = take(mergee)?;
    let merged_at = write.set.next_seq();
    end_proofs(write, &kept.row, &gone.row).await?;
    let moved = move_all(write, base, mergee, merged_at).await?;
    avatars::remove_replaced(files, write, &gone.row.avatar_url).await?;
    set_labels(&write.txn, account, LabelTarget::Contact, mergee.0, &[]).await?;
    // Delete `mergee` before `base` receives values from it that must be unique.
    contact::Entity::delete_by_id(mergee).exec(&write.txn).await?;
    erasure::merged(&write.txn, account, mergee, base).await?;

    let mut contact = kept.clone();
    let mut left = Contact::clone(&gone);
    if let Some(submitted) = unproved {
        forget_submitted(&mut left.row, submitted);
    }
    take_over(&mut contact, &left);
    contact.row.version = merged_at;
    contact.row.updated_at = write.set.at;
    contact.row = contact.row.into_active_model().reset_all().update(&write.txn).await?;
    // Put this change first: changes beyond the size limit of an event are left out, and visitors' subscriptions need this one.
    let mut reported: Vec<Change> = Change::new("merged_contact_id", Json::Null, mergee.0).into_iter().collect();
    reported.extend(changes(&kept, &contact));
    let contact = with_sessions(&write.txn, account, contact).await?;
    write.set.emit(PendingEvent {
        kind: EventKind::ContactMerged,
        subject: Subject::ContactSessions(contact.clone()),
        changes: reported,
    });
    tell_moved(write, base, mergee, &moved).await?;
    write.set.emit(PendingEvent::new(EventKind::ContactDeleted, Subject::Contact(gone)));
    Ok(contact)
}

/// Marks sessions as unverified if they proved an identifier other than that of the merged contact.
async fn end_proofs(write: &Write, base: &contact::Model, mergee: &contact::Model) -> Result<()> {
    use contact_inbox::Column;
    if !parley_fault::is_on(Protection::IdentityProof) {
        return Ok(());
    }
    let blank = |identifier: &Option<String>| identifier.as_ref().is_none_or(|text| text.trim().is_empty());
    let remains = if blank(&base.identifier) {
        &mergee.identifier
    } else {
        &base.identifier
    };
    let mut ended = Vec::new();
    if blank(remains) || &mergee.identifier != remains {
        ended.push(mergee.id.0);
    }
    if &base.identifier != remains {
        ended.push(base.id.0);
    }
    if ended.is_empty() {
        return Ok(());
    }
    contact_inbox::Entity::update_many()
        .col_expr(Column::HmacVerified, Expr::value(false))
        .col_expr(Column::UpdatedAt, Expr::value(write.set.at.0))
        .filter(Column::AccountId.eq(base.account_id))
        .filter(Column::ContactId.is_in(ended))
        .filter(Column::HmacVerified.eq(true))
        .exec(&write.txn)
        .await?;
    Ok(())
}

/// Removes from a contact the data that a session submitted without proof.
fn forget_submitted(row: &mut contact::Model, submitted: &Submitted) {
    if Some(&row.name) == submitted.name.as_ref() {
        row.name.clear();
    }
    if Some(&row.avatar_url) == submitted.avatar_url.as_ref() {
        row.avatar_url.clear();
    }
    if let Json::Object(attributes) = &mut row.custom_attributes {
        attributes.retain(|key, value| submitted.custom_attributes.get(key) != Some(value));
    }
}

/// Copies from the deleted contact the values that `base` lacks.
fn take_over(base: &mut Contact, gone: &Contact) {
    let (to, from) = (&mut base.row, &gone.row);
    if to.name.trim().is_empty() {
        to.name.clone_from(&from.name);
    }
    for text in contact::TEXTS {
        if text.of(to).is_none_or(|stored| stored.trim().is_empty()) {
            text.set(to, text.of(from).map(str::to_owned));
        }
    }
    // Rejecting the merge would leave one person with two contacts, so attributes of the merged contact that exceed the limits are left
    // out. The `contact.deleted` event of this transaction still contains them.
    merge_missing(&mut to.additional_attributes, &from.additional_attributes);
    merge_missing(&mut to.custom_attributes, &from.custom_attributes);
}

/// Moves messages, sessions and conversations. Returns the conversations that moved, in ascending order.
async fn move_all(write: &Write, base: ContactId, mergee: ContactId, merged_at: Seq) -> Result<Vec<ConversationId>> {
    let (account, txn) = (write.account().id, &write.txn);
    let moved: Vec<ConversationId> = conversation::Entity::find()
        .select_only()
        .column(conversation::Column::Id)
        .filter(conversation::Column::AccountId.eq(account))
        .filter(conversation::Column::ContactId.eq(mergee))
        .order_by_asc(conversation::Column::Id)
        .into_tuple()
        .all(txn)
        .await?;
    move_messages(txn, account, base, mergee).await?;
    notes::hand_over(txn, account, mergee, base).await?;
    idempotency::reassign(txn, account, mergee, base).await?;
    contact_inbox::Entity::update_many()
        .col_expr(contact_inbox::Column::ContactId, Expr::value(base.0))
        .col_expr(contact_inbox::Column::UpdatedAt, Expr::value(write.set.at.0))
        .filter(contact_inbox::Column::AccountId.eq(account))
        .filter(contact_inbox::Column::ContactId.eq(mergee))
        .exec(txn)
        .await?;
    contact_inbox::Entity::update_many()
        .col_expr(contact_inbox::Column::PossibleDuplicateId, Expr::value(base.0))
        .filter(contact_inbox::Column::AccountId.eq(account))
        .filter(contact_inbox::Column::PossibleDuplicateId.eq(mergee))
        .exec(txn)
        .await?;
    // The version of each conversation is the seq of its event. The events for the conversations directly follow the event for the merge.
    let mut version = merged_at;
    for some in moved.chunks(AT_ONCE) {
        let mut versions = CaseStatement::new();
        for id in some {
            version = version.next();
            versions = versions.case(Expr::col(conversation::Column::Id).eq(id.0), Expr::value(version.0));
        }
        conversation::Entity::update_many()
            .col_expr(conversation::Column::ContactId, Expr::value(base.0))
            .col_expr(conversation::Column::UpdatedAt, Expr::value(write.set.at.0))
            .col_expr(conversation::Column::Version, versions.into())
            .filter(conversation::Column::AccountId.eq(account))
            .filter(conversation::Column::Id.is_in(some.iter().map(|id| id.0)))
            .exec(txn)
            .await?;
    }
    Ok(moved)
}

/// Reassigns the messages of `mergee`. A contact writes only in its own conversations, so only these conversations are searched for
/// messages.
async fn move_messages(txn: &impl ConnectionTrait, account: AccountId, base: ContactId, mergee: ContactId) -> Result<()> {
    let mut theirs = Query::select();
    theirs
        .column(conversation::Column::Id)
        .from(conversation::Entity)
        .and_where(Expr::col(conversation::Column::AccountId).eq(account.0))
        .and_where(Expr::col(conversation::Column::ContactId).eq(mergee.0));
    message::Entity::update_many()
        .col_expr(message::Column::SenderId, Expr::value(base.0))
        .filter(message::Column::AccountId.eq(account))
        .filter(message::Column::ConversationId.in_subquery(theirs))
        .filter(message::Column::SenderType.eq(SenderType::Contact))
        .filter(message::Column::SenderId.eq(mergee.0))
        .exec(txn)
        .await?;
    Ok(())
}

async fn tell_moved(write: &mut Write, base: ContactId, mergee: ContactId, moved: &[ConversationId]) -> Result<()> {
    let account = Arc::clone(write.account());
    for some in moved.chunks(AT_ONCE) {
        let mut conversations = load::conversations(&write.txn, &account, some).await?;
        conversations.sort_by_key(|conversation| conversation.row.id);
        for conversation in conversations {
            write.set.emit(PendingEvent {
                kind: EventKind::ConversationContactChanged,
                subject: Subject::Conversation(conversation),
                changes: Change::new("contact_id", mergee.0, base.0).into_iter().collect(),
            });
        }
    }
    Ok(())
}
