//! An HTTP/2 client that never opens its flow-control window but answers pings: nothing that it requested can be sent, and its connection
//! looks alive.

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Request, Response};
use prost::Message;
use tokio::{net::TcpStream, task::JoinHandle};

use crate::support::in_time;

/// A connection on which no stream has a window.
pub struct Closed {
    requests: SendRequest<Bytes>,
    address: String,
    connection: JoinHandle<()>,
}

/// A request that was sent and stays open.
pub struct Open {
    _body: h2::SendStream<Bytes>,
    answer: ResponseFuture,
}

impl Closed {
    /// Connects to a listener, `host:port`.
    pub async fn to(address: &str) -> Self {
        let socket = TcpStream::connect(address).await.expect("the listener is there");
        let (requests, connection) = in_time("a handshake", h2::client::Builder::new().initial_window_size(0).handshake(socket))
            .await
            .expect("HTTP/2");
        Self {
            requests,
            address: address.to_owned(),
            // Polling the connection answers pings.
            connection: tokio::spawn(async move {
                let _ = connection.await;
            }),
        }
    }

    /// Whether the server closed the connection.
    pub fn has_ended(&self) -> bool {
        self.connection.is_finished()
    }

    /// Sends a request. Its body stays open if `ends` is false.
    pub async fn send(&self, method: &str, path: &str, headers: HeaderMap, body: Bytes, ends: bool) -> Open {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .body(())
            .expect("a request");
        *request.headers_mut() = headers;
        let mut requests = in_time("room for a stream", self.requests.clone().ready())
            .await
            .expect("the connection goes on");
        let (answer, mut sender) = requests.send_request(request, false).expect("it is sent");
        // The server may have responded and reset the stream already, which the response shows.
        let _ = sender.send_data(body, ends);
        Open { _body: sender, answer }
    }

    /// Calls a gRPC method with one message.
    pub async fn call(&self, method: &str, token: &str, message: &impl Message, ends: bool) -> Open {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/grpc".parse().expect("a header"));
        headers.insert("te", "trailers".parse().expect("a header"));
        if !token.is_empty() {
            headers.insert("api_access_token", token.parse().expect("a header"));
        }
        self.send("POST", &format!("/parley.v1.{method}"), headers, framed(message), ends)
            .await
    }
}

/// A message with its gRPC frame header.
pub fn framed(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.encoded_len()).expect("small"));
    message.encode(&mut frame).expect("there is room");
    frame.freeze()
}

impl Open {
    /// The head of the response.
    pub async fn head(self) -> Response<h2::RecvStream> {
        in_time("an answer", self.answer).await.expect("an answer")
    }
}

/// Whether the head of the response says that the gRPC call was refused.
pub fn is_refused(head: &Response<h2::RecvStream>) -> bool {
    head.headers().get("grpc-status").is_some_and(|status| status != "0")
}
