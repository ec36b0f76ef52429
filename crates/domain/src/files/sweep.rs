//! Removing files that nothing needs: objects first, then their rows.

use parley_storage::entity::{attachment, kind::AttachmentState};
use parley_types::{error::Result, time::Micros};
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{Files, small_of, unattached};

/// Files that are removed in one go.
const REMOVED: u64 = 100;

impl Files {
    /// Removes what waits to be removed, and uploads that nothing took in their time; how many.
    ///
    /// # Errors
    /// When the database or the store fails.
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

    /// Removes objects, and then their rows: as long as a row is there, its bytes are found again.
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
