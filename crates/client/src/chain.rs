//! Checks that each event delivery continues the one before it, across all streams that one client opens.

use parley_proto::{EventDelivery, SubscribeResponse};

use super::Error;

#[derive(Debug, Default)]
pub(super) struct Chain {
    /// The seq of the last event received, or `None` if none was received yet, in which case the next event may have any `prev_seq`.
    last_seq: Option<u64>,
    /// The highest seq up to which a bookmark claimed that everything was sent.
    bookmarked: u64,
    just_resumed: bool,
}

impl Chain {
    /// Records that a new stream was opened. The new stream continues where the last one ended.
    pub fn stream_opened(&mut self) {
        self.just_resumed = true;
    }

    /// Forgets the events received so far, because the next stream starts at another position.
    pub fn restart(&mut self) {
        *self = Self::default();
    }

    /// Checks the events and the bookmark of a response against everything received before.
    ///
    /// # Errors
    /// Returns [`Error::ChainBroken`] if an event is missing, repeated or out of order, and [`Error::BookmarkWrong`] if a bookmark
    /// contradicts the events.
    pub fn check(&mut self, response: &SubscribeResponse) -> Result<(), Error> {
        for EventDelivery { prev_seq, event, .. } in &response.events {
            let (seq, prev_seq) = (event.as_ref().map_or(0, |event| event.seq), *prev_seq);
            if let Some(last_seq) = self.last_seq {
                // Right after resuming, the predecessor of the first event may have been trimmed, in which case `prev_seq` is 0.
                let trimmed = self.just_resumed && prev_seq == 0;
                if seq <= last_seq || (prev_seq != last_seq && !trimmed) {
                    return Err(Error::ChainBroken { seq, prev_seq, last_seq });
                }
            }
            if seq <= self.bookmarked {
                return Err(Error::BookmarkWrong {
                    bookmarked: self.bookmarked,
                    seq,
                });
            }
            self.last_seq = Some(seq);
            self.just_resumed = false;
        }
        if let Some(bookmark) = &response.bookmark {
            let seen = self.last_seq.unwrap_or_default();
            if bookmark.seq < seen {
                return Err(Error::BookmarkWrong {
                    bookmarked: bookmark.seq,
                    seq: seen,
                });
            }
            self.bookmarked = self.bookmarked.max(bookmark.seq);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parley_proto::{Bookmark, Event};

    fn response(links: &[(u64, u64)], bookmark: Option<u64>) -> SubscribeResponse {
        let delivery = |&(prev_seq, seq): &(u64, u64)| EventDelivery {
            prev_seq,
            event: Some(Event { seq, ..Event::default() }),
            ..EventDelivery::default()
        };
        SubscribeResponse {
            events: links.iter().map(delivery).collect(),
            bookmark: bookmark.map(|seq| Bookmark {
                seq,
                ..Bookmark::default()
            }),
            ..SubscribeResponse::default()
        }
    }

    #[test]
    fn chain_continues_across_streams() {
        let mut chain = Chain::default();
        for links in [[(3, 5), (5, 9)], [(9, 10), (10, 11)], [(0, 12), (12, 13)]] {
            chain.stream_opened();
            chain.check(&response(&links, None)).unwrap();
        }
    }

    #[test]
    fn gaps_and_repetitions_break_the_chain() {
        for links in [[(3, 5), (6, 7)], [(3, 5), (3, 5)], [(3, 5), (0, 6)]] {
            let mut chain = Chain::default();
            chain.stream_opened();
            let error = chain.check(&response(&links, None)).unwrap_err();
            assert!(matches!(error, Error::ChainBroken { last_seq: 5, .. }), "{error}");
        }
    }

    #[test]
    fn wrong_bookmark_is_an_error() {
        let mut chain = Chain::default();
        chain.check(&response(&[(0, 3)], Some(8))).unwrap();
        assert!(matches!(
            chain.check(&response(&[(3, 5)], None)).unwrap_err(),
            Error::BookmarkWrong { bookmarked: 8, seq: 5 }
        ));
        let mut chain = Chain::default();
        chain.check(&response(&[(0, 3)], None)).unwrap();
        assert!(matches!(
            chain.check(&response(&[], Some(2))).unwrap_err(),
            Error::BookmarkWrong { bookmarked: 2, seq: 3 }
        ));
    }
}
