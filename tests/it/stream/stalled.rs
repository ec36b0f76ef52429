//! Statement 15: a stream ends only if it makes no progress at all. Then its resources are released, although its client does not read the
//! status.

use std::time::Duration;

use parley_proto::{
    BatchCreateMessagesRequest, BatchMessage, SubscribeRequest, SubscribeResponse, events_service_client::EventsServiceClient,
    subscribe_request::Start,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
    time::sleep,
};
use tonic::{
    Code, Request, Status, Streaming,
    transport::{Channel, Endpoint},
};

use crate::support::{
    api_fixture::{ApiFixture, outgoing},
    app::{ADMINISTRATOR, TestApp},
    chain::assert_dense,
    database::Backend,
    fault::fault,
    in_time, on_both,
    reader::{Reader, everything, log_info},
};

on_both!(
    statement_15_stalled_reader_is_released,
    statement_15_stalled_server_sent_events_are_released
);

/// One stream per token, and a short stall timeout.
async fn impatient(backend: Backend) -> TestApp {
    TestApp::builder(backend)
        .env("PARLEY_EVENTS_STALL_TIMEOUT_SECONDS", "3")
        .env("PARLEY_LIMITS_STREAMS_PER_TOKEN", "1")
        .start()
        .await
}

/// A connection that buffers little unread data per stream.
async fn narrow(app: &TestApp) -> Channel {
    let address = format!("http://{}", app.server.listeners.grpc);
    let endpoint = Endpoint::from_shared(address)
        .expect("an address")
        .initial_stream_window_size(65_535);
    endpoint.connect().await.expect("the server is there")
}

async fn subscribe(channel: &Channel) -> Result<Streaming<SubscribeResponse>, Status> {
    let mut request: Request<SubscribeRequest> = Request::new(everything(1, Start::Latest(())));
    request
        .metadata_mut()
        .insert("api_access_token", ADMINISTRATOR.parse().expect("ASCII"));
    let answer = in_time("Subscribe", EventsServiceClient::new(channel.clone()).subscribe(request)).await;
    answer.map(tonic::Response::into_inner)
}

/// Sends messages in one write.
async fn say(fixture: &ApiFixture, conversation: i64, count: usize, size: usize) {
    let message = BatchMessage {
        conversation_id: conversation,
        message: Some(outgoing(&"x".repeat(size))),
    };
    let request = BatchCreateMessagesRequest {
        account_id: 1,
        messages: vec![message; count],
        ..BatchCreateMessagesRequest::default()
    };
    let said = in_time("messages", fixture.clients.messages.clone().batch_create_messages(request)).await;
    said.expect("writers do not wait for readers");
}

/// Waits until the token may open another stream.
async fn given_back(channel: &Channel) -> Streaming<SubscribeResponse> {
    in_time("the place of the stream", async {
        loop {
            match subscribe(channel).await {
                Ok(stream) => return stream,
                Err(status) => assert_eq!(fault(&status).reason, "RATE_LIMITED"),
            }
            sleep(Duration::from_millis(100)).await;
        }
    })
    .await
}

async fn statement_15_stalled_reader_is_released(backend: Backend) {
    let app = impatient(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let channel = narrow(&app).await;
    let mut stream = subscribe(&channel).await.expect("a stream");

    // A reader that makes some progress may stay as long as it likes.
    for _ in 0..10 {
        say(&fixture, conversation, 4, 40_000).await;
        sleep(Duration::from_millis(400)).await;
        in_time("a frame", stream.message())
            .await
            .expect("it goes on")
            .expect("it has no end");
    }
    say(&fixture, conversation, 20, 40_000).await;
    // The client reads nothing, so it cannot receive the status; other streams of the same connection are served.
    let second = given_back(&channel).await;
    let mut last = 0;
    let end = in_time("the end", async {
        loop {
            match stream.message().await {
                Ok(Some(response)) => {
                    last = response
                        .events
                        .last()
                        .and_then(|last| last.event.as_ref())
                        .map_or(last, |event| event.seq);
                }
                Ok(None) => panic!("a stream ends with a status"),
                Err(status) => return status,
            }
        }
    })
    .await;
    let fault = fault(&end);
    assert_eq!((fault.code, fault.reason.as_str()), (Code::DeadlineExceeded, "STREAM_STALLED"));
    let cursor = end.metadata().get_bin("parley-cursor-bin").expect("the trailers hold the cursor");
    let cursor = cursor.to_bytes().expect("it is encoded as the suffix says");
    drop((second, stream));
    let mut resumed = in_time("the place of the stream", async {
        loop {
            match Reader::try_open(&app.clients(), everything(1, Start::After(cursor.clone()))).await {
                Ok(reader) => return reader,
                Err(status) => assert_eq!(self::fault(&status).reason, "RATE_LIMITED"),
            }
            sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    let head = log_info(&app.clients(), 1).await.head_seq;
    let rest = resumed.until_bookmark().await.0;
    assert_dense(&rest, last + 1);
    assert_eq!(
        rest.last().and_then(|last| last.event.as_ref()).map_or(last, |event| event.seq),
        head
    );
}

async fn statement_15_stalled_server_sent_events_are_released(backend: Backend) {
    let app = impatient(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small one");
    let address = app.server.listeners.http.parse().expect("an address");
    let mut reader = socket.connect(address).await.expect("the server is there");
    let ask =
        format!("GET /api/v1/accounts/1/events?start=latest HTTP/1.1\r\nhost: parley.test\r\napi_access_token: {ADMINISTRATOR}\r\n\r\n");
    reader.write_all(ask.as_bytes()).await.expect("it is taken");
    let mut heard = [0; 1024];
    let count = in_time("an answer", reader.read(&mut heard)).await.expect("an answer");
    assert!(heard[..count].starts_with(b"HTTP/1.1 200"));

    // More than the socket buffers hold.
    for _ in 0..9 {
        say(&fixture, conversation, 10, 100_000).await;
    }
    given_back(&narrow(&app).await).await;
    // The connection is closed as well, with what the socket buffers held.
    let mut rest = 0;
    let mut heard = vec![0; 64 * 1024];
    in_time("the end", async {
        while let Ok(count @ 1..) = reader.read(&mut heard).await {
            rest += count;
        }
    })
    .await;
    assert!(rest < 9_000_000, "it was cut in the middle: {rest}");
}
