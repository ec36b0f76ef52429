//! Presence: who is there. It leaves no event, and is written seldom: signs of life come more often than they matter.

use std::time::Duration;

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, Set, sea_query::OnConflict};

use crate::{
    chat::{Chat, caller::Caller},
    db::{
        Database,
        entity::{kind::PresenceKind, presence},
        load, present,
    },
    error::{Error, Result, Rule},
    events::cursor::Cursor,
    id::{AccountId, ContactId},
    time::Micros,
};

/// A sign of life this fresh needs no new one.
const FRESH: Duration = Duration::from_secs(5);

impl Chat {
    /// Notes that the caller is there, or a contact for whom the caller speaks. Returns the head of the log.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the contact; [`Error::Invalid`] without one from a caller who is no user.
    pub async fn report_presence(&self, caller: &Caller, account: AccountId, contact: Option<ContactId>) -> Result<Cursor> {
        caller.write_access(account)?;
        let (kind, id) = match (contact, caller.user_id()) {
            (Some(contact), _) => {
                load::contact(self.db.read(), account, contact).await?;
                (PresenceKind::Contact, contact.0)
            }
            (None, Some(user)) => (PresenceKind::User, user.0),
            (None, None) => {
                let text = "must be given by a caller who is no user";
                return Err(Error::invalid("contact_id", Rule::Required, text));
            }
        };
        self.note_presence(account, kind, id).await?;
        let reach = self.events.log.reach(account).await?;
        Ok(reach.cursor(reach.head))
    }

    /// Notes that somebody is there, unless that was noted a moment ago.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_presence(&self, account: AccountId, kind: PresenceKind, id: i64) -> Result<()> {
        use presence::Column;
        let now = Micros::now();
        let known = present::seen(self.db.read(), account, kind, [id].into_iter()).await?;
        if known.get(&id).is_some_and(|at| *at > now.minus(FRESH)) {
            return Ok(());
        }
        let row = presence::ActiveModel {
            account_id: Set(account),
            kind: Set(kind),
            id: Set(id),
            seen_at: Set(now),
        };
        presence::Entity::insert(row)
            .on_conflict(
                OnConflict::columns([Column::AccountId, Column::Kind, Column::Id])
                    .update_column(Column::SeenAt)
                    .to_owned(),
            )
            .exec_without_returning(self.db.write())
            .await?;
        Ok(())
    }
}

/// Forgets who has not been there for a while, and says how many.
///
/// # Errors
/// When the database fails.
pub async fn forget_absent(db: &Database) -> Result<u64> {
    let before = Micros::now().minus(present::WINDOW * 3);
    let gone = presence::Entity::delete_many()
        .filter(presence::Column::SeenAt.lt(before))
        .exec(db.write())
        .await?;
    Ok(gone.rows_affected)
}
