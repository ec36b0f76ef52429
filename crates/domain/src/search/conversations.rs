//! Finds conversations by a substring of their messages.
//!
//! A list of conversations is sorted in its own order and includes counts, so all matching conversations must be collected before the first
//! one can be returned. For a common word, that would be too expensive. Therefore, the search examines only the newest messages, as many as
//! a message search examines for one page.

use parley_storage::entity::{kind::MessageType, message};
use parley_types::{
    error::Result,
    id::{AccountId, MessageId},
};
use sea_orm::{ColumnTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{
    LOOK, LOOKS, PLAIN, Search, index,
    messages::{MessageSearch, found},
    pieces, scan,
};
use crate::auth::caller::Access;

/// The number of matches among the newest messages from which a search string counts as common. The index is not used for a common string,
/// because it would return more messages than a search may examine.
const COMMON: usize = 20;

/// The conversations that a search found.
#[derive(Clone, Debug)]
pub struct Holding {
    /// The conversation ids in ascending order, without duplicates.
    pub ids: Vec<i64>,
    /// Whether all messages were examined.
    pub complete: bool,
}

impl Search {
    /// Finds the newest incoming and outgoing messages that contain a string, and returns the ids of their conversations.
    ///
    /// # Errors
    /// [`parley_types::error::Error::Busy`] if too many searches are running; [`parley_types::error::Error::Database`] if a query fails.
    pub(crate) async fn conversations(&self, account: AccountId, access: &Access, text: &str) -> Result<Holding> {
        let _permit = self.limit.permit().await?;
        let folded = pieces::fold(text);
        let by_index = pieces::indexed(&folded);
        let caught_up = by_index && index::catch_up(&self.context.db, account).await?;
        let search = MessageSearch {
            types: vec![MessageType::Incoming, MessageType::Outgoing],
            ..MessageSearch::default()
        };
        let (mut ids, mut last, mut common, mut complete) = (Vec::new(), MessageId(i64::MAX), false, false);
        let mut scan = scan::Scan::new(&folded);
        'looks: for number in 0..LOOKS {
            let mut query = search.select(account, access).filter(message::Column::Id.lt(last));
            if number == PLAIN || scan.should_ask_index() {
                common = ids.len() >= COMMON;
            }
            let asks_index = by_index && (number >= PLAIN || scan.should_ask_index()) && !common;
            if asks_index {
                query = query.filter(found(self.context.db.dialect(), account, &folded));
            }
            let look = scan::sizes(query.order_by_desc(message::Column::Id).limit(LOOK), self.context.db.read()).await?;
            let ended = (look.len() as u64) < LOOK;
            let mut left = look.as_slice();
            while !left.is_empty() {
                if scan.is_exhausted() {
                    break 'looks;
                }
                if by_index && !asks_index && !common && scan.should_ask_index() {
                    continue 'looks;
                }
                let slice = scan.next(left);
                left = &left[slice.len()..];
                let rows_of = if asks_index {
                    scan::with_ids(account, slice)
                } else {
                    scan::between(search.select(account, access), slice)
                };
                let read = rows_of
                    .select_only()
                    .columns([message::Column::ConversationId, message::Column::Content]);
                let read: Vec<(i64, Option<String>)> = read.into_tuple().all(self.context.db.read()).await?;
                let held = scan.holding(read, |(_, content)| content.as_deref()).await?;
                ids.extend(
                    held.into_iter()
                        .filter(|(_, holds)| *holds)
                        .map(|((conversation, _), _)| conversation),
                );
                last = slice.last().map_or(last, |(id, _)| MessageId(*id));
            }
            if ended {
                // The index does not return messages that are not indexed yet.
                complete = caught_up || !asks_index;
                break;
            }
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(Holding { ids, complete })
    }
}
