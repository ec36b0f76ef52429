//! Deletes unused files of a form as soon as its request ends.
//!
//! The files of a form are stored while the form is read, before the call that uses them is validated. If that call fails, the form is cut
//! off, or the request is a replay under an `Idempotency-Key`, nothing refers to the files. If they were not deleted, they would occupy
//! disk space and the uploader's quota until they expire.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{extract::Request, http::StatusCode, middleware::Next, response::Response};
use futures_util::future::BoxFuture;
use parley_fault::Protection;
use tokio::runtime::Handle;

use crate::params::multipart;

/// Deletes those of the given uploads that nothing refers to. If deleting fails, the uploads expire.
type Discard = dyn Fn(Vec<String>) -> BoxFuture<'static, ()> + Send + Sync;

/// Deletes uploads. Part of the gateway's configuration because this crate has no access to the file store.
#[derive(Clone)]
pub struct DiscardUploads(Arc<Discard>);

impl DiscardUploads {
    /// Creates a `DiscardUploads` from a function, which must not delete uploads that are in use.
    pub fn new(discard: impl Fn(Vec<String>) -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(discard))
    }
}

impl fmt::Debug for DiscardUploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiscardUploads").finish_non_exhaustive()
    }
}

/// The uploads of one form, stored in the extensions of its request.
#[derive(Clone, Debug, Default)]
pub struct FormFiles(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    upload_ids: Vec<String>,
    /// Whether the form was read to its end, after which the handler may have passed on the uploads.
    is_complete: bool,
}

impl FormFiles {
    /// Records a stored file.
    pub fn add(&self, upload_id: &str) {
        self.state().upload_ids.push(upload_id.to_owned());
    }

    /// Records that the form was read to its end.
    pub fn complete(&self) {
        self.state().is_complete = true;
    }

    /// Takes the uploads that can be deleted after a response with this status; `None` means that the request ended without a response.
    ///
    /// A call that failed with a server error, or whose client disconnected, may still be queued and use its files later. These files are
    /// kept until they expire.
    fn take_unused(&self, status: Option<StatusCode>) -> Vec<String> {
        let mut state = self.state();
        let is_decided = !state.is_complete || status.is_some_and(|status| !status.is_server_error());
        if is_decided && parley_fault::is_on(Protection::RefusedUploads) {
            std::mem::take(&mut state.upload_ids)
        } else {
            Vec::new()
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Deletes the files of a form that its request did not use. This happens before the response is sent, so that the full quota is available
/// to the caller's next request.
pub async fn discard_unused(discard: DiscardUploads, mut request: Request, next: Next) -> Response {
    if multipart::boundary(request.headers()).is_none() {
        return next.run(request).await;
    }
    let files = FormFiles::default();
    request.extensions_mut().insert(files.clone());
    // Dropped together with this future if the client disconnects.
    let guard = DiscardOnDrop { files, discard };
    let response = next.run(request).await;
    let unused = guard.files.take_unused(Some(response.status()));
    if !unused.is_empty() {
        (guard.discard.0)(unused).await;
    }
    response
}

/// Deletes the files if the client disconnects.
struct DiscardOnDrop {
    files: FormFiles,
    discard: DiscardUploads,
}

impl Drop for DiscardOnDrop {
    fn drop(&mut self) {
        let unused = self.files.take_unused(None);
        if !unused.is_empty()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn((self.discard.0)(unused));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(is_complete: bool) -> FormFiles {
        let files = FormFiles::default();
        files.add("one");
        if is_complete {
            files.complete();
        }
        files
    }

    #[test]
    fn keeps_files_that_a_call_may_still_use() {
        for status in [None, Some(StatusCode::SERVICE_UNAVAILABLE)] {
            assert_eq!(form(true).take_unused(status), [""; 0], "{status:?}");
            assert_eq!(form(false).take_unused(status), ["one"], "{status:?}");
        }
        // The delete function itself keeps files that a successful request uses.
        for status in [StatusCode::OK, StatusCode::UNPROCESSABLE_ENTITY] {
            assert_eq!(form(true).take_unused(Some(status)), ["one"], "{status}");
        }
    }
}
