//! Full-text search: finds messages by a substring of their content, newest first.
//!
//! A search first scans the newest messages without the index: a common word is found there quickly, whereas the index would have to return
//! all of its matches. If the page is not full by then, and the search string has at least three characters, the index is used, and the
//! candidates that it returns are compared with the search string again.

use std::sync::Arc;

use crate::context::Context;

pub mod conversations;
pub mod index;
pub mod messages;
mod pieces;
pub(crate) mod scan;

use scan::SearchLimit;

/// The maximum number of messages that one round of a search examines.
const LOOK: u64 = 1000;
/// The maximum number of rounds for one page. Older messages are examined for the next page.
const LOOKS: usize = 20;
/// The maximum number of rounds in which a search scans messages before it considers using the index.
const PLAIN: usize = 2;

/// Full-text search in messages.
#[derive(Clone, Debug)]
pub struct Search {
    context: Arc<Context>,
    limit: SearchLimit,
}

impl Search {
    pub(crate) fn new(context: &Arc<Context>, concurrent: usize) -> Self {
        Self {
            context: Arc::clone(context),
            limit: SearchLimit::new(concurrent),
        }
    }
}
