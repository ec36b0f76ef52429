//! Statements 13 to 15: frames are bounded, and a session ends after its client's last message.

use parley_proto::{
    ConsumeCommit, ConsumeOpen, ConsumeRequest, MessageDraft, consume_request, consume_response::Response, subscribe_request::Start,
};
use prost::Message as _;

use crate::support::{
    api_fixture::incoming,
    app::TestApp,
    consumer::plenty,
    database::Backend,
    in_time, on_both,
    reader::{everything, whole_log},
};

on_both!(
    statement_14_frames_of_a_live_reader_are_bounded,
    statement_13_session_ends_when_its_client_closes_the_stream
);

/// The default size of a frame.
const FRAME: usize = 262_144;

async fn statement_14_frames_of_a_live_reader_are_bounded(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let mut clients = app.clients();
    let stream = clients.events.subscribe(everything(1, Start::Latest(()))).await;
    let mut stream = stream.expect("the stream opens").into_inner();
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let fixture = fixture.clone();
        let draft = MessageDraft {
            content: Some("x".repeat(120_000)),
            ..incoming("")
        };
        // Together they exceed what one response may hold.
        writers.spawn(async move { fixture.send(conversation, draft).await.expect("taken") });
    }
    writers.join_all().await;
    let mut messages = 0;
    while messages < 40 {
        let response = in_time("a response", stream.message())
            .await
            .expect("no response is too large")
            .expect("it goes on");
        let most = FRAME + 1024;
        assert!(
            response.events.len() == 1 || response.encoded_len() <= most,
            "{} events, {} bytes",
            response.events.len(),
            response.encoded_len()
        );
        let kinds = response
            .events
            .iter()
            .filter_map(|delivery| delivery.event.as_ref())
            .map(|event| event.kind_name.as_str());
        messages += kinds.filter(|kind| *kind == "message.created").count();
    }
}

async fn statement_13_session_ends_when_its_client_closes_the_stream(backend: Backend) {
    let app = TestApp::start(backend).await;
    app.fixture().talk().await;
    let log = whole_log(&app.clients(), 1).await;
    let cursor = log[0].cursor.clone();
    let say = |request| ConsumeRequest { request: Some(request) };
    let open = ConsumeOpen {
        start: Some(parley_proto::consume_open::Start::After(cursor.clone())),
        ..plenty(1, "says-it-all")
    };
    let said = [
        say(consume_request::Request::Open(open)),
        say(consume_request::Request::Commit(ConsumeCommit { cursor: cursor.clone() })),
    ];
    let stream = app.clients().events.consume(tokio_stream::iter(said)).await;
    let mut stream = stream.expect("it opens").into_inner();
    let mut committed = None;
    while let Some(told) = in_time("the end of the session", stream.message()).await.expect("no error") {
        if let Some(Response::Committed(told)) = told.response {
            committed = Some(told.cursor);
        }
    }
    assert_eq!(committed, Some(cursor));
}
