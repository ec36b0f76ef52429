//! Shows what the bounds of indexes and searches and the replay of stored responses are for: without each of them, the corresponding
//! promise is broken.

use futures_util::future::join_all;
use parley_proto::{CreateContactRequest, CreateMessageRequest, SearchMessagesRequest};
use serde_json::json;

use super::{pages_until_found, places};
use crate::support::{
    api_fixture::incoming,
    app::TestApp,
    database::{Backend, Database},
    fault::fault,
    on_both,
};

on_both!(
    without_the_limit_long_texts_are_indexed,
    index_entry_has_a_bounded_number_of_ngrams,
    without_the_budget_a_search_reads_everything,
    searches_beyond_the_limit_are_refused,
    without_idempotency_keys_replays_leave_attachment_rows
);

async fn start(backend: Backend, switch: &str) -> TestApp {
    TestApp::builder(backend).env("PARLEY_FAULT_SWITCH", switch).start().await
}

async fn without_the_limit_long_texts_are_indexed(backend: Backend) {
    for (switch, is_taken) in [("", false), ("indexed_texts", true)] {
        let app = start(backend, switch).await;
        let request = CreateContactRequest {
            account_id: 1,
            additional_attributes: parley_proto::value::structure(&json!({"company_name": "x".repeat(256)})),
            ..CreateContactRequest::default()
        };
        let made = app.clients().contacts.create_contact(request).await;
        assert_eq!(made.is_ok(), is_taken, "{switch}: {made:?}");
    }
}

/// The length of a text that was stored before texts had limits. All its characters are different.
const CHARACTERS: i64 = 5000;

/// An upper bound on the n-grams of one contact: each of the first 255 characters of a text contributes at most five.
const PIECES: i64 = 2000;

/// This bound has no fault switch, because it is SQL of a released migration. So the test compares it with the SQL that it replaced, whose
/// work and entries grew with the text.
async fn index_entry_has_a_bounded_number_of_ngrams(backend: Backend) {
    let app = TestApp::start(backend).await;
    app.fixture().person("Quentin").await;
    let (now, before) = match backend {
        Backend::Sqlite => sqlite_pieces(&app.database).await,
        Backend::Postgres => postgres_pieces(&app.database).await,
    };
    assert!(now < PIECES, "{now}");
    assert!(before >= 2 * CHARACTERS - 1, "{before}: the SQL before had no bound");
}

/// The number of n-grams that the triggers create for a contact, and how many the previous triggers would have added.
async fn sqlite_pieces(database: &Database) -> (i64, i64) {
    const COUNT: &str = "SELECT count(*) FROM contact_terms";
    let text = "(WITH RECURSIVE n(at) AS (SELECT 1 UNION ALL SELECT at + 1 FROM n WHERE at < 5000) \
                SELECT group_concat(char(19968 + at), '') FROM n)";
    for statement in [
        "CREATE VIRTUAL TABLE contact_terms USING fts5vocab(contact_pieces, row)",
        &format!("UPDATE contacts SET email = 'q@example.org', additional_attributes = json_object('company_name', {text})"),
    ] {
        database.run(statement).await;
    }
    let now = Database::number(&database.url(), COUNT).await;
    let whole = "coalesce(name, '') || char(10) || coalesce(email, '') || char(10) || coalesce(phone_number, '') || char(10) \
                 || coalesce(identifier, '') || char(10) || coalesce(additional_attributes ->> 'company_name', '')";
    let before = format!(
        "INSERT INTO contact_pieces (rowid, pieces) SELECT id + 1000, (SELECT char(1) || group_concat(substr(whole, key + 1, 1), char(1) \
         ORDER BY key) || char(1) FROM (SELECT {whole} AS whole), \
         json_each('[0' || replace(hex(zeroblob(length(whole) - 1)), '00', ',0') || ']')) FROM contacts"
    );
    database.run(&before).await;
    (now, Database::number(&database.url(), COUNT).await)
}

/// The number of n-grams that the function creates for a text, and how many the previous function created.
async fn postgres_pieces(database: &Database) -> (i64, i64) {
    let before = "CREATE FUNCTION pieces_before(account bigint, texts text[]) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
        SELECT coalesce(array_agg(DISTINCT account || ':' || substr(folded, at, size)), '{}')
        FROM (SELECT lower(given) AS folded FROM unnest(texts) AS given) AS each, generate_series(1, 2) AS size,
            LATERAL generate_series(1, length(folded) + 1 - size) AS at
    $$";
    database.run(before).await;
    let url = database.url();
    let now = "SELECT CAST(cardinality(parley_pieces(1, ARRAY[(SELECT string_agg(chr(19968 + n), '') FROM generate_series(1, 5000) AS n)])) \
               AS bigint)";
    let before = "SELECT CAST(cardinality(pieces_before(1, ARRAY[(SELECT string_agg(chr(19968 + n), '') FROM generate_series(1, 5000) AS n)])) \
                  AS bigint)";
    (Database::number(&url, now).await, Database::number(&url, before).await)
}

async fn without_the_budget_a_search_reads_everything(backend: Backend) {
    let app = start(backend, "search_bytes").await;
    assert_eq!(pages_until_found(&app.fixture()).await, 1);
}

async fn searches_beyond_the_limit_are_refused(backend: Backend) {
    const SEARCHES: usize = 40;
    for (concurrent, waits) in [("1", 8), ("40", SEARCHES)] {
        let app = TestApp::builder(backend)
            .env("PARLEY_LIMITS_CONCURRENT_SEARCHES", concurrent)
            .start()
            .await;
        let fixture = app.fixture();
        let talk = fixture.talk().await;
        for _ in 0..4 {
            fixture.sent(talk, incoming(&"x".repeat(149_000))).await;
        }
        let request = SearchMessagesRequest {
            account_id: 1,
            text: "zq".to_owned(),
            ..SearchMessagesRequest::default()
        };
        let searches = (0..SEARCHES).map(|_| {
            let (mut messages, request) = (fixture.clients.messages.clone(), request.clone());
            async move { messages.search_messages(request).await }
        });
        let (mut found, mut refused) = (0, 0);
        for answer in join_all(searches).await {
            match answer {
                Ok(_) => found += 1,
                Err(status) => {
                    assert_eq!(fault(&status).reason, "BUSY");
                    refused += 1;
                }
            }
        }
        assert!(found > waits.min(SEARCHES - 1), "{found}");
        assert_eq!(refused == 0, concurrent == "40", "{refused} of {SEARCHES}");
    }
}

/// Attachment rows are part of the message's plan, which is made after the lookup of a stored response and is stored in one transaction, so no
/// single check prevents leftover rows. The test therefore turns off the replay of stored responses.
async fn without_idempotency_keys_replays_leave_attachment_rows(backend: Backend) {
    for (switch, rows) in [("", 2), ("idempotency_key", 6)] {
        let app = start(backend, switch).await;
        let fixture = app.fixture();
        let request: CreateMessageRequest = fixture.request(fixture.talk().await, places());
        for _ in 0..3 {
            let answer = fixture.clients.messages.clone().create_message(request.clone()).await;
            answer.expect("it is stored");
        }
        assert_eq!(
            Database::number(&app.database.url(), "SELECT count(*) FROM attachments").await,
            rows,
            "{switch}"
        );
    }
}
