//! Discards uploads that no message or avatar has attached.

use parley_storage::entity::{attachment, kind::AttachmentState};
use parley_types::error::Result;
use sea_orm::{ColumnTrait, Condition, EntityTrait, PaginatorTrait, QueryFilter};

use super::{Files, rows};

impl Files {
    /// Removes those of the given uploads that are unattached, with their files. If this call fails or ends early, the background job
    /// removes the remaining files. The caller must ensure that no call in flight can still attach one of them.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::Database`] if a query fails, and [`parley_types::error::Error::Unavailable`] if the blob store
    /// fails.
    pub async fn discard(&self, upload_ids: &[String]) -> Result<()> {
        use attachment::Column;
        let ids: Vec<i64> = upload_ids.iter().filter_map(|id| self.upload_of(id)).collect();
        let of_these = || Condition::all().add(Column::Id.is_in(ids.iter().copied()));
        let unattached = || of_these().add(Column::State.eq(AttachmentState::Uploaded));
        // Usually, all uploads are attached. Detect that case without a write.
        let count = attachment::Entity::find().filter(unattached()).count(self.db.read()).await?;
        if count == 0 {
            return Ok(());
        }
        // Once released, the uploads do not count against the quota, and the background job removes them if this call ends early.
        rows::release(self.db.write(), unattached()).await?;
        let removed = of_these().add(Column::State.eq(AttachmentState::Removed));
        let rows = attachment::Entity::find().filter(removed).all(self.db.write()).await?;
        self.remove(&rows).await
    }
}
