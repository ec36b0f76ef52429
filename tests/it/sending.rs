//! Sending many messages: in batches, over streams, and beyond the rate limit.

use parley_proto::{BatchCreateMessagesRequest, BatchMessage, MessageDraft, SendMessagesRequest, SendResult};
use tokio_stream::StreamExt as _;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    proxy::Line,
    support::{
        api_fixture::{ApiFixture, incoming, note, outgoing},
        app::TestApp,
        chain::writes,
        database::Backend,
        fault::{assert_bad_fields, assert_refused, fault},
        in_time,
        link::behind_a_proxy,
        on_both,
        reader::{log_info, whole_log},
    },
};

on_both!(
    batch_is_atomic,
    stream_replies_in_order_and_survives_an_invalid_message,
    messages_beyond_the_conversation_limit_are_refused,
    each_message_of_a_stream_counts_as_a_call
);

fn batch(messages: Vec<(i64, MessageDraft)>) -> BatchCreateMessagesRequest {
    BatchCreateMessagesRequest {
        account_id: 1,
        messages: messages
            .into_iter()
            .map(|(conversation_id, draft)| BatchMessage {
                conversation_id,
                message: Some(draft),
            })
            .collect(),
        ..BatchCreateMessagesRequest::default()
    }
}

async fn batch_is_atomic(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let (one, other) = (fixture.talk().await, fixture.talk().await);
    let mut messages = fixture.clients.messages.clone();
    let before = log_info(&fixture.clients, 1).await.head_seq;

    let good = (one, incoming("good"));
    let result = messages
        .batch_create_messages(batch(vec![good.clone(), (one, incoming(&"x".repeat(150_001)))]))
        .await;
    let fault = assert_refused(result, Code::InvalidArgument, "INVALID_FIELD");
    assert!(
        fault.fields.iter().all(|field| field.contains("[1]") || field.contains(".1.")),
        "it says which message: {fault:?}"
    );
    let result = messages
        .batch_create_messages(batch(vec![good.clone(), (999_999, incoming("to nobody"))]))
        .await;
    assert_refused(result, Code::NotFound, "NOT_FOUND");
    assert_bad_fields(messages.batch_create_messages(batch(vec![])).await, &["messages: REQUIRED"]);
    let result = messages.batch_create_messages(batch(vec![good.clone(); 501])).await;
    assert_bad_fields(result, &["messages: TOO_MANY"]);
    assert_eq!(log_info(&fixture.clients, 1).await.head_seq, before, "none of them");

    let drafts = vec![
        (one, incoming("a")),
        (other, outgoing("b")),
        (one, incoming("c")),
        (other, note("d")),
    ];
    let answer = messages
        .batch_create_messages(batch(drafts))
        .await
        .expect("all of them")
        .into_inner();
    let made: Vec<(i64, u64, String)> = answer
        .messages
        .into_iter()
        .map(|message| (message.conversation_id, message.number, message.content.unwrap_or_default()))
        .collect();
    let expected = [(one, 1, "a"), (other, 1, "b"), (one, 2, "c"), (other, 2, "d")];
    assert_eq!(
        made,
        expected.map(|(conversation, number, text)| (conversation, number, text.to_owned())),
        "in the order of the request"
    );
    let log = whole_log(&fixture.clients, 1).await;
    assert_eq!(answer.cursor, log.last().expect("it was told").cursor);
    let tail = &log[usize::try_from(before).expect("a small log")..];
    assert_eq!(writes(tail).len(), 1, "one write");
}

/// Sends the messages over one stream. Returns the result of each.
pub async fn send_all(fixture: &ApiFixture, requests: Vec<SendMessagesRequest>) -> Vec<SendResult> {
    let count = requests.len();
    let answer = fixture.clients.messages.clone().send_messages(tokio_stream::iter(requests)).await;
    let mut stream = answer.expect("the stream opens").into_inner();
    let mut results = Vec::new();
    while let Some(response) = in_time("an answer", stream.message()).await.expect("the stream goes on") {
        assert!(!response.results.is_empty(), "never an empty response");
        results.extend(response.results);
    }
    assert_eq!(results.len(), count, "each message is answered");
    results
}

async fn stream_replies_in_order_and_survives_an_invalid_message(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let (one, other) = (fixture.talk().await, fixture.talk().await);
    let requests: Vec<SendMessagesRequest> = (0..300)
        .map(|index| {
            let draft = match index {
                50 => incoming(&"x".repeat(150_001)),
                _ => incoming(&format!("message {index}")),
            };
            SendMessagesRequest {
                account_id: if index == 70 { 2 } else { 1 },
                conversation_id: match index {
                    60 => 999_999,
                    _ if index % 3 == 0 => other,
                    _ => one,
                },
                message: Some(draft),
                ..SendMessagesRequest::default()
            }
        })
        .collect();
    let results = send_all(&fixture, requests).await;
    let mut numbers = [0, 0];
    for (index, result) in results.iter().enumerate() {
        assert_eq!(result.index, index as u64, "answers come in the order sent");
        let expected = match index {
            50 => Some((Code::InvalidArgument, "INVALID_FIELD")),
            60 => Some((Code::NotFound, "NOT_FOUND")),
            70 => Some((Code::PermissionDenied, "NOT_A_MEMBER")),
            _ => None,
        };
        if let Some((code, reason)) = expected {
            let error = result.error.as_ref().unwrap_or_else(|| panic!("message {index} must be refused"));
            assert_eq!(Code::from(error.code), code, "message {index}");
            assert_eq!(reason_of(error), reason, "message {index}");
            assert_eq!(
                (result.message_id, result.number, result.cursor.len()),
                (0, 0, 0),
                "message {index} was not stored"
            );
        } else {
            assert_eq!(result.error, None, "message {index}");
            let number = &mut numbers[usize::from(index % 3 != 0)];
            *number += 1;
            assert_eq!(result.number, *number, "message {index}: stored in the order sent");
            assert!(result.message_id > 0 && !result.cursor.is_empty() && result.created_at.is_some());
        }
    }
    let nothing = tokio_stream::iter(Vec::<SendMessagesRequest>::new()).map(|request| request);
    let answer = fixture
        .clients
        .messages
        .clone()
        .send_messages(nothing)
        .await
        .expect("an empty stream is one too");
    assert!(
        in_time("the end", answer.into_inner().message())
            .await
            .expect("it ends well")
            .is_none()
    );
}

fn reason_of(error: &tonic_types::Status) -> String {
    let status = Status::with_details(
        Code::from(error.code),
        error.message.clone(),
        prost::Message::encode_to_vec(error).into(),
    );
    assert!(
        status.get_details_error_info().is_some(),
        "the same details as of a refused CreateMessage: {error:?}"
    );
    fault(&status).reason
}

async fn messages_beyond_the_conversation_limit_are_refused(backend: Backend) {
    let app = TestApp::builder(backend)
        .env("PARLEY_LIMITS_MESSAGES_PER_CONVERSATION_PER_MINUTE", "5")
        .start()
        .await;
    let fixture = app.fixture();
    let (flooded, other) = (fixture.talk().await, fixture.talk().await);
    for index in 0..5 {
        fixture.hear(flooded, &format!("message {index}")).await;
    }
    let fault = assert_refused(
        fixture.send(flooded, incoming("one too many")).await,
        Code::ResourceExhausted,
        "RATE_LIMITED",
    );
    assert!(fault.retry, "it says when there is room again");
    assert_eq!(fixture.hear(other, "elsewhere there is room").await.number, 1);
}

fn request(conversation: i64, text: &str) -> SendMessagesRequest {
    SendMessagesRequest {
        account_id: 1,
        conversation_id: conversation,
        message: Some(outgoing(text)),
        ..SendMessagesRequest::default()
    }
}

async fn each_message_of_a_stream_counts_as_a_call(backend: Backend) {
    let app = TestApp::builder(backend)
        .env("PARLEY_LIMITS_CALLS_PER_SECOND_PER_TOKEN", "1")
        .env("PARLEY_LIMITS_BURST_PER_TOKEN", "8")
        .start()
        .await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let results = send_all(&fixture, (0..20).map(|index| request(conversation, &format!("{index}"))).collect()).await;
    let stored = results.iter().filter(|result| result.error.is_none()).count();
    // The contact, the conversation and the stream itself count too. On a slow machine, a call or two may be refilled.
    assert!((5..15).contains(&stored), "{stored} of 20");
    for error in results.iter().filter_map(|result| result.error.as_ref()) {
        assert_eq!(
            (Code::from(error.code), reason_of(error).as_str()),
            (Code::ResourceExhausted, "RATE_LIMITED")
        );
    }
}

/// A message whose write does not complete in time gets an error all the same, and so does the next one.
#[tokio::test]
async fn each_message_of_a_stream_has_a_deadline_on_postgres() {
    let (app, proxy, _) = behind_a_proxy(&[("PARLEY_GRPC_DEFAULT_DEADLINE_SECONDS", "2")]).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    fixture.say(conversation, "the lane has its connection").await;
    let (say, said) = tokio::sync::mpsc::channel(4);
    let said = tokio_stream::wrappers::ReceiverStream::new(said);
    let answer = fixture.clients.messages.clone().send_messages(said).await;
    let mut answers = answer.expect("the stream opens").into_inner();
    proxy.set(Line::Stalled);
    for text in ["one", "two"] {
        say.send(request(conversation, text)).await.expect("the stream is open");
    }
    let mut late = Vec::new();
    while late.len() < 2 {
        let answer = in_time("the deadline", answers.message()).await.expect("the stream goes on");
        late.extend(answer.expect("it has no end").results);
    }
    for (index, result) in late.iter().enumerate() {
        let error = result.error.as_ref().expect("nothing can be stored");
        assert_eq!(
            (result.index, Code::from(error.code), reason_of(error).as_str()),
            (index as u64, Code::DeadlineExceeded, "DEADLINE_EXCEEDED")
        );
    }
    proxy.set(Line::Open);
    say.send(request(conversation, "three")).await.expect("the stream is open");
    let answer = in_time("an answer", answers.message()).await.expect("the stream goes on");
    assert_eq!(answer.expect("it has no end").results[0].error, None);
}
