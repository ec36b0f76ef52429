//! The resources of a client that never opens its flow-control window: they are counted, hold no files open, and are released after the
//! stall timeout.

use bytes::Bytes;
use http::HeaderMap;
use parley_proto::{
    DownloadFileRequest, FileHeader, PubsubKey, SendMessagesRequest, SubscribePubsubRequest, SubscribeRequest, UploadFileRequest,
    files_service_client::FilesServiceClient, subscribe_request::Start, upload_file_request::Part,
};
use tonic::{Code, Status};

use super::{
    INBOX, Visitor,
    window::{Closed, Open, is_refused},
};
use crate::support::{
    api_fixture::outgoing,
    app::{ADMINISTRATOR, TestApp},
    clients::Clients,
    database::Backend,
    fault::assert_refused,
    in_time, on_both,
    reader::everything,
};

on_both!(
    downloads_without_a_window_are_released,
    without_permits_downloads_are_unlimited,
    streams_without_a_window_are_released
);

/// Sends a file of this size in a message. Returns its permanent link.
async fn file(app: &TestApp, size: usize) -> String {
    use parley_proto::{AttachmentDraft, MessageDraft, attachment_draft::Kind};
    let header = FileHeader {
        file_name: "a.bin".to_owned(),
        content_type: "application/octet-stream".to_owned(),
    };
    let chunks = vec![7_u8; size];
    let chunks = chunks.chunks(1 << 20).map(|chunk| Part::Chunk(Bytes::copy_from_slice(chunk)));
    let pieces: Vec<_> = std::iter::once(Part::Header(header))
        .chain(chunks)
        .map(|part| UploadFileRequest {
            account_id: 1,
            part: Some(part),
        })
        .collect();
    let clients = app.clients();
    let stored = FilesServiceClient::new(clients.service.clone())
        .upload_file(tokio_stream::iter(pieces))
        .await;
    let upload_id = stored.expect("the file is stored").into_inner().file.expect("always set").upload_id;
    let fixture = app.fixture();
    let talk = fixture.talk().await;
    let draft = MessageDraft {
        content: Some("see".to_owned()),
        attachments: vec![AttachmentDraft {
            kind: Some(Kind::UploadId(upload_id)),
        }],
        ..MessageDraft::default()
    };
    fixture.sent(talk, draft).await.0.attachments[0].data_url.clone()
}

/// The descriptors of the server that are open on files below `files/`, and all its descriptors.
fn descriptors(app: &TestApp) -> (usize, usize) {
    let open = std::fs::read_dir(format!("/proc/{}/fd", app.server.id())).expect("the server runs");
    let targets: Vec<_> = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()).collect();
    let files = targets.iter().filter(|target| target.to_string_lossy().contains("/files/")).count();
    (files, targets.len())
}

async fn download(app: &TestApp, link: &str) -> Result<usize, Status> {
    let request = DownloadFileRequest {
        link: link.to_owned(),
        ..DownloadFileRequest::default()
    };
    let clients = Clients::new(&app.server.listeners.grpc, None);
    let mut parts = FilesServiceClient::new(clients.service).download_file(request).await?.into_inner();
    let mut count = 0;
    while parts.message().await?.is_some() {
        count += 1;
    }
    Ok(count)
}

async fn downloads_without_a_window_are_released(backend: Backend) {
    let app = TestApp::builder(backend)
        .env("PARLEY_EVENTS_STALL_TIMEOUT_SECONDS", "10")
        .env("PARLEY_LIMITS_DOWNLOADS_PER_ADDRESS", "20")
        .start()
        .await;
    let link = file(&app, 3_000_000).await;
    let (_, before) = descriptors(&app);
    let closed = Closed::to(&app.server.listeners.grpc).await;
    let request = DownloadFileRequest {
        link: link.clone(),
        ..DownloadFileRequest::default()
    };
    let mut open = Vec::new();
    let mut refused = 0;
    for _ in 0..400 {
        let head = closed.call("FilesService/DownloadFile", "", &request, true).await.head().await;
        if is_refused(&head) {
            refused += 1;
        } else {
            open.push(head);
        }
    }
    assert_eq!((open.len(), refused), (20, 380));
    let (files, all) = descriptors(&app);
    assert_eq!(files, 0, "nothing is open while there is no window");
    assert!(all < before + 40, "{before} descriptors before, {all} now");
    let fault = assert_refused(download(&app, &link).await, Code::ResourceExhausted, "RATE_LIMITED");
    assert_eq!(fault.metadata["limit"], "20 open downloads");
    // The connection is alive and answers pings, but its permit is released nevertheless.
    in_time("a permit", async {
        while download(&app, &link).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    })
    .await;
    assert!(!closed.has_ended());
    drop(open);
}

/// Shows what the permits are for.
async fn without_permits_downloads_are_unlimited(backend: Backend) {
    for (switch, wanted) in [("", 5), ("download_permits", 30)] {
        let app = TestApp::builder(backend)
            .env("PARLEY_LIMITS_DOWNLOADS_PER_ADDRESS", "5")
            .env("PARLEY_FAULT_SWITCH", switch)
            .start()
            .await;
        let link = file(&app, 1_000_000).await;
        let closed = Closed::to(&app.server.listeners.grpc).await;
        let request = DownloadFileRequest {
            link,
            ..DownloadFileRequest::default()
        };
        let mut open = Vec::new();
        for _ in 0..30 {
            let head = closed.call("FilesService/DownloadFile", "", &request, true).await.head().await;
            open.extend(Some(head).filter(|head| !is_refused(head)));
        }
        assert_eq!(open.len(), wanted, "{switch}");
    }
}

/// Shows what the timeout is for: without it, a client that reads nothing keeps its permit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_timeout_a_stream_keeps_its_permit() {
    let app = TestApp::builder(Backend::Sqlite)
        .env("PARLEY_EVENTS_STALL_TIMEOUT_SECONDS", "1")
        .env("PARLEY_LIMITS_STREAMS_PER_TOKEN", "1")
        .env("PARLEY_FAULT_SWITCH", "stall_timeout")
        .start()
        .await;
    let closed = Closed::to(&app.server.listeners.grpc).await;
    let subscribe: SubscribeRequest = everything(1, Start::Earliest(()));
    let open = async || {
        let call = closed.call("EventsService/Subscribe", ADMINISTRATOR, &subscribe, true).await;
        call.head().await
    };
    let first = open().await;
    assert!(!is_refused(&first));
    // Four times the timeout.
    for _ in 0..20 {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        assert!(is_refused(&open().await));
    }
    drop(first);
}

/// Each kind of stream, with one permit per caller: a client without a window holds the permit, and the server releases it.
async fn streams_without_a_window_are_released(backend: Backend) {
    let app = TestApp::builder(backend)
        .env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", INBOX)
        .env("PARLEY_EVENTS_STALL_TIMEOUT_SECONDS", "4")
        .env("PARLEY_LIMITS_STREAMS_PER_TOKEN", "1")
        .start()
        .await;
    let talk = app.fixture().talk().await;
    let (_, pubsub_token) = Visitor::at(&app, 1).session().await;
    let (grpc, http) = (
        Closed::to(&app.server.listeners.grpc).await,
        Closed::to(&app.server.listeners.http).await,
    );

    let subscribe: SubscribeRequest = everything(1, Start::Earliest(()));
    given_back("Subscribe", async || {
        grpc.call("EventsService/Subscribe", ADMINISTRATOR, &subscribe, true).await
    })
    .await;

    let key = PubsubKey {
        pubsub_token,
        ..PubsubKey::default()
    };
    let pubsub = SubscribePubsubRequest { key: Some(key) };
    given_back("SubscribePubsub", async || {
        grpc.call("PubsubService/SubscribePubsub", "", &pubsub, true).await
    })
    .await;

    let message = SendMessagesRequest {
        account_id: 1,
        conversation_id: talk,
        message: Some(outgoing("hi")),
        ..SendMessagesRequest::default()
    };
    given_back("SendMessages", async || {
        grpc.call("MessagesService/SendMessages", ADMINISTRATOR, &message, false).await
    })
    .await;

    let mut headers = HeaderMap::new();
    headers.insert("api_access_token", ADMINISTRATOR.parse().expect("a header"));
    given_back("Server-Sent Events", async || {
        http.send(
            "GET",
            "/api/v1/accounts/1/events?start=earliest",
            headers.clone(),
            Bytes::new(),
            true,
        )
        .await
    })
    .await;
    // Connections of the REST gateway are monitored in the same way: both stay open.
    assert!(!grpc.has_ended() && !http.has_ended());
}

/// Opens a stream, checks that a second one is refused, and waits until another is admitted while the first is still open.
async fn given_back(what: &str, open: impl AsyncFn() -> Open) {
    let refused = |head: &http::Response<h2::RecvStream>| is_refused(head) || head.status() == 429;
    let let_in = async || loop {
        let head = open().await.head().await;
        if !refused(&head) {
            return head;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    };
    // The permit of the previous stream is released as soon as the server receives its reset.
    let first = in_time(what, let_in()).await;
    assert!(refused(&open().await.head().await), "{what}: a second one");
    let again = in_time(what, let_in()).await;
    drop((first, again));
}

/// On both listeners, HTTP/2 announces how many streams a connection may have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_announce_their_stream_limit() {
    let app = TestApp::builder(Backend::Sqlite)
        .env("PARLEY_GRPC_MAX_CONCURRENT_STREAMS", "7")
        .env("PARLEY_HTTP_MAX_CONCURRENT_STREAMS", "9")
        .start()
        .await;
    for (address, announced) in [(&app.server.listeners.grpc, 7), (&app.server.listeners.http, 9)] {
        let socket = tokio::net::TcpStream::connect(address).await.expect("the listener is there");
        let (requests, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
        let connection = tokio::spawn(connection);
        let mut requests: h2::client::SendRequest<Bytes> = requests;
        // The settings arrive with the response to the first request at the latest.
        let request = http::Request::get(format!("http://{address}/nowhere")).body(()).expect("a request");
        requests = requests.ready().await.expect("there is room");
        let (answer, _) = requests.send_request(request, true).expect("it is sent");
        in_time("an answer", answer).await.expect("an answer");
        assert_eq!(requests.current_max_send_streams(), announced);
        connection.abort();
    }
}
