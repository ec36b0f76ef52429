//! Discarding uploads that nothing has taken.

use parley_storage::entity::{attachment, kind::AttachmentState};
use parley_types::error::Result;
use sea_orm::{ColumnTrait, Condition, EntityTrait, PaginatorTrait, QueryFilter};

use super::{Files, rows};

impl Files {
    /// Removes those of the named uploads that nothing has taken, files included. What cannot be removed now is removed later. The caller
    /// must know that no call is still under way that could take one of them.
    ///
    /// # Errors
    /// When the database or the store fails.
    pub async fn discard(&self, upload_ids: &[String]) -> Result<()> {
        use attachment::Column;
        let ids: Vec<i64> = upload_ids.iter().filter_map(|id| self.upload_of(id)).collect();
        let of_these = || Condition::all().add(Column::Id.is_in(ids.iter().copied()));
        let unattached = || of_these().add(Column::State.eq(AttachmentState::Uploaded));
        // Usually all were taken: that is learned without a write.
        let count = attachment::Entity::find().filter(unattached()).count(self.db.read()).await?;
        if count == 0 {
            return Ok(());
        }
        // From here on they are not counted, and a sweep finds them if this ends before they are gone.
        rows::release(self.db.write(), unattached()).await?;
        let removed = of_these().add(Column::State.eq(AttachmentState::Removed));
        let rows = attachment::Entity::find().filter(removed).all(self.db.write()).await?;
        self.remove(&rows).await
    }
}
