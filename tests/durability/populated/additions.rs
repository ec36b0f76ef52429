//! Data that 0.1.0 and later releases store and `efb66ab` did not: attribute maps and texts at the limits, submitted identities, owners of
//! idempotency keys, member names, session uploads, audit events, and a log that was trimmed up to its head.

use bytes::Bytes;
use parley_proto::{
    ClientSession, CreateClientMessageRequest, CreateTokenRequest, FileHeader, ListAuditEventsRequest, TokenKind, UploadClientFileRequest,
    audit_service_client::AuditServiceClient, subscribe_request::Start, upload_client_file_request::Part,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::{INBOX, KEY, contact_id, done, keys, nested, request};
use crate::support::{
    api_fixture::ApiFixture,
    app::TestApp,
    clients::Clients,
    in_time,
    office::other_account,
    reader::{Reader, event, everything, log_info},
};

/// The length of the longest text that fits into an attribute map under the key `large`: the limit is 64 KiB as a `google.protobuf.Struct`,
/// in which the key, tags and lengths take 19 bytes.
pub const TEXT: usize = (64 << 10) - 19;

/// The limits on keys and levels of an attribute map, and on the characters of a message.
const KEYS: usize = 250;
const LEVELS: usize = 24;
const CONTENT: usize = 150_000;

/// An unverified session that submitted the address of a stored contact and was attached to it.
const SUBMITTED: &str = "session-that-submitted";

/// The same in an inbox with `attach_unverified_sessions` off, so it has a contact of its own.
const UNATTACHED: &str = "session-unattached";

/// The names that the account gave to a member and to a former member.
const MEMBER: &str = "Member Name";
const FORMER: &str = "Former Member Name";

const ACCOUNT: &str = "/api/v1/accounts/1";

/// A day in microseconds.
const DAY: i64 = 86_400_000_000;

/// Ids and values that the checks compare with.
#[derive(Debug, Serialize, Deserialize)]
pub struct Additions {
    /// The contact with [`KEYS`] keys.
    keys: i64,
    /// The contact with [`LEVELS`] levels.
    nested: i64,
    /// The conversation of [`SUBMITTED`]. It has a message at the limit and one by a former member.
    conversation: i64,
    /// The contact of [`UNATTACHED`].
    unattached: i64,
    /// The contact that a second caller created with the key of another caller's stored reply.
    second_caller: i64,
    /// An upload of [`SUBMITTED`] that no message has taken yet.
    upload: String,
    pubsub_token: Json,
    audit_events: Vec<i64>,
    trimmed: Trimmed,
}

/// Another account, all of whose events were trimmed.
#[derive(Debug, Serialize, Deserialize)]
struct Trimmed {
    account: i64,
    inbox: i64,
    token: String,
    /// The cursor of the last event.
    cursor: Vec<u8>,
    seq: u64,
}

/// Fills the database. `contact` has the address that the sessions submit; `service` is the token of the second caller.
pub async fn fill(app: &TestApp, contact: i64, service: &str) -> Additions {
    let http = app.http();
    assert_at_limits(app, contact).await;
    let contacts = format!("{ACCOUNT}/contacts");
    let many = json!({"inbox_id": 1, "name": "Keys", "email": "keys@example.org", "custom_attributes": keys(KEYS)});
    let deep = json!({"inbox_id": 1, "name": "Levels", "custom_attributes": nested(LEVELS)});
    let many = contact_id(&done(&http, "POST", &contacts, &many).await);
    let deep = contact_id(&done(&http, "POST", &contacts, &deep).await);
    let label = json!({"labels": ["VIP"]});
    done(&http, "POST", &format!("{contacts}/{many}/labels"), &label).await;

    let session = format!("/public/api/v1/inboxes/{INBOX}/contacts");
    let submitted = json!({"source_id": SUBMITTED, "name": "Submitted", "email": "large@example.org"});
    done(&http.with_token(""), "POST", &session, &submitted).await;
    assert_eq!(app.fixture().contact_of(SUBMITTED).await, contact, "the session is attached");
    let talk = done(
        &http.with_token(""),
        "POST",
        &format!("{session}/{SUBMITTED}/conversations"),
        &json!({}),
    )
    .await;
    let conversation = talk["id"].as_i64().expect("a number");
    let longest = json!({"content": "😀".repeat(CONTENT)});
    let messages = format!("{session}/{SUBMITTED}/conversations/{conversation}/messages");
    done(&http.with_token(""), "POST", &messages, &longest).await;
    let upload = upload(app).await;
    let second_caller = second_caller(app, service).await;
    let unattached = unattached(app).await;
    members(app, conversation).await;
    let pubsub_token = done(&http, "POST", "/api/v1/profile/rotate_pubsub_token", &Json::Null).await["pubsub_token"].clone();
    Additions {
        keys: many,
        nested: deep,
        conversation,
        unattached,
        second_caller,
        upload,
        pubsub_token,
        trimmed: trimmed(app).await,
        audit_events: audit_events(app).await,
    }
}

/// Asserts that the stored maps are the largest possible: one more byte, key or level is refused.
async fn assert_at_limits(app: &TestApp, contact: i64) {
    for more in [json!({"large": "x".repeat(TEXT + 1)}), keys(KEYS + 1), nested(LEVELS + 1)] {
        let body = json!({"inbox_id": 1, "name": "More", "custom_attributes": more});
        let (status, answer) = request(&app.http(), None, "POST", &format!("{ACCOUNT}/contacts"), &body).await;
        assert_eq!(status, 422, "{answer}");
    }
    let stored = shown(app, contact).await;
    assert_eq!(stored["custom_attributes"]["large"].as_str().map(str::len), Some(TEXT));
}

/// Creates a contact as a second caller, with an idempotency key that another caller used. Returns its id.
async fn second_caller(app: &TestApp, service: &str) -> i64 {
    let body = json!({"name": "Second", "email": "second@example.org", "inbox_id": 1});
    let http = app.http().with_token(service);
    let (status, answer) = request(&http, Some(KEY), "POST", &format!("{ACCOUNT}/contacts"), &body).await;
    assert_eq!(status, 200, "{answer}");
    contact_id(&answer)
}

/// Creates the session [`UNATTACHED`]. Returns its contact.
async fn unattached(app: &TestApp) -> i64 {
    let http = app.http();
    let inbox = json!({"name": "Unattached", "channel": {"type": "api"}});
    let inbox = done(&http, "POST", &format!("{ACCOUNT}/inboxes"), &inbox).await;
    let id = inbox["id"].as_i64().expect("a number");
    let change = json!({"channel": {"attach_unverified_sessions": false}});
    done(&http, "PATCH", &format!("{ACCOUNT}/inboxes/{id}"), &change).await;
    let identifier = inbox["inbox_identifier"].as_str().expect("an administrator sees it");
    let session = json!({"source_id": UNATTACHED, "name": "Unattached", "email": "large@example.org"});
    let contacts = format!("/public/api/v1/inboxes/{identifier}/contacts");
    done(&http.with_token(""), "POST", &contacts, &session).await;
    ApiFixture::new(app.clients(), 1, id).contact_of(UNATTACHED).await
}

/// Adds two members whose names the account chose. One of them sends a message and is removed.
async fn members(app: &TestApp, conversation: i64) {
    let http = app.http();
    let mut ids = Vec::new();
    for (name, email) in [(MEMBER, "member@example.org"), (FORMER, "former@example.org")] {
        let agent = json!({"name": name, "email": email, "role": "agent"});
        let agent = done(&http, "POST", &format!("{ACCOUNT}/agents"), &agent).await;
        ids.push(agent["id"].as_i64().expect("a number"));
    }
    let joined = json!({"inbox_id": 1, "user_ids": ids});
    done(&http, "POST", &format!("{ACCOUNT}/inbox_members"), &joined).await;
    let token = CreateTokenRequest {
        kind: TokenKind::User.into(),
        user_id: Some(ids[1]),
        ..CreateTokenRequest::default()
    };
    let token = app.platform().accounts.create_token(token).await.expect("made").into_inner();
    let messages = format!("{ACCOUNT}/conversations/{conversation}/messages");
    done(&http.with_token(&token.secret), "POST", &messages, &json!({"content": "farewell"})).await;
    done(&http, "DELETE", &format!("{ACCOUNT}/agents/{}", ids[1]), &Json::Null).await;
}

fn session() -> ClientSession {
    ClientSession {
        inbox_identifier: INBOX.to_owned(),
        source_id: SUBMITTED.to_owned(),
    }
}

/// Uploads a file as the session [`SUBMITTED`]. Returns its `upload_id`.
async fn upload(app: &TestApp) -> String {
    let header = FileHeader {
        file_name: "session.txt".to_owned(),
        ..FileHeader::default()
    };
    let parts = [Part::Header(header), Part::Chunk(Bytes::from_static(b"a session's file"))];
    let parts = parts.map(|part| UploadClientFileRequest {
        session: Some(session()),
        part: Some(part),
    });
    let mut visitor = Clients::new(&app.server.listeners.grpc, None).client;
    let stored = visitor.upload_client_file(tokio_stream::iter(parts)).await.expect("it is stored");
    stored.into_inner().file.expect("always set").upload_id
}

/// The ids of the account's audit events.
async fn audit_events(app: &TestApp) -> Vec<i64> {
    let request = ListAuditEventsRequest {
        account_id: Some(1),
        page_size: 1000,
        ..ListAuditEventsRequest::default()
    };
    let listed = AuditServiceClient::new(app.clients().service).list_audit_events(request).await;
    listed
        .expect("listed")
        .into_inner()
        .audit_events
        .iter()
        .map(|event| event.id)
        .collect()
}

/// Writes to another account, makes its events old, and waits until they are trimmed.
async fn trimmed(app: &TestApp) -> Trimmed {
    let other = other_account(app, "Trimmed").await;
    other.talk().await;
    let head = log_info(&other.clients, other.account).await;
    let token = CreateTokenRequest {
        account_id: Some(other.account),
        kind: TokenKind::Service.into(),
        name: "reader".to_owned(),
        ..CreateTokenRequest::default()
    };
    let token = app.platform().accounts.create_token(token).await.expect("made").into_inner();
    app.database
        .run(&format!(
            "UPDATE events SET occurred_at = occurred_at - {} WHERE account_id = {}",
            8 * DAY,
            other.account
        ))
        .await;
    in_time("trimming", async {
        while log_info(&other.clients, other.account).await.earliest_seq <= head.head_seq {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    Trimmed {
        account: other.account,
        inbox: other.inbox,
        token: token.secret,
        cursor: head.head_cursor.to_vec(),
        seq: head.head_seq,
    }
}

/// A contact as an administrator sees it.
async fn shown(app: &TestApp, contact: i64) -> Json {
    done(&app.http(), "GET", &format!("{ACCOUNT}/contacts/{contact}"), &Json::Null).await["payload"].clone()
}

impl Additions {
    /// Checks that can be repeated on the same database.
    pub async fn check(&self, app: &TestApp, contact: i64, service: &str) {
        let http = app.http();
        let stored = shown(app, contact).await;
        assert_eq!(stored["custom_attributes"]["large"].as_str().map(str::len), Some(TEXT));
        assert_eq!(shown(app, self.keys).await["custom_attributes"], keys(KEYS));
        assert_eq!(shown(app, self.nested).await["custom_attributes"], nested(LEVELS));
        let filter = json!({"attribute_key": "labels", "filter_operator": "equal_to", "values": ["vip"], "query_operator": null});
        let filtered = json!({"payload": [filter]});
        let found = done(&http, "POST", &format!("{ACCOUNT}/contacts/filter"), &filtered).await;
        assert_eq!(found["payload"][0]["id"], self.keys, "labels are matched without case: {found}");

        // An unverified session sees what it submitted. A session that was not attached names its possible duplicate.
        let session = format!("/public/api/v1/inboxes/{INBOX}/contacts/{SUBMITTED}");
        let submitted = done(&http.with_token(""), "GET", &session, &Json::Null).await;
        assert_eq!(submitted["name"], "Submitted", "{submitted}");
        let unattached = shown(app, self.unattached).await;
        assert_eq!(
            unattached["contact_inboxes"][0]["possible_duplicate_contact_id"], contact,
            "{unattached}"
        );

        assert_eq!(
            second_caller(app, service).await,
            self.second_caller,
            "each caller's own reply is replayed"
        );
        let agents = done(&http, "GET", &format!("{ACCOUNT}/agents"), &Json::Null).await.to_string();
        assert!(agents.contains(MEMBER) && !agents.contains(FORMER), "{agents}");
        let messages = format!("{ACCOUNT}/conversations/{}/messages", self.conversation);
        let messages = done(&http, "GET", &messages, &Json::Null).await;
        let messages = messages["payload"].as_array().expect("messages");
        assert!(messages.iter().any(|message| message["sender"]["name"] == FORMER));
        let longest = messages
            .iter()
            .filter_map(|message| message["content"].as_str())
            .map(|text| text.chars().count());
        assert_eq!(longest.max(), Some(CONTENT));
        let profile = done(&http, "GET", "/api/v1/profile", &Json::Null).await;
        assert_eq!(profile["pubsub_token"], self.pubsub_token);
        let audit_events = audit_events(app).await;
        assert!(!self.audit_events.is_empty());
        assert!(self.audit_events.iter().all(|id| audit_events.contains(id)), "{audit_events:?}");
        self.trimmed.check(app).await;
    }

    /// Checks that consume what they check: a message takes the session's upload.
    pub async fn check_once(&self, app: &TestApp) {
        let request = CreateClientMessageRequest {
            session: Some(session()),
            conversation_id: self.conversation,
            upload_ids: vec![self.upload.clone()],
            ..CreateClientMessageRequest::default()
        };
        let mut visitor = Clients::new(&app.server.listeners.grpc, None).client;
        visitor.create_client_message(request).await.expect("the message takes the upload");
    }
}

impl Trimmed {
    /// Checks that a stream resumes after the cursor of the last event, which was trimmed.
    async fn check(&self, app: &TestApp) {
        let clients = app.clients_with(&self.token);
        assert_eq!(log_info(&clients, self.account).await.earliest_seq, self.seq + 1);
        ApiFixture::new(clients.clone(), self.account, self.inbox).talk().await;
        let start = Start::After(self.cursor.clone().into());
        let mut reader = Reader::open(&clients, everything(self.account, start)).await;
        assert_eq!(event(&reader.next().await).seq, self.seq + 1);
    }
}
