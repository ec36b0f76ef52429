//! Statement 9 with a large state: a snapshot arrives in responses that clients accept, and a partial snapshot cannot be resumed.

use std::collections::BTreeMap;

use parley_proto::{SubscribeResponse, Upsert, subscribe_request::Start, upsert::Resource};
use prost::Message as _;
use tonic::{Code, Status, Streaming};

use crate::support::{
    api_fixture::{ApiFixture, outgoing},
    app::TestApp,
    chain::assert_dense,
    clients::Clients,
    database::Backend,
    fault::fault,
    in_time, on_both,
    reader::{Reader, everything, log_info},
};

on_both!(
    statement_09_snapshot_responses_are_limited_by_bytes,
    statement_09_partial_snapshot_cannot_be_resumed
);

/// The size at which a response is sent.
const FRAME: usize = 262_144;

/// Conversations with one long message each. Their upserts repeat the message, so together they exceed what a client accepts in one
/// response (4 MiB), and with the messages they exceed the windows and buffers of a connection.
const CONVERSATIONS: usize = 40;

/// The resource of an upsert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Object {
    Inbox(i64),
    Contact(i64),
    Conversation(i64),
    Message(i64),
}

async fn long_conversations(fixture: &ApiFixture) {
    let text = "long ".repeat(28_000);
    for _ in 0..CONVERSATIONS {
        let conversation = fixture.talk().await;
        fixture.sent(conversation, outgoing(&text)).await;
    }
}

async fn start(backend: Backend) -> TestApp {
    let builder = TestApp::builder(backend);
    builder.env("PARLEY_EVENTS_FRAME_BYTES", &FRAME.to_string()).start().await
}

async fn open(clients: &Clients) -> Streaming<SubscribeResponse> {
    let answer = in_time("Subscribe", clients.events.clone().subscribe(everything(1, Start::Snapshot(())))).await;
    answer.expect("the stream opens").into_inner()
}

fn object(upsert: &Upsert) -> Object {
    match upsert.resource.as_ref().expect("an object") {
        Resource::Inbox(row) => Object::Inbox(row.id),
        Resource::Contact(row) => Object::Contact(row.id),
        Resource::Conversation(row) => Object::Conversation(row.id),
        Resource::Message(row) => Object::Message(row.id),
    }
}

/// What a snapshot contained.
#[derive(Debug, Default)]
struct Present {
    /// Every resource with its version.
    objects: BTreeMap<Object, u64>,
    /// The responses with upserts, each as the sizes of its upserts.
    responses: Vec<Vec<usize>>,
    /// The cursor at the end of the snapshot.
    cursor: Option<bytes::Bytes>,
}

impl Present {
    /// Reads until the snapshot is complete or the stream ends with a status.
    async fn read(&mut self, stream: &mut Streaming<SubscribeResponse>) -> Result<(), Status> {
        while self.cursor.is_none() {
            self.take(stream).await?;
        }
        Ok(())
    }

    async fn take(&mut self, stream: &mut Streaming<SubscribeResponse>) -> Result<(), Status> {
        let response = in_time("a response", stream.message())
            .await?
            .expect("the stream has no end of its own");
        assert!(
            response.events.is_empty() && response.bookmark.is_none(),
            "no cursor before the end of the snapshot"
        );
        for upsert in &response.upserts {
            let object = object(upsert);
            assert_eq!(self.objects.insert(object, upsert.version), None, "{object:?} comes once");
        }
        if !response.upserts.is_empty() {
            self.responses.push(response.upserts.iter().map(Upsert::encoded_len).collect());
        }
        if let Some(end) = response.snapshot_complete {
            assert_eq!(end.count, self.objects.len() as u64, "the end says how many there were");
            self.cursor = Some(end.cursor);
        }
        Ok(())
    }

    /// Asserts that the snapshot contained everything that `long_conversations` created, with ids that count from one.
    fn assert_whole(&self) {
        let each = 1..=i64::try_from(CONVERSATIONS).expect("a small number");
        let made = each.flat_map(|id| [Object::Contact(id), Object::Conversation(id), Object::Message(id)]);
        let mut made: Vec<Object> = made.chain([Object::Inbox(1)]).collect();
        made.sort_unstable();
        assert_eq!(self.objects.keys().copied().collect::<Vec<_>>(), made);
    }
}

async fn statement_09_snapshot_responses_are_limited_by_bytes(backend: Backend) {
    let app = start(backend).await;
    long_conversations(&app.fixture()).await;
    let mut present = Present::default();
    present
        .read(&mut open(&app.clients()).await)
        .await
        .expect("no response is too large");
    present.assert_whole();
    for sizes in &present.responses {
        let (_, before) = sizes.split_last().expect("not empty");
        assert!(
            before.iter().sum::<usize>() < FRAME,
            "nothing is added to a full response: {sizes:?}"
        );
    }
    let full = present.responses.iter().filter(|sizes| sizes.iter().sum::<usize>() >= FRAME);
    assert!(full.count() > 2, "one response does not hold the conversations, nor the messages");
}

async fn statement_09_partial_snapshot_cannot_be_resumed(backend: Backend) {
    let mut app = start(backend).await;
    let fixture = app.fixture();
    long_conversations(&fixture).await;
    let mut stream = open(&app.clients()).await;
    let mut half = Present::default();
    half.take(&mut stream).await.expect("the snapshot begins");
    // Nothing more is read until the drain has begun, which another stream shows, so the server cannot have reached the end of the
    // snapshot.
    let mut other = Reader::open(&app.clients(), everything(1, Start::Latest(()))).await;
    other.until_bookmark().await;
    app.server.terminate();
    let (_, status) = other.until_the_end().await;
    assert!(
        status.metadata().get_bin("parley-cursor-bin").is_some(),
        "a stream of events can be resumed: {status:?}"
    );

    let status = half
        .read(&mut stream)
        .await
        .expect_err("the drain ends the stream before the snapshot is told");
    let end = fault(&status);
    assert_eq!((end.code, end.reason.as_str()), (Code::Unavailable, "STREAM_ROTATED"), "{status:?}");
    assert!(
        status.metadata().get_bin("parley-cursor-bin").is_none(),
        "half a snapshot has no cursor: {status:?}"
    );
    assert!(
        app.server.wait().await.success(),
        "a drained server ends with success:\n{}",
        app.server.log()
    );

    app.start_again().await;
    let mut present = Present::default();
    let mut stream = open(&app.clients()).await;
    present.read(&mut stream).await.expect("subscribing again tells the whole");
    present.assert_whole();
    assert!(half.objects.len() < present.objects.len(), "it was half a snapshot");
    let head = log_info(&app.clients(), 1).await.head_seq;
    app.fixture().talk().await;
    let cursor = present.cursor.expect("it is complete");
    let mut resumed = Reader::open(&app.clients(), everything(1, Start::After(cursor))).await;
    assert_dense(&resumed.take(2).await, head + 1);
}
