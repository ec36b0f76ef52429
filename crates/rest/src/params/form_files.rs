//! Files of forms that nothing took: they are discarded as soon as the request is answered.
//!
//! A form is stored while it is read, before the call that takes its files is validated. If that call refuses (or the form breaks off, or an
//! `Idempotency-Key` repeats an earlier request), nothing refers to the files: left alone they would fill the disk and the quota of their
//! uploader until their lifetime is over.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{extract::Request, http::StatusCode, middleware::Next, response::Response};
use futures_util::future::BoxFuture;
use parley_fault::Protection;
use tokio::runtime::Handle;

use crate::params::multipart;

/// Discards those of the named uploads that nothing has taken. What fails is left to the end of their lifetime.
type Discard = dyn Fn(Vec<String>) -> BoxFuture<'static, ()> + Send + Sync;

/// How uploads are discarded: a setting of the gateway, because files are not its own.
#[derive(Clone)]
pub struct DiscardUploads(Arc<Discard>);

impl DiscardUploads {
    /// Discards by this function. Uploads that are in use must be left alone by it.
    pub fn new(discard: impl Fn(Vec<String>) -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(discard))
    }
}

impl fmt::Debug for DiscardUploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiscardUploads").finish_non_exhaustive()
    }
}

/// The uploads of one form; an extension of its request.
#[derive(Clone, Debug, Default)]
pub struct FormFiles(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    upload_ids: Vec<String>,
    /// Whether the form was read to its end, so that the handler may have passed the uploads on.
    is_complete: bool,
}

impl FormFiles {
    /// Notes a file that was stored.
    pub fn add(&self, upload_id: &str) {
        self.state().upload_ids.push(upload_id.to_owned());
    }

    /// Notes that the form was read to its end.
    pub fn complete(&self) {
        self.state().is_complete = true;
    }

    /// Takes the uploads that can be discarded after an answer of this status; none: the request ended without an answer.
    ///
    /// A call that failed with a server error, or was given up by its client, may still be queued, and take its files. Those are left to the
    /// end of their lifetime.
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

/// Discards the files of a form that its request did not take, before the answer is sent: the caller's next request has its whole quota.
pub async fn discard_unused(discard: DiscardUploads, mut request: Request, next: Next) -> Response {
    if multipart::boundary(request.headers()).is_none() {
        return next.run(request).await;
    }
    let files = FormFiles::default();
    request.extensions_mut().insert(files.clone());
    // Dropped with this future if the client disconnects.
    let abandoned = Abandoned { files, discard };
    let response = next.run(request).await;
    let unused = abandoned.files.take_unused(Some(response.status()));
    if !unused.is_empty() {
        (abandoned.discard.0)(unused).await;
    }
    response
}

/// The files of a request whose client may disconnect.
struct Abandoned {
    files: FormFiles,
    discard: DiscardUploads,
}

impl Drop for Abandoned {
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
    fn files_are_kept_while_their_call_may_still_take_them() {
        for status in [None, Some(StatusCode::SERVICE_UNAVAILABLE)] {
            assert_eq!(form(true).take_unused(status), [""; 0], "{status:?}");
            assert_eq!(form(false).take_unused(status), ["one"], "{status:?}");
        }
        // Those that an accepted request took are left alone by the function that discards.
        for status in [StatusCode::OK, StatusCode::UNPROCESSABLE_ENTITY] {
            assert_eq!(form(true).take_unused(Some(status)), ["one"], "{status}");
        }
    }
}
