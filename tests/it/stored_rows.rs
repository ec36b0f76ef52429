//! The stored rows of a message do not depend on how many messages are stored with it.

use std::time::Duration;

use parley_proto::{BatchCreateMessagesRequest, BatchMessage, MessageDraft, value::structure};
use serde_json::json;
use uuid::Uuid;

use crate::support::{
    api_fixture::{ApiFixture, incoming, note, outgoing},
    app::TestApp,
    database::{Backend, Database},
    on_both,
};

on_both!(
    message_is_stored_identically_alone_and_in_a_batch,
    message_index_follows_without_a_search
);

fn drafts() -> Vec<MessageDraft> {
    let text = "It says \"50 %\"\n\\ and 'ÖL' \u{1f600}";
    vec![
        incoming(text),
        outgoing(text),
        note(text),
        MessageDraft {
            source_id: Some("from elsewhere".to_owned()),
            content_attributes: structure(&json!({"a": [1, 2.5, null, "ü\"", true]})),
            ..incoming(text)
        },
    ]
}

async fn batch(fixture: &ApiFixture, conversation_id: i64, messages: Vec<MessageDraft>) {
    let request = BatchCreateMessagesRequest {
        account_id: fixture.account,
        request_id: Uuid::new_v4().to_string(),
        messages: messages
            .into_iter()
            .map(|message| BatchMessage {
                conversation_id,
                message: Some(message),
            })
            .collect(),
    };
    let answer = fixture.clients.messages.clone().batch_create_messages(request).await;
    answer.expect("the batch is stored");
}

/// SQLite stores any type in any column, and rows that differ only in a type are distinct.
async fn message_is_stored_identically_alone_and_in_a_batch(backend: Backend) {
    let app = TestApp::start(backend).await;
    let (fixture, url) = (app.fixture(), app.database.url());
    let conversation = fixture.talk().await;
    for draft in drafts() {
        fixture.send(conversation, draft).await.expect("stored alone");
    }
    batch(&fixture, conversation, drafts()).await;
    batch(&fixture, conversation, drafts().into_iter().rev().collect()).await;
    let kinds = i64::try_from(drafts().len()).expect("a few");
    let messages = "SELECT COUNT(*) FROM messages";
    assert_eq!(Database::number(&url, messages).await, kinds * 3);
    let different = "SELECT COUNT(*) FROM (SELECT DISTINCT account_id, conversation_id, inbox_id, message_type, content, content_type, \
         CAST(content_attributes AS text), status, private, source_id, unique_source_id, sender_type, sender_id, \
         CAST(additional_attributes AS text) FROM messages) AS t";
    assert_eq!(Database::number(&url, different).await, kinds);
    let different = "SELECT COUNT(*) FROM (SELECT DISTINCT account_id, inbox_id, conversation_id, contact_id, message_type, private \
         FROM events WHERE message_type IS NOT NULL) AS t";
    assert_eq!(Database::number(&url, different).await, 3, "incoming, outgoing and private");
    let different = "SELECT COUNT(*) FROM (SELECT DISTINCT CAST(account_id AS text), owner, contact_id FROM idempotency_keys \
         WHERE created_at >= (SELECT MIN(created_at) FROM messages)) AS t";
    assert_eq!(Database::number(&url, different).await, 1);
    if backend == Backend::Sqlite {
        let types = "SELECT COUNT(*) FROM (SELECT DISTINCT typeof(request_id), typeof(fingerprint), typeof(response), typeof(created_at), \
             typeof(owner), length(request_id), length(fingerprint), length(owner) FROM idempotency_keys)";
        assert_eq!(Database::number(&url, types).await, 1);
        let types = "SELECT COUNT(*) FROM (SELECT DISTINCT typeof(payload), typeof(occurred_at), typeof(kind), typeof(private) \
             FROM events WHERE message_type IS NOT NULL)";
        assert_eq!(Database::number(&url, types).await, 1);
    }
}

async fn message_index_follows_without_a_search(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    batch(&fixture, conversation, vec![incoming("the parcel is late"); 200]).await;
    // All accounts are indexed once a minute; one with so many new messages is indexed sooner.
    let indexed = tokio::time::timeout(Duration::from_secs(40), async {
        let whole = "SELECT COUNT(*) FROM account_logs l JOIN search_positions p ON p.account_id = l.account_id AND p.message_id >= 200";
        while Database::number(&app.database.url(), whole).await == 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    indexed.await.expect("the index follows");
}
