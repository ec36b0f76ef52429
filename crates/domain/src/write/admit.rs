//! A message that a verb adds: it is asked for what a batch asks of those in it.

use super::{
    WriteSet,
    flood::{self, Flood},
    lookup::{replied, source_ids},
    plan::{self, reply_id},
    unit::Write,
};
use std::sync::Arc;

use parley_storage::joined::Conversation;
use parley_types::error::Result;

use crate::files::rows;
use crate::{
    files::claims::{self, Available},
    messages::{liquid, new_message::NewMessage},
};

impl Write {
    /// Renders the templates that `dry_run` asks a copy of the ledger for, on a compute pool: whoever then does the same to the ledger itself
    /// finds them rendered.
    pub async fn render<T>(&mut self, dry_run: impl FnOnce(&mut WriteSet) -> T) {
        let mut copy = self.ledger.clone();
        dry_run(&mut copy);
        let missing = copy.take_missing();
        if !missing.is_empty() {
            self.ledger.set_rendered(Arc::new(liquid::render_automatic(missing).await));
        }
    }

    /// Makes a message ready to be added to a conversation: takes its uploads, finds what it replies to, and checks what batches check.
    ///
    /// # Errors
    /// [`parley_types::error::Error::Taken`] for a unique source id of another message; [`parley_types::error::Error::Flood`];
    /// [`parley_types::error::Error::Invalid`] for uploads that cannot be taken.
    pub async fn admit(&self, conversation: &Conversation, new: &mut NewMessage) -> Result<()> {
        let (db, row) = (&self.txn, &conversation.row);
        let recent = flood::recent(db, &[row], self.ledger.at, self.messages_per_minute).await?;
        if let Some((_, count, last)) = recent.into_iter().next() {
            Flood::of(count, last).check(self.ledger.at, self.messages_per_minute)?;
        }
        let mut available = Available {
            uploads: rows::uploads(db, row.account_id, new.uploads().collect()).await?,
            ids: rows::reserve(db, new.new_rows()).await?,
        };
        claims::take(&mut available, new, row.account_id, (0, 1))?;
        let named = new.content_attributes.get("in_reply_to").and_then(reply_id);
        let found = replied(db, row.account_id, named.map(|id| id.0).into_iter().collect()).await?;
        plan::reply_to(new, row.id, &found);
        let unique = new.source_id.clone().filter(|_| new.unique_source_id);
        let taken = source_ids(db, row.account_id, unique.clone().into_iter().collect()).await?;
        if let Some(existing) = unique.and_then(|source| taken.get(&(row.inbox_id, source)).copied()) {
            return Err(plan::source_id_taken(0, 1, existing));
        }
        Ok(())
    }
}
