//! The position of a write in the account's log, as a header of the answer: a read that sends it back waits until the log has come that far.

use std::{
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use tonic::{body::Body, service::Routes};
use tower::Service;

/// What the services tell, in base64.
const TOLD: HeaderName = HeaderName::from_static("parley-cursor-bin");

/// What the answer says.
const SAID: HeaderName = HeaderName::from_static("parley-cursor");

/// The newest position that the services told while one request was answered.
#[derive(Clone, Debug, Default)]
pub struct Position(Arc<Mutex<Option<HeaderValue>>>);

impl Position {
    fn note(&self, told: &HeaderValue) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(told.clone());
    }

    fn take(&self) -> Option<HeaderValue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Adds the header to answers of requests that wrote something.
pub async fn say(mut request: Request, next: Next) -> Response {
    let position = Position::default();
    request.extensions_mut().insert(position.clone());
    let mut response = next.run(request).await;
    if let Some(told) = position.take() {
        response.headers_mut().insert(SAID, told);
    }
    response
}

/// The services, with an ear for positions.
#[derive(Clone, Debug)]
pub struct Noting {
    pub routes: Routes,
    pub position: Position,
}

impl Service<http::Request<Body>> for Noting {
    type Response = http::Response<Body>;
    type Error = <Routes as Service<http::Request<Body>>>::Error;
    type Future = futures_util::future::BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<http::Request<Body>>::poll_ready(&mut self.routes, cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.routes.call(request);
        let position = self.position.clone();
        Box::pin(async move {
            let response = answer.await?;
            if let Some(told) = response.headers().get(&TOLD) {
                position.note(told);
            }
            Ok(response)
        })
    }
}
