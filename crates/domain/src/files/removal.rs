//! Removes files that are no longer needed: first their objects in the blob store, then their rows.

use parley_storage::entity::{attachment, kind::AttachmentState};
use parley_types::{error::Result, time::Micros};
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{Files, small_of, unattached};

/// The maximum number of files that one call to [`Files::sweep`] removes.
const REMOVED: u64 = 100;

impl Files {
    /// Removes files that are marked as removed, and expired uploads. Returns the number of removed files.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::Database`] if a query fails, and [`parley_types::error::Error::Unavailable`] if the blob store
    /// fails or the database does not reply in time.
    pub async fn sweep(&self, now: Micros) -> Result<usize> {
        self.db.with_long_timeout(self.remove_unneeded(now)).await
    }

    async fn remove_unneeded(&self, now: Micros) -> Result<usize> {
        use attachment::Column;
        let unneeded = Condition::any()
            .add(Column::State.eq(AttachmentState::Removed))
            .add(unattached::expired(now));
        let rows = attachment::Entity::find()
            .filter(unneeded)
            .order_by_asc(Column::Id)
            .limit(REMOVED)
            .all(self.db.write())
            .await?;
        self.remove(&rows).await?;
        Ok(rows.len())
    }

    /// Removes the files' objects from the blob store, and then their rows. In this order, an object whose removal fails can still be found
    /// through its row.
    pub(super) async fn remove(&self, rows: &[attachment::Model]) -> Result<()> {
        for row in rows {
            let Some(object) = &row.object else { continue };
            self.storage.remove(object).await?;
            if row.thumb_size.is_some() {
                self.storage.remove(&small_of(object)).await?;
            }
        }
        attachment::Entity::delete_many()
            .filter(attachment::Column::Id.is_in(rows.iter().map(|row| row.id)))
            .exec(self.db.write())
            .await?;
        Ok(())
    }
}
