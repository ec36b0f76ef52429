//! A request with a `request_id` can be repeated without a second effect.

use parley_proto::{CreateContactRequest, CreateMessageResponse, SendMessagesRequest};
use tonic::Code;
use uuid::Uuid;

use crate::support::{
    api_fixture::incoming,
    app::TestApp,
    database::Backend,
    fault::{assert_bad_fields, assert_refused},
    in_time, on_both,
    reader::log_info,
};

on_both!(
    repeated_call_returns_the_first_response,
    different_request_with_the_same_id_is_refused,
    concurrent_calls_with_one_id_create_one_message,
    refused_call_can_be_retried,
    repeated_stream_messages_return_the_stored_result,
    request_id_must_be_a_uuid
);

async fn repeated_call_returns_the_first_response(backend: Backend) {
    let mut app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let request = fixture.request(conversation, incoming("hello"));
    let first = fixture
        .clients
        .messages
        .clone()
        .create_message(request.clone())
        .await
        .expect("it is taken")
        .into_inner();
    fixture.hear(conversation, "something else").await;
    let head = log_info(&fixture.clients, 1).await.head_seq;
    let again = fixture
        .clients
        .messages
        .clone()
        .create_message(request.clone())
        .await
        .expect("it is answered")
        .into_inner();
    assert_eq!(again, first, "the same answer, cursor included");
    app.crash_and_restart().await;
    let again = app
        .clients()
        .messages
        .create_message(request)
        .await
        .expect("it is answered")
        .into_inner();
    assert_eq!(again, first, "the answer was stored with the write");
    assert_eq!(log_info(&app.clients(), 1).await.head_seq, head, "one effect");
}

async fn different_request_with_the_same_id_is_refused(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let request = fixture.request(conversation, incoming("hello"));
    fixture
        .clients
        .messages
        .clone()
        .create_message(request.clone())
        .await
        .expect("it is taken");
    let mut other = request.clone();
    other.message = Some(incoming("good bye"));
    let fault = assert_refused(
        fixture.clients.messages.clone().create_message(other).await,
        Code::AlreadyExists,
        "IDEMPOTENCY_KEY_REUSED",
    );
    assert_eq!(fault.metadata["request_id"], request.request_id);
    let contact = CreateContactRequest {
        account_id: 1,
        request_id: request.request_id,
        ..CreateContactRequest::default()
    };
    let result = fixture.clients.contacts.clone().create_contact(contact).await;
    assert_refused(result, Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
}

async fn concurrent_calls_with_one_id_create_one_message(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let head = log_info(&fixture.clients, 1).await.head_seq;
    let request = fixture.request(conversation, incoming("once"));
    let mut tasks = Vec::new();
    for _ in 0..32 {
        let (clients, request) = (app.clients(), request.clone());
        tasks.push(tokio::spawn(async move { clients.messages.clone().create_message(request).await }));
    }
    let mut answers: Vec<CreateMessageResponse> = Vec::new();
    for task in tasks {
        answers.push(task.await.expect("no panic").expect("every one is answered").into_inner());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "32 calls, one answer");
    let message = answers[0].message.as_ref().expect("always set");
    assert_eq!(message.number, 1);
    let after = fixture.hear(conversation, "next").await;
    assert_eq!(after.number, 2, "one message was made from {head}");
}

async fn refused_call_can_be_retried(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let request = fixture.request(1, incoming("too early"));
    let refused = fixture.clients.messages.clone().create_message(request.clone()).await;
    assert_refused(refused, Code::NotFound, "NOT_FOUND");
    assert_eq!(fixture.talk().await, 1);
    fixture
        .clients
        .messages
        .clone()
        .create_message(request)
        .await
        .expect("a refusal stores no answer");
}

async fn repeated_stream_messages_return_the_stored_result(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let request = fixture.request(conversation, incoming("hello"));
    let request = SendMessagesRequest {
        account_id: request.account_id,
        request_id: request.request_id,
        conversation_id: request.conversation_id,
        message: request.message,
    };
    let mut results = Vec::new();
    for _ in 0..2 {
        let twice = tokio_stream::iter([request.clone(), request.clone()]);
        let answer = fixture.clients.messages.clone().send_messages(twice).await;
        let mut stream = answer.expect("the stream opens").into_inner();
        while let Some(response) = in_time("an answer", stream.message()).await.expect("the stream goes on") {
            results.extend(response.results);
        }
    }
    assert_eq!(results.len(), 4);
    for result in &results {
        assert_eq!(result.error, None);
        assert_eq!(
            (result.message_id, result.number, &result.cursor),
            (results[0].message_id, 1, &results[0].cursor)
        );
    }
    assert_eq!(fixture.hear(conversation, "next").await.number, 2, "one message was made");
}

async fn request_id_must_be_a_uuid(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let mut request = fixture.request(conversation, incoming("hello"));
    "not a uuid".clone_into(&mut request.request_id);
    let result = fixture.clients.messages.clone().create_message(request.clone()).await;
    assert_bad_fields(result, &["request_id: INVALID"]);
    request.request_id = Uuid::new_v4().to_string().to_uppercase();
    let first = fixture
        .clients
        .messages
        .clone()
        .create_message(request.clone())
        .await
        .expect("it is taken")
        .into_inner();
    request.request_id = request.request_id.to_lowercase();
    let again = fixture
        .clients
        .messages
        .clone()
        .create_message(request)
        .await
        .expect("it is answered")
        .into_inner();
    assert_eq!(again, first, "the spelling of a UUID does not count");
}
