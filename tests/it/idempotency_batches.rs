//! The same `request_id` several times within one batch of the writer, in one account and in two.

use parley_proto::{
    BatchCreateMessagesRequest, BatchCreateMessagesResponse, BatchMessage, CreateMembershipRequest, EventKind, Role, SendMessagesRequest,
    SendResult,
};
use uuid::Uuid;

use crate::{
    sending::send_all,
    support::{
        api_fixture::{ApiFixture, incoming},
        app::TestApp,
        database::Backend,
        office::other_account,
        on_both,
        reader::{event, log_info, whole_log},
    },
};

on_both!(
    repeated_ids_in_a_stream_create_one_message_per_account,
    concurrent_batches_with_one_id_run_once_per_account
);

/// The administrator in the first account and in another. A single writer shard serves both, so that their messages are stored together.
async fn two_accounts(backend: Backend) -> (TestApp, ApiFixture, ApiFixture) {
    let app = TestApp::builder(backend).env("PARLEY_WRITER_SHARDS", "1").platform().start().await;
    let other = other_account(&app, "The other one").await;
    let request = CreateMembershipRequest {
        account_id: other.account,
        user_id: 1,
        role: Role::Administrator.into(),
        ..CreateMembershipRequest::default()
    };
    let answer = app.platform().accounts.create_membership(request).await;
    answer.expect("the administrator joins the other account");
    let (fixture, other) = (app.fixture(), other.through(app.clients()));
    (app, fixture, other)
}

/// More ids than one batch of the writer holds, all in flight at once.
const IDS: usize = 150;

async fn repeated_ids_in_a_stream_create_one_message_per_account(backend: Backend) {
    let (_app, fixture, other) = two_accounts(backend).await;
    let (here, there) = (fixture.talk().await, other.talk().await);
    let heads = [
        log_info(&fixture.clients, 1).await.head_seq,
        log_info(&other.clients, other.account).await.head_seq,
    ];
    let requests: Vec<SendMessagesRequest> = (0..IDS)
        .flat_map(|_| {
            let request_id = Uuid::new_v4().to_string();
            [(1, here), (1, here), (other.account, there)].map(|(account_id, conversation_id)| SendMessagesRequest {
                account_id,
                request_id: request_id.clone(),
                conversation_id,
                message: Some(incoming("once")),
            })
        })
        .collect();
    let results = send_all(&fixture, requests).await;
    let made = |result: &SendResult| (result.message_id, result.number, result.created_at, result.cursor.clone());
    for (trio, number) in results.chunks(3).zip(1..) {
        assert!(trio.iter().all(|result| result.error.is_none()), "{trio:?}");
        assert_eq!(
            made(&trio[0]),
            made(&trio[1]),
            "one account, one id: one message, and one answer twice"
        );
        assert_eq!(trio[0].number, number, "the messages of the first account");
        assert_eq!(trio[2].number, number, "the same id in another account is another request");
        assert_ne!(trio[0].cursor, trio[2].cursor, "each account has its own log");
    }
    let next = IDS as u64 + 1;
    assert_eq!(fixture.hear(here, "next").await.number, next);
    assert_eq!(other.hear(there, "next").await.number, next);
    for (fixture, head) in [&fixture, &other].into_iter().zip(heads) {
        let log = whole_log(&fixture.clients, fixture.account).await;
        let told = log[usize::try_from(head).expect("a small log")..].iter().map(event);
        let messages = told.filter(|event| event.kind() == EventKind::MessageCreated).count();
        assert_eq!(messages, IDS + 1, "told once, in account {}", fixture.account);
    }
}

async fn concurrent_batches_with_one_id_run_once_per_account(backend: Backend) {
    let (_app, fixture, other) = two_accounts(backend).await;
    let places = [(&fixture, fixture.talk().await), (&other, other.talk().await)];
    let request_id = Uuid::new_v4().to_string();
    let mut tasks = Vec::new();
    for _ in 0..16 {
        for (fixture, conversation_id) in places {
            let message = BatchMessage {
                conversation_id,
                message: Some(incoming("once")),
            };
            let request = BatchCreateMessagesRequest {
                account_id: fixture.account,
                request_id: request_id.clone(),
                messages: vec![message; 3],
            };
            let mut messages = fixture.clients.messages.clone();
            tasks.push(tokio::spawn(async move { messages.batch_create_messages(request).await }));
        }
    }
    let mut answers: [Vec<BatchCreateMessagesResponse>; 2] = Default::default();
    for (index, task) in tasks.into_iter().enumerate() {
        let answer = task.await.expect("no panic").expect("every one is answered");
        answers[index % 2].push(answer.into_inner());
    }
    for ((fixture, conversation), mut answers) in places.into_iter().zip(answers) {
        answers.dedup();
        assert_eq!(answers.len(), 1, "16 calls in account {}, one answer", fixture.account);
        let numbers: Vec<u64> = answers[0].messages.iter().map(|message| message.number).collect();
        assert_eq!(numbers, [1, 2, 3], "in account {}", fixture.account);
        assert_eq!(
            fixture.hear(conversation, "next").await.number,
            4,
            "one batch was made in account {}",
            fixture.account
        );
    }
}
