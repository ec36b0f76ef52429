//! Times lie within the years 1 to 9999, the limits of `google.protobuf.Timestamp` and its JSON form. All others are refused with the name
//! of their field, and those stored before the limit existed are sent as the nearest time within the range.

use parley_proto::{
    self as pb, ConsumeOpen, ConversationStatus, CreateConversationRequest, CreateTokenRequest, GetConversationRequest,
    ListConversationsRequest, ResetConsumerRequest, SearchMessagesRequest, TokenKind, UpdateConversationStatusRequest, consume_open,
    reset_consumer_request, subscribe_request::Start,
};
use prost_types::Timestamp;
use serde_json::{Value as Json, json};
use tonic::Status;

use crate::support::{
    api_fixture::outgoing,
    app::TestApp,
    consumer::{Session, plenty},
    database::Backend,
    fault::fault,
    on_both,
    reader::{Reader, everything, whole_log},
    server::{program, run_to_end},
    told::Told as _,
};

on_both!(
    grpc_calls_refuse_times_out_of_range,
    json_api_refuses_times_out_of_range,
    stored_times_are_clamped_to_the_range
);

const FIRST: i64 = -62_135_596_800;
const LAST: i64 = 253_402_300_799;
/// The current time in milliseconds, as in JavaScript.
const MILLISECONDS: i64 = 1_795_988_101_000;

/// The fields for which a call is refused.
fn fields(refusal: &Status) -> Vec<String> {
    if refusal.code() != tonic::Code::InvalidArgument {
        return Vec::new();
    }
    let named = fault(refusal).fields.into_iter();
    named.map(|field| field.split(':').next().unwrap_or_default().to_owned()).collect()
}

/// Makes each call that takes a time. Returns the name of the time's field, and the fields for which the call was refused.
async fn ask(app: &TestApp, talk: i64, seconds: i64) -> Vec<(&'static str, Vec<String>)> {
    let (clients, at) = (app.clients(), Some(Timestamp { seconds, nanos: 0 }));
    let mut asked = Vec::new();
    let mut note = |field, refusal: Option<Status>| asked.push((field, refusal.as_ref().map(fields).unwrap_or_default()));
    let request = UpdateConversationStatusRequest {
        account_id: 1,
        conversation_id: talk,
        status: ConversationStatus::Snoozed.into(),
        snoozed_until: at,
        ..UpdateConversationStatusRequest::default()
    };
    note(
        "snoozed_until",
        clients.conversations.clone().update_conversation_status(request).await.err(),
    );
    let request = CreateConversationRequest {
        account_id: 1,
        inbox_id: Some(1),
        contact_id: Some(1),
        status: ConversationStatus::Snoozed.into(),
        snoozed_until: at,
        ..CreateConversationRequest::default()
    };
    note(
        "snoozed_until",
        clients.conversations.clone().create_conversation(request).await.err(),
    );
    let request = ListConversationsRequest {
        account_id: 1,
        updated_since: at,
        ..ListConversationsRequest::default()
    };
    note(
        "updated_since",
        clients.conversations.clone().list_conversations(request).await.err(),
    );
    let search = SearchMessagesRequest {
        account_id: 1,
        text: "hello".to_owned(),
        ..SearchMessagesRequest::default()
    };
    let request = SearchMessagesRequest {
        created_since: at,
        ..search.clone()
    };
    note("created_since", clients.messages.clone().search_messages(request).await.err());
    let request = SearchMessagesRequest {
        created_before: at,
        ..search
    };
    note("created_before", clients.messages.clone().search_messages(request).await.err());
    let open = everything(1, Start::At(at.expect("given")));
    let opened = match Reader::try_open(&clients, open).await {
        Ok(mut reader) => reader.take_any().await.err(),
        Err(refusal) => Some(refusal),
    };
    note("at", opened);
    let open = ConsumeOpen {
        start: Some(consume_open::Start::At(at.expect("given"))),
        ..plenty(1, &format!("from {seconds}"))
    };
    let opened = Session::try_open(&clients, open).await.err();
    note("at", opened);
    let request = ResetConsumerRequest {
        account_id: 1,
        name: "worker".to_owned(),
        start: Some(reset_consumer_request::Start::At(at.expect("given"))),
        ..ResetConsumerRequest::default()
    };
    note("at", clients.consumers.clone().reset_consumer(request).await.err());
    let request = CreateTokenRequest {
        kind: TokenKind::Service.into(),
        name: "worker".to_owned(),
        account_id: Some(1),
        expires_at: at,
        ..CreateTokenRequest::default()
    };
    note("expires_at", app.platform().accounts.create_token(request).await.err());
    asked
}

async fn grpc_calls_refuse_times_out_of_range(backend: Backend) {
    for (on, switch) in [(true, ""), (false, "time_range")] {
        let app = TestApp::builder(backend)
            .platform()
            .env("PARLEY_FAULT_SWITCH", switch)
            .start()
            .await;
        let talk = app.fixture().talk().await;
        for beyond in [FIRST - 1, LAST + 1, MILLISECONDS, -MILLISECONDS] {
            let asked = ask(&app, talk, beyond).await;
            if !on {
                assert!(asked.iter().any(|(_, refused)| refused.is_empty()), "{beyond}: {asked:?}");
                continue;
            }
            for (field, refused) in asked {
                assert_eq!(refused, [field], "{beyond}");
            }
        }
        for within in [FIRST, LAST] {
            for (field, refused) in ask(&app, talk, within).await {
                // A token must not have expired before it is created.
                let past = field == "expires_at" && within < 0;
                assert_eq!(refused.is_empty(), !past, "{within}: {field} {refused:?}");
            }
        }
        // The attribute of a message, which is stored as it was sent.
        for (seconds, is_taken) in [(LAST, true), (LAST + 1, !on), (MILLISECONDS, !on)] {
            let draft = pb::MessageDraft {
                content_attributes: Some(prost_types::Struct {
                    fields: [("external_created_at".to_owned(), pb::value::value_of(&json!(seconds)))].into(),
                }),
                ..outgoing("from elsewhere")
            };
            let sent = app.fixture().send(talk, draft).await;
            assert_eq!(sent.is_ok(), is_taken, "{seconds}");
            if let Err(refusal) = sent {
                assert_eq!(fields(&refusal), ["message.content_attributes.external_created_at"]);
            }
        }
    }
}

async fn json_api_refuses_times_out_of_range(backend: Backend) {
    let app = TestApp::start(backend).await;
    let talk = app.fixture().talk().await;
    let snooze = async |until: Json| {
        let body = json!({"status": "snoozed", "snoozed_until": until});
        app.http().try_post(&format!("/conversations/{talk}/toggle_status"), &body).await
    };
    for beyond in [FIRST - 1, LAST + 1, MILLISECONDS, -MILLISECONDS] {
        for until in [json!(beyond), json!(beyond.to_string())] {
            let (status, body) = snooze(until).await;
            assert!(
                status == 422 && body.to_string().contains("snoozed_until"),
                "{beyond}: {status} {body}"
            );
        }
        let body = json!({"content": "hello", "external_created_at": beyond});
        let (status, body) = app.http().try_post(&format!("/conversations/{talk}/messages"), &body).await;
        assert!(
            status == 422 && body.to_string().contains("External created at"),
            "{beyond}: {status} {body}"
        );
    }
    assert_eq!(snooze(json!(LAST)).await.1["payload"]["snoozed_until"], "9999-12-31T23:59:59.000Z");
    for at in ["0000-12-31T23:59:59Z", "9999-12-31T23:59:59-00:01", "%2B58882-08-06T07:36:40.000Z"] {
        let (status, body) = app.http().ask(&format!("/events?at={at}")).await;
        assert!(status == 422 && body.to_string().contains("at"), "{at}: {status} {body}");
    }
}

async fn stored_times_are_clamped_to_the_range(backend: Backend) {
    let app = TestApp::start(backend).await;
    let (fixture, talk) = (app.fixture(), app.fixture().talk().await);
    app.database
        .run(&format!(
            "UPDATE conversations SET snoozed_until = {MILLISECONDS}000000 WHERE id = {talk}"
        ))
        .await;
    let request = GetConversationRequest {
        account_id: 1,
        conversation_id: talk,
    };
    let read = fixture
        .clients
        .conversations
        .clone()
        .get_conversation(request)
        .await
        .expect("read")
        .into_inner();
    let until = |conversation: Option<&pb::Conversation>| {
        conversation
            .and_then(|conversation| conversation.snoozed_until)
            .map(|at| at.seconds)
    };
    assert_eq!(until(read.conversation.as_ref()), Some(LAST));
    let shown = app.http().ask(&format!("/conversations/{talk}")).await.1;
    assert_eq!(shown["snoozed_until"], "9999-12-31T23:59:59.999Z", "{shown}");
    fixture.say(talk, "hello").await;
    let log = whole_log(&app.clients(), 1).await;
    let last = log
        .iter()
        .rev()
        .find_map(|delivery| delivery.event.as_ref()?.message())
        .expect("a message");
    assert_eq!(until(last.conversation.as_ref()), Some(LAST));
    let mut doctor = program();
    doctor
        .arg("doctor")
        .current_dir(app.home())
        .env("PARLEY_DATABASE_URL", app.database.url());
    for api in ["GRPC", "HTTP", "ADMIN"] {
        doctor.env(format!("PARLEY_{api}_ADDR"), "127.0.0.1:0");
    }
    let report = run_to_end(doctor).await.output;
    // `parley doctor` cannot inspect a SQLite file that a server has open.
    if backend == Backend::Postgres {
        let line = format!("conversations.snoozed_until is outside the years 1 to 9999 in {talk} of account 1");
        assert!(report.contains(&line), "{line} is not in\n{report}");
    }
}
