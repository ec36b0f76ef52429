//! Responses that the middleware creates and inspects.

use axum::body::Body;
use tonic::{Code, Status};

/// The response of a gRPC call. The router boxes its body once, and no layer wraps the body again.
pub type Response = http::Response<Body>;

/// Creates a trailers-only response: the status is in the headers, and the response has no messages.
pub fn refuse(status: Status) -> Response {
    status.into_http::<tonic::body::Body>().map(Body::new)
}

/// Returns the status code of a response. A response that opens a stream has the code OK, because the status that ends the stream is in its
/// trailers.
pub fn code(response: &Response) -> Code {
    let header = response.headers().get("grpc-status");
    header.map_or(Code::Ok, |value| Code::from_bytes(value.as_bytes()))
}
