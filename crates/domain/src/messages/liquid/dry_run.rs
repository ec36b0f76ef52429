//! Renders the templates that an operation needs before the operation applies its rules.

use std::sync::Arc;

use super::render_automatic;
use crate::write::{Write, WriteSet};

/// Runs `dry_run` on a copy of the write set to find the templates that it requests, and renders them on a compute pool. If the caller then
/// makes the same changes to the write set itself, the write set already contains the rendered texts.
pub async fn render_texts<T>(write: &mut Write, dry_run: impl FnOnce(&mut WriteSet) -> T) {
    let mut copy = write.set.clone();
    dry_run(&mut copy);
    let missing = copy.take_missing_texts();
    if !missing.is_empty() {
        write.set.set_rendered_texts(Arc::new(render_automatic(missing).await));
    }
}
