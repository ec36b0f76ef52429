//! Renders the texts of an operation before its rules use them.

use std::sync::Arc;

use super::liquid;
use crate::write::{Write, WriteSet};

/// Renders the templates that `dry_run` requests from a copy of the write set, on a compute pool. If the caller then does the same to the write
/// set itself, it finds them rendered.
pub async fn render_texts<T>(write: &mut Write, dry_run: impl FnOnce(&mut WriteSet) -> T) {
    let mut copy = write.set.clone();
    dry_run(&mut copy);
    let missing = copy.take_missing_texts();
    if !missing.is_empty() {
        write.set.set_rendered_texts(Arc::new(liquid::render_automatic(missing).await));
    }
}
