//! The middleware of gRPC calls: one file per tower layer, and [`stack`], which puts them in order.
//!
//! Layers pass a call on by value, first as [`call::RpcCall`] and, once its caller is known, as [`call::AuthenticatedCall`]. Their futures are
//! plain structs; the only one that is boxed on every call is that of [`auth::Auth`].

use std::{sync::Arc, time::Duration};

use parley_domain::Context;
use tower::ServiceBuilder;

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
mod turn;

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
use turn::TakeTurn;

/// Puts the stack around the services. A request passes the layers from top to bottom, its answer from bottom to top. If the client disconnects
/// first, the future of the call is dropped; each layer's state is dropped with it, and `Audit` and `Trace` write the call down as cancelled.
///
/// A unary call takes at most `max_duration`.
pub fn stack(
    router: axum::Router,
    context: &Context,
    authenticator: Authenticator,
    limits: Arc<Limits>,
    max_duration: Duration,
) -> axum::Router {
    // Shared: its clone copies several caches' handles, and a layer is cloned with every call.
    let authenticator = Arc::new(authenticator);
    let outage = context.outage();
    let begins = move || {
        let outage = outage.clone();
        async move { outage.begins().await }
    };
    router.layer(
        ServiceBuilder::new()
            // Bounds the calls in flight. Outermost, so that a call beyond the bound costs next to nothing: it is not even traced.
            .layer(LoadShed::new(Arc::clone(&limits)))
            // Records span, duration and status, also of calls that are refused or cancelled below. Above everything that writes log lines, which
            // get the ids of the trace from here.
            .layer(Trace)
            // Records who administered what. Above `Auth`, because refused callers are audited, too; below `Trace`, so that its lines carry the
            // trace, except for a call that is dropped: that happens outside of its context.
            .layer(Audit::new(context.audit.clone()))
            // Answers at once while the database is away. Above `Auth`, because not even a token can be looked up then; below `Trace` and
            // `Audit`, because a call in flight that an outage ends is recorded.
            .layer(FailFast::new(begins))
            // Finds the caller, within the deadline. Everything below depends on who calls.
            .layer(Auth::new(authenticator.clone(), max_duration))
            // Charges the call to its token. Below `Auth`, which knows the token; above `Policy`, so that calls which are refused there are
            // charged, too.
            .layer(RateLimit::new(limits))
            // Refuses tokens of the wrong kind. Above everything that waits, so that such a call holds nothing.
            .layer(Policy)
            // Reports what is left of the rate limit. Below `Policy`, whose refusals do not report it; above `Deadline`, so that late answers do.
            .layer(RateLimitHeaders)
            // Bounds the rest by the call's deadline, including the waits of the next two layers.
            .layer(Deadline)
            // Waits for the position of the log that the call asks for. Above `TakeTurn`, because the wait needs no turn and may be long.
            .layer(MinCursor::new(Arc::clone(&context.events.hub)))
            // Lets callers without a token take turns. Innermost, because a turn lasts as long as the handler works and no longer.
            .layer(TakeTurn::new(authenticator))
            // Hands the request to its service, with the caller in its extensions.
            .layer(Dispatch),
    )
}
