//! Statement 21: ephemeral events are marked as such, and do not affect the log.

use parley_proto::{SetTypingRequest, SubscribeRequest, SubscribeResponse, subscribe_request::Start};
use tonic::Streaming;

use crate::support::{
    app::TestApp,
    clients::Clients,
    database::Backend,
    in_time, on_both,
    reader::{Reader, everything, log_info, whole_log},
};

on_both!(statement_21_ephemeral_events_have_no_sequence_number);

async fn open(clients: &Clients, ephemeral: bool) -> Streaming<SubscribeResponse> {
    let request = SubscribeRequest {
        ephemeral,
        heartbeat: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        ..everything(1, Start::Latest(()))
    };
    let mut stream = clients.events.clone().subscribe(request).await.expect("it opens").into_inner();
    // The first bookmark shows that the stream has reached the head.
    let first = in_time("a bookmark", stream.message()).await.expect("it goes on").expect("no end");
    assert!(first.bookmark.is_some());
    stream
}

async fn statement_21_ephemeral_events_have_no_sequence_number(backend: Backend) {
    let replicas = usize::from(backend == Backend::Postgres);
    let app = TestApp::builder(backend).replicas(replicas).start().await;
    let talk = app.fixture().talk().await;
    let before = log_info(&app.clients(), 1).await.head_seq;
    let mut asked = [open(&app.clients(), true).await, open(&app.clients_elsewhere(), true).await];
    let mut not_asked = open(&app.clients(), false).await;
    let typing = SetTypingRequest {
        account_id: 1,
        conversation_id: talk,
        typing: true,
        ..SetTypingRequest::default()
    };
    app.clients().conversations.set_typing(typing).await.expect("it is told");
    for stream in &mut asked {
        let mut heard = 0;
        let mut bookmarks = 0;
        // Delivered exactly once on each replica, whether it was sent there or on the other one.
        while bookmarks < 2 {
            let response = in_time("the moment", stream.message()).await.expect("it goes on").expect("no end");
            assert!(response.events.is_empty(), "it is no event of the log");
            bookmarks += usize::from(response.bookmark.is_some() && heard > 0);
            for event in &response.ephemeral {
                assert_eq!(
                    (event.kind_name.as_str(), event.conversation_id),
                    ("conversation.typing_on", Some(talk))
                );
                heard += 1;
            }
        }
        assert_eq!(heard, 1);
    }
    for _ in 0..2 {
        let response = in_time("a bookmark", not_asked.message())
            .await
            .expect("it goes on")
            .expect("no end");
        assert!(response.ephemeral.is_empty() && response.bookmark.is_some_and(|bookmark| bookmark.seq == before));
    }
    // It is not in the log, and is not delivered to later readers.
    assert_eq!(log_info(&app.clients(), 1).await.head_seq, before);
    assert_eq!(whole_log(&app.clients(), 1).await.len() as u64, before);
    let mut late = Reader::open(&app.clients(), everything(1, Start::Earliest(()))).await;
    assert_eq!(late.until(before).await.len() as u64, before);
}
