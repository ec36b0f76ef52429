//! Reads message content within a budget: a search limits the bytes that it reads, not only the rows, and compares the content on a compute
//! pool.

use std::{sync::Arc, time::Duration};

use parley_compute::{ComputePool, Rejected};
use parley_fault::Protection;
use parley_storage::entity::message;
use parley_types::{
    error::{Error, Result},
    id::AccountId,
};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QuerySelect, Select, sea_query::Expr};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::pieces::fold;

/// The maximum number of bytes of content that one search reads. Older messages are examined for the next page.
const BYTES: u64 = 8 * 1024 * 1024;
/// The bytes after which a search uses the index, if the search string is long enough for it.
const PLAIN_BYTES: u64 = 2 * 1024 * 1024;
/// The bytes of content to hold in memory at once. A single larger message is read alone.
const SLICE_BYTES: u64 = 1024 * 1024;

/// The maximum number of waiting searches, as a multiple of the searches that may run concurrently.
const WAITING: usize = 8;

/// The thread pool on which message content is compared with search strings.
static POOL: ComputePool = ComputePool::new("search", 2, 64);
/// The maximum time for comparing one slice of messages, including the time in the queue.
const SLICE_BUDGET: Duration = Duration::from_secs(10);

/// The permit for a running search, which is released when this value is dropped.
#[derive(Debug)]
pub struct SearchPermit {
    _running: OwnedSemaphorePermit,
    _admitted: OwnedSemaphorePermit,
}

/// Limits the number of concurrent searches, and the number of searches that wait. Clones share the limit.
#[derive(Clone, Debug)]
pub struct SearchLimit {
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
}

impl SearchLimit {
    /// Creates a limit that allows `concurrent` searches to run at the same time.
    pub fn new(concurrent: usize) -> Self {
        Self {
            running: Arc::new(Semaphore::new(concurrent)),
            admitted: Arc::new(Semaphore::new(concurrent * (1 + WAITING))),
        }
    }

    /// Waits until a search may run. Cancel safe.
    ///
    /// # Errors
    /// [`Error::Busy`] if too many searches are already waiting.
    pub async fn permit(&self) -> Result<SearchPermit> {
        let busy = || Error::Busy {
            retry_after: Duration::from_secs(1),
        };
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(|_| busy())?;
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(|_| busy())?;
        Ok(SearchPermit {
            _running: running,
            _admitted: admitted,
        })
    }
}

/// The id of a message (or the seq of an event), and the size of its content (or payload) in bytes.
pub type Sized = (i64, u64);

/// Returns the ids and content sizes of the messages that a query selects, in the order of the query. Reads no content.
///
/// # Errors
/// [`Error::Database`] or [`Error::Unavailable`] if the query fails.
pub async fn sizes(query: Select<message::Entity>, db: &impl ConnectionTrait) -> Result<Vec<Sized>> {
    let bytes = Expr::cust("CAST(coalesce(octet_length(\"messages\".\"content\"), 0) AS bigint)");
    let rows: Vec<(i64, i64)> = query
        .select_only()
        .column(message::Column::Id)
        .column_as(bytes, "bytes")
        .into_tuple()
        .all(db)
        .await?;
    Ok(rows.into_iter().map(|(id, bytes)| (id, bytes.unsigned_abs())).collect())
}

/// Returns the first messages of a list that together have at most `most` bytes; at least one, unless the list is empty.
pub fn prefix(sized: &[Sized], most: u64) -> &[Sized] {
    let mut sum = 0;
    let fits = |(_, bytes): &&Sized| {
        sum += bytes;
        sum <= most
    };
    let count = sized.iter().take_while(fits).count();
    &sized[..count.max(1).min(sized.len())]
}

/// Returns a query for the messages of an account with these ids, in no particular order.
pub fn with_ids(account: AccountId, ids: &[Sized]) -> Select<message::Entity> {
    message::Entity::find()
        .filter(message::Column::AccountId.eq(account))
        .filter(message::Column::Id.is_in(ids.iter().map(|(id, _)| *id)))
}

/// Restricts a query to the range of ids from the first to the last message in `listed`, which is sorted newest first. Query planners read
/// a range of the primary key in order, whereas for a list of a thousand ids, they might choose to scan the whole table.
pub fn between(query: Select<message::Entity>, listed: &[Sized]) -> Select<message::Entity> {
    let (first, last) = (listed.first(), listed.last());
    query
        .filter(message::Column::Id.lte(first.map_or(0, |(id, _)| *id)))
        .filter(message::Column::Id.gte(last.map_or(1, |(id, _)| *id)))
}

/// A search in progress: the string that it looks for, and how much of its budget is used.
#[derive(Debug)]
pub struct Scan {
    folded: Arc<str>,
    read: u64,
}

impl Scan {
    /// Creates a scan for a case-folded search string.
    pub fn new(folded: &str) -> Self {
        Self {
            folded: folded.into(),
            read: 0,
        }
    }

    /// Returns whether the search has used up its budget of bytes to read.
    pub fn is_exhausted(&self) -> bool {
        self.read >= BYTES && parley_fault::is_on(Protection::SearchBytes)
    }

    /// Returns whether the search has read so much without the index that it should use the index.
    pub fn should_ask_index(&self) -> bool {
        self.read >= PLAIN_BYTES
    }

    /// Returns the next slice of the messages in `left` to read. Empty if `left` is empty.
    pub fn next<'s>(&mut self, left: &'s [Sized]) -> &'s [Sized] {
        let slice = prefix(left, SLICE_BYTES);
        self.read += slice.iter().map(|(_, bytes)| bytes).sum::<u64>();
        slice
    }

    /// Determines for each row whether its content contains the search string. Cancel safe.
    ///
    /// # Errors
    /// [`Error::Busy`] if the pool is overloaded.
    pub async fn holding<R: Send + 'static>(&self, rows: Vec<R>, content: fn(&R) -> Option<&str>) -> Result<Vec<(R, bool)>> {
        let folded = Arc::clone(&self.folded);
        let compared = POOL.run(SLICE_BUDGET, move |cancel| {
            let mut compared = Vec::with_capacity(rows.len());
            for row in rows {
                if cancel.is_cancelled() {
                    return None;
                }
                let holds = content(&row).is_some_and(|content| fold(content).contains(&*folded));
                compared.push((row, holds));
            }
            Some(compared)
        });
        Ok(compared.await?.ok_or(Rejected::TimedOut("search"))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_is_bounded_and_keeps_the_first_entry() {
        assert_eq!(prefix(&[], 10), []);
        assert_eq!(prefix(&[(3, 4), (2, 6), (1, 1)], 10), [(3, 4), (2, 6)]);
        assert_eq!(prefix(&[(3, 40), (2, 6)], 10), [(3, 40)]);
    }
}
