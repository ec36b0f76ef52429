//! gRPC-Web: a page from any origin subscribes over HTTP/1.1, and the trailers tell it the status and the last cursor.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use bytes::{Buf as _, Bytes, BytesMut};
use parley_proto::{SubscribeResponse, subscribe_request::Start};
use prost::Message as _;
use reqwest::{Client, Method, Response};

use crate::support::{
    app::{ADMINISTRATOR, TestApp},
    database::Backend,
    in_time, on_both,
    reader::everything,
};

on_both!(page_subscribes_and_resumes, preflight_from_another_origin_is_allowed);

const SUBSCRIBE: &str = "/parley.v1.EventsService/Subscribe";
const ORIGIN: &str = "https://desk.example.org";

fn client() -> Client {
    Client::builder().http1_only().build().expect("a client")
}

/// The frames of a stream: messages, then the trailers.
struct Web {
    response: Response,
    read: BytesMut,
}

enum Frame {
    Message(SubscribeResponse),
    Trailers(String),
}

impl Web {
    async fn subscribe(app: &TestApp, start: Start) -> Self {
        let asked = everything(1, start).encode_to_vec();
        let mut body = vec![0];
        body.extend(u32::try_from(asked.len()).expect("small").to_be_bytes());
        body.extend(asked);
        let request = client()
            .post(format!("http://{}{SUBSCRIBE}", app.server.listeners.grpc))
            .header("content-type", "application/grpc-web+proto")
            .header("origin", ORIGIN)
            .header("api_access_token", ADMINISTRATOR)
            .body(body);
        let response = in_time("Subscribe", request.send()).await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        Self {
            response,
            read: BytesMut::new(),
        }
    }

    async fn bytes(&mut self, count: usize) -> Bytes {
        while self.read.len() < count {
            let more = in_time("the stream", self.response.chunk()).await.expect("it goes on");
            self.read.extend(more.expect("it does not end before its trailers"));
        }
        self.read.split_to(count).freeze()
    }

    async fn next(&mut self) -> Frame {
        let mut head = self.bytes(5).await;
        let kind = head.get_u8();
        let length = usize::try_from(head.get_u32()).expect("small");
        let body = self.bytes(length).await;
        match kind {
            0 => Frame::Message(SubscribeResponse::decode(body).expect("a response")),
            0x80 => Frame::Trailers(String::from_utf8(body.to_vec()).expect("text")),
            other => panic!("a frame of kind {other}"),
        }
    }

    /// The sequence numbers up to `seq`, and the cursor of the last one.
    async fn until(&mut self, seq: u64) -> (Vec<u64>, Bytes) {
        let mut seqs = Vec::new();
        loop {
            let Frame::Message(response) = self.next().await else {
                panic!("it ended after {seqs:?}");
            };
            for delivery in response.events {
                let at = delivery.event.expect("always set").seq;
                seqs.push(at);
                if at == seq {
                    return (seqs, delivery.cursor);
                }
            }
        }
    }
}

async fn page_subscribes_and_resumes(backend: Backend) {
    let mut app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    fixture.hear(conversation, "hello").await;
    let mut web = Web::subscribe(&app, Start::Earliest(())).await;
    let head = crate::support::reader::log_info(&fixture.clients, 1).await.head_seq;
    let (seqs, cursor) = web.until(head).await;
    assert_eq!(seqs, (1..=head).collect::<Vec<_>>());
    app.server.terminate();
    let trailers = loop {
        if let Frame::Trailers(trailers) = web.next().await {
            break trailers;
        }
    };
    let trailer = |name: &str| {
        let line = trailers
            .lines()
            .find_map(|line| line.split_once(':').filter(|(key, _)| *key == name));
        line.map_or_else(|| panic!("{name} in {trailers:?}"), |(_, value)| value.trim().to_owned())
    };
    assert_eq!(trailer("grpc-status"), "14", "UNAVAILABLE: {trailers:?}");
    let told = trailer("parley-cursor-bin");
    assert_eq!(STANDARD_NO_PAD.decode(told.trim_end_matches('=')).expect("base64"), cursor);
    assert!(app.server.wait().await.success());
    app.start_again().await;
    let mut web = Web::subscribe(&app, Start::After(cursor)).await;
    app.fixture().hear(conversation, "again").await;
    let (seqs, _) = web.until(head + 1).await;
    assert_eq!(seqs, [head + 1], "with the very next event");
}

async fn preflight_from_another_origin_is_allowed(backend: Backend) {
    let app = TestApp::start(backend).await;
    let asked = client()
        .request(Method::OPTIONS, format!("http://{}{SUBSCRIBE}", app.server.listeners.grpc))
        .header("origin", ORIGIN)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type,x-grpc-web");
    let told = asked.send().await.expect("an answer");
    assert_eq!(told.status(), 200);
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", "POST"),
        // Echoed, because a wildcard would not cover `Authorization`.
        ("access-control-allow-headers", "authorization,content-type,x-grpc-web"),
    ] {
        assert_eq!(told.headers()[name], value, "{name}");
    }
}
