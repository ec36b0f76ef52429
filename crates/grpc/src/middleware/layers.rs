//! What every call passes before its service: trace, deadline, auth.

use std::{
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::{Extensions, HeaderMap, Request, Response};
use opentelemetry::trace::FutureExt as _;
use parley_admission::credential::secret;
use parley_domain::{Outage, audit::AuditLog, auth::caller::Caller};
use parley_eventlog::{cursor::Cursor, hub::Hub};
use parley_fault::Protection;
use parley_proto::policy::{self, Method};
use parley_types::{cursor_text, error::Error, id::TokenId};
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};

use super::{
    anonymous::{Authenticator, Payer},
    audit::{About, Asked},
    limits::Limits,
    outcome::Outcome,
    policy::admit,
    trace,
};
use crate::{
    meter,
    status::{away, busy, late, to_status},
};

/// Who calls, in the request's extensions.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The caller.
    pub caller: Arc<Caller>,
    /// The secret it showed: an open stream asks now and then whether it is still good.
    pub secret: Arc<str>,
    /// What the call is about, once that is known.
    pub about: Arc<OnceLock<About>>,
}

/// A call that may go on.
enum Admitted {
    /// By a caller whose token is good.
    Known(Identity),
    /// Of a method that needs no token.
    Anonymous(Payer),
}

impl Admitted {
    fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Known(identity) => Some(identity),
            Self::Anonymous(_) => None,
        }
    }

    /// The token whose rate the call counts against.
    fn token(&self) -> Option<TokenId> {
        match self {
            Self::Known(identity) => Some(identity.caller.token),
            Self::Anonymous(payer) => payer.service().map(|service| service.token),
        }
    }
}

/// How long an upload may take: as long as the largest file takes over a slow line, and not for ever.
const UPLOAD: Duration = Duration::from_hours(1);

/// How much sooner than asked for a call ends, at most: tonic keeps the same deadline around ours, and says CANCELLED. See [`arrive`].
const SOONER: Duration = Duration::from_millis(10);

/// When a call came in.
#[derive(Clone, Copy, Debug)]
struct Arrived(Instant);

/// Notes when a call came in. Of a listener of tonic's, the outermost layer: tonic's own deadline counts from just after it, and a gate that
/// counted from when it is polled first would lose against that on a busy machine.
pub fn arrive<B>(mut request: Request<B>) -> Request<B> {
    request.extensions_mut().insert(Arrived(Instant::now()));
    request
}

/// The position that a read waits for, as gRPC spells bytes, and as a text for clients without binary metadata. Both are read in
/// every spelling of a cursor.
const MIN_CURSOR: [&str; 2] = ["parley-min-cursor-bin", "parley-min-cursor"];

/// Traces and measures a call, bounds its time and number, and lets it in if its token is good.
#[derive(Clone, Debug)]
pub struct Gate {
    authenticator: Authenticator,
    hub: Arc<Hub>,
    deadline: Duration,
    limits: Arc<Limits>,
    audit: AuditLog,
    outage: Outage,
}

impl Gate {
    /// A gate; `deadline` bounds unary calls that do not ask for less.
    pub fn new(
        authenticator: Authenticator,
        hub: Arc<Hub>,
        deadline: Duration,
        limits: Arc<Limits>,
        audit: AuditLog,
        outage: Outage,
    ) -> Self {
        Self {
            authenticator,
            hub,
            deadline,
            limits,
            audit,
            outage,
        }
    }
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { inner, gate: self.clone() }
    }
}

/// A service behind a [`Gate`].
#[derive(Clone, Debug)]
pub struct Gated<S> {
    inner: S,
    gate: Gate,
}

type Answer = Response<axum::body::Body>;

impl<S> Service<Request<axum::body::Body>> for Gated<S>
where
    S: Service<Request<axum::body::Body>, Response = Answer> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Answer;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Answer, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<axum::body::Body>) -> Self::Future {
        let method = policy::method(request.uri().path());
        let stream = method.is_some_and(|method| method.is_stream() || method.is_upload());
        let name = meter::known(method);
        // Counted until it is answered, or until its caller goes.
        let in_work = (!stream).then(|| self.gate.limits.enter());
        if let Some(None) = in_work {
            // Not even traced: the more there are, the less each may cost.
            meter::answered(name, Code::ResourceExhausted, Duration::ZERO);
            return Box::pin(std::future::ready(Ok(busy().map(axum::body::Body::new))));
        }
        // The clone that was asked whether it is ready is the one to call.
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        let gate = self.gate.clone();
        let around = trace::begin(request.headers(), name);
        // Whoever goes before the answer drops it, and then it tells of that.
        let mut outcome = Outcome::begin(name, stream, around.clone());
        let call = async move {
            let outage = gate.outage.clone();
            // Nothing can be looked up, not even the token. A call that waits for the database already is answered as well.
            let answer = tokio::select! {
                biased;
                () = outage.begins(), if parley_fault::is_on(Protection::Outage) => Ok(refuse(away())),
                answer = gate.pass(inner, method, request, &mut outcome) => answer,
            };
            drop(in_work);
            if let Ok(answer) = &answer {
                outcome.answered(code(answer));
            }
            answer
        };
        Box::pin(call.with_context(around))
    }
}

/// The code of an answer; that of a stream is not known when it begins.
fn code(answer: &Answer) -> Code {
    let header = answer.headers().get("grpc-status");
    header.map_or(Code::Ok, |value| Code::from_bytes(value.as_bytes()))
}

impl Gate {
    /// The caller, or, of a method that needs no token, who the call is charged to. A path that the contract does not name asks for a token.
    async fn identify(&self, method: Option<&Method>, headers: &HeaderMap, extensions: &Extensions) -> Result<Admitted, Error> {
        let secret = secret(headers);
        if method.is_some_and(|method| !method.needs_token()) {
            return self.authenticator.payer(extensions, secret).await.map(Admitted::Anonymous);
        }
        let caller = self.authenticator.authenticate(extensions, secret).await?;
        Ok(Admitted::Known(Identity {
            caller,
            secret: secret.unwrap_or_default().into(),
            about: Arc::default(),
        }))
    }

    /// The answer; what is to be told of the call goes into `outcome`.
    async fn pass<S>(
        &self,
        inner: S,
        method: Option<&'static Method>,
        request: Request<axum::body::Body>,
        outcome: &mut Outcome,
    ) -> Result<Answer, S::Error>
    where
        S: Service<Request<axum::body::Body>, Response = Answer>,
    {
        let most = if method.is_some_and(Method::is_upload) {
            UPLOAD
        } else {
            self.deadline
        };
        // Of a stream that is answered at once, the deadline of its opening.
        let began = request.extensions().get().map_or_else(Instant::now, |Arrived(at)| *at);
        let ends = began + bounded(request.headers(), most);
        match timeout_at(ends, self.identify(method, request.headers(), request.extensions())).await {
            Ok(Ok(admitted)) => {
                outcome.asks(Asked::of(method, &request, admitted.identity(), &self.audit));
                self.known(inner, method, request, admitted, ends).await
            }
            Ok(Err(error)) => {
                // Anybody can make these calls: what they leave in the log, and among the audit events, is bounded.
                let asked = Asked::of(method, &request, None, &self.audit);
                outcome.asks(asked.filter(|_| self.authenticator.may_log()));
                Ok(refuse(to_status(error)))
            }
            Err(_) => {
                outcome.asks(Asked::of(method, &request, None, &self.audit));
                Ok(refuse(late()))
            }
        }
    }

    /// The answer to somebody who is known, or need not be.
    async fn known<S>(
        &self,
        mut inner: S,
        method: Option<&'static Method>,
        mut request: Request<axum::body::Body>,
        admitted: Admitted,
        ends: Instant,
    ) -> Result<Answer, S::Error>
    where
        S: Service<Request<axum::body::Body>, Response = Answer>,
    {
        let left = match admitted.token().map(|token| self.limits.call(token)).transpose() {
            Ok(left) => left.flatten(),
            Err(refused) => {
                let (error, left) = *refused;
                let mut answer = refuse(to_status(error));
                left.tell(answer.headers_mut());
                return Ok(answer);
            }
        };
        match &admitted {
            Admitted::Known(identity) => {
                if let Err(error) = admit(method, &identity.caller) {
                    return Ok(refuse(to_status(error)));
                }
                request.extensions_mut().insert(identity.clone());
            }
            Admitted::Anonymous(payer) => {
                request.extensions_mut().insert(payer.clone());
            }
        }
        let answer = async {
            if let Err(error) = self.reached(request.headers(), admitted.identity()).await {
                return Ok(refuse(to_status(error)));
            }
            let _turn = match &admitted {
                Admitted::Anonymous(payer) if method.is_some_and(Method::takes_turn) => {
                    self.authenticator.turn(payer, request.extensions()).await
                }
                _ => None,
            };
            inner.call(request).await
        };
        let mut answer = timeout_at(ends, answer).await.unwrap_or_else(|_| Ok(refuse(late())))?;
        if let Admitted::Anonymous(payer) = &admitted
            && code(&answer) == Code::Unauthenticated
            && let Err(error) = self.authenticator.failed(payer)
        {
            answer = refuse(to_status(error));
        }
        if let Some(left) = left {
            left.tell(answer.headers_mut());
        }
        Ok(answer)
    }

    /// Waits until the log has reached the position that the call names, if it names one. Only its own deadline ends the wait.
    ///
    /// # Errors
    /// [`Error::Invalid`]; [`Error::NotMember`] for a position of an account that is not the caller's; [`Error::Cursor`] of another epoch.
    async fn reached(&self, headers: &HeaderMap, identity: Option<&Identity>) -> Result<(), Error> {
        let Some((name, text)) = MIN_CURSOR.iter().find_map(|name| Some((*name, headers.get(*name)?))) else {
            return Ok(());
        };
        let text = text.to_str().unwrap_or_default();
        let cursor = Cursor::decode(name, &cursor_text::decode(text).unwrap_or_default())?;
        // Who shows no token names a session instead, and the position says nothing about that one.
        if let Some(identity) = identity {
            identity.caller.access(cursor.account)?;
            self.hub.reached(cursor).await?;
        }
        Ok(())
    }
}

fn refuse(status: Status) -> Response<axum::body::Body> {
    status.into_http::<Body>().map(axum::body::Body::new)
}

/// How long a call may take: as long as it asks for, at most so long.
fn bounded(headers: &HeaderMap, most: Duration) -> Duration {
    deadline(headers).map_or(most, |asked| asked.saturating_sub(SOONER.min(asked / 10)).min(most))
}

/// The call's own deadline, by gRPC's header: at most eight digits and a unit.
fn deadline(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = Some(digits).filter(|digits| digits.len() <= 8)?.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_deadline_is_read_in_each_unit() {
        let read = |text| deadline(&headers(&[("grpc-timeout", text)]));
        assert_eq!(read("2S"), Some(Duration::from_secs(2)));
        assert_eq!(read("150m"), Some(Duration::from_millis(150)));
        assert_eq!(read("123456789S"), None);
        assert_eq!(read("S"), None);
        assert_eq!(read("2x"), None);
    }
}
