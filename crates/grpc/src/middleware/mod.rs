//! The middleware of gRPC calls: one file per tower layer, and [`stack`], which puts them in order.
//!
//! Layers pass a call on by value, first as [`call::RpcCall`] and, after authentication, as [`call::AuthenticatedCall`]. Their futures are
//! plain structs; only the future of [`auth::Auth`] is boxed on every call.

use std::{sync::Arc, time::Duration};

use parley_domain::Context;
use tower::ServiceBuilder;

mod anonymous_concurrency;
mod audit;
mod audit_event;
mod auth;
pub mod authenticator;
mod call;
mod call_record;
pub mod call_span;
pub mod deadline;
mod dispatch;
mod fail_fast;
pub mod identity;
pub mod limits;
mod load_shed;
mod min_cursor;
pub mod policy;
mod rate_limit;
mod response;
pub mod tokenless;
mod trace;

use anonymous_concurrency::AnonymousConcurrency;
use audit::Audit;
use auth::Auth;
use authenticator::Authenticator;
use deadline::Deadline;
use dispatch::Dispatch;
use fail_fast::FailFast;
use limits::Limits;
use load_shed::LoadShed;
use min_cursor::MinCursor;
use policy::Policy;
use rate_limit::{RateLimit, RateLimitHeaders};
use trace::Trace;

/// Wraps the services in the middleware. A request passes through the layers from top to bottom, and its response from bottom to top. If
/// the client disconnects first, the future of the call is dropped with the state of each layer, and `Audit` and `Trace` record the call as
/// cancelled.
///
/// A unary call takes at most `max_duration`.
pub fn stack(
    router: axum::Router,
    context: &Context,
    authenticator: Authenticator,
    limits: Arc<Limits>,
    max_duration: Duration,
) -> axum::Router {
    // In an `Arc` because layers are cloned for every call, and cloning an authenticator copies the handles of several caches.
    let authenticator = Arc::new(authenticator);
    let outage = context.outage();
    let begins = move || {
        let outage = outage.clone();
        async move { outage.begins().await }
    };
    router.layer(
        ServiceBuilder::new()
            // Limits the calls in flight. Outermost, so that rejecting a call costs next to nothing: the call is not even traced.
            .layer(LoadShed::new(Arc::clone(&limits)))
            // Records the span, duration and status of every call, including cancelled calls and calls that a lower layer rejects. Above
            // all layers that write log lines, because this layer supplies their trace ids.
            .layer(Trace)
            // Writes audit events. Above `Auth`, because rejected callers are audited too. Below `Trace`, so that audit lines carry the
            // trace id (except for the line about a dropped call, because dropping happens outside the trace context).
            .layer(Audit::new(context.audit.clone()))
            // Fails calls immediately during a database outage. Above `Auth`, because tokens cannot be looked up during an outage. Below
            // `Trace` and `Audit`, so that a call ended by an outage is recorded.
            .layer(FailFast::new(begins))
            // Authenticates the caller, within the deadline. Every layer below depends on the caller.
            .layer(Auth::new(authenticator.clone(), max_duration))
            // Charges the call to its token. Below `Auth`, which determines the token. Above `Policy`, so that calls that the policy
            // rejects are charged too.
            .layer(RateLimit::new(limits))
            // Rejects tokens of the wrong kind. Above all layers that wait, so that a rejected call holds no resources.
            .layer(Policy)
            // Reports the remaining rate limit. Below `Policy`, because rejections by `Policy` do not report the limit. Above `Deadline`,
            // so that responses to timed-out calls report it too.
            .layer(RateLimitHeaders)
            // Applies the deadline to everything below, including the waits for a log position and for a processing slot.
            .layer(Deadline)
            // Waits for the requested log position. Above `AnonymousConcurrency`, because the wait needs no processing slot and may be
            // long.
            .layer(MinCursor::new(Arc::clone(&context.events.broadcaster)))
            // Limits the number of concurrent calls without a token. Innermost, so that a call holds its processing slot only while its
            // handler runs.
            .layer(AnonymousConcurrency::new(authenticator))
            // Passes the request to its service, with the caller in its extensions.
            .layer(Dispatch),
    )
}
