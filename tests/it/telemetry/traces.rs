//! A trace from an integrator's request to the work of a consumer.

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use opentelemetry_sdk::trace::SdkTracerProvider;
use parley_client::processing;
use parley_proto::{MessageDraft, SendMessagesRequest, SubscribeRequest, subscribe_request::Start};
use tracing_subscriber::{filter::LevelFilter, filter::Targets, layer::SubscriberExt as _};

use super::{
    PARENT, TRACE,
    collector::{Collector, text},
    lines_in_time, speak, told,
};
use crate::support::{
    app::{ADMINISTRATOR, TestApp},
    database::Backend,
    http::client,
    in_time, on_both,
};

on_both!(trace_connects_the_request_and_the_consumer);

/// The stored form of a span's context.
fn context(span: &Span) -> String {
    format!("00-{}-{}-01", hex::encode(&span.trace_id), hex::encode(&span.span_id))
}

fn named<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    let found = spans.iter().find(|span| span.name == name && hex::encode(&span.trace_id) == TRACE);
    found.unwrap_or_else(|| panic!("no {name} among {:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>()))
}

async fn trace_connects_the_request_and_the_consumer(backend: Backend) {
    let (collector, address) = Collector::start().await;
    let mut app = TestApp::builder(backend).env("OTEL_EXPORTER_OTLP_ENDPOINT", &address).start().await;
    speak(&app).await;
    let event = told(&app).await;

    // The consumer is a separate program and exports to the same collector.
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&address)
        .build()
        .expect("an exporter");
    let consumer = SdkTracerProvider::builder().with_batch_exporter(exporter).build();
    let layer = tracing_opentelemetry::layer().with_tracer(consumer.tracer("consumer"));
    let ours = Targets::new().with_target("parley_client", LevelFilter::INFO);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(ours).with(layer), || {
        processing(&event).in_scope(|| {});
    });
    let flushed = tokio::task::spawn_blocking(move || consumer.shutdown()).await;
    flushed.expect("no panic").expect("it was sent");
    app.server.terminate();
    app.server.wait().await;

    let spans = collector.spans();
    let request = spans
        .iter()
        .find(|span| span.name.starts_with("POST /api/v1/"))
        .expect("the request's span");
    assert_eq!(hex::encode(&request.parent_span_id), PARENT);
    let call = named(&spans, "parley.v1.MessagesService/CreateMessage");
    assert_eq!(call.parent_span_id, request.span_id);
    let store = named(&spans, "INSERT");
    assert_eq!(store.parent_span_id, call.span_id);
    assert_eq!(store.kind(), SpanKind::Client);
    let system = if backend == Backend::Sqlite { "sqlite" } else { "postgresql" };
    assert_eq!(text(&store.attributes, "db.system.name").as_deref(), Some(system));
    assert_eq!(text(&store.attributes, "db.operation.name").as_deref(), Some("INSERT"));
    assert_eq!(event.traceparent, context(call));

    let process = spans.iter().find(|span| span.name == "process").expect("the consumer's span");
    assert_eq!(process.kind(), SpanKind::Consumer);
    assert_ne!(process.trace_id, call.trace_id, "a trace of its own, linked to its cause");
    let links: Vec<_> = process.links.iter().map(|link| (&link.trace_id, &link.span_id)).collect();
    assert_eq!(links, [(&call.trace_id, &call.span_id)]);
    for (name, value) in [
        ("messaging.system", "parley"),
        ("messaging.operation.name", "process"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", "1"),
        ("messaging.message.id", event.event_id.as_str()),
    ] {
        assert_eq!(text(&process.attributes, name).as_deref(), Some(value), "{name}");
    }
}

/// Without a trace from the caller, Parley's own is stored; on a stream, that of the stream.
#[tokio::test]
async fn trace_started_by_parley_is_stored() {
    let (collector, address) = Collector::start().await;
    let mut app = TestApp::builder(Backend::Sqlite)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &address)
        .start()
        .await;
    let conversation = app.fixture().talk().await;
    let request = SendMessagesRequest {
        account_id: 1,
        conversation_id: conversation,
        message: Some(MessageDraft {
            content: Some("by a stream".to_owned()),
            ..MessageDraft::default()
        }),
        ..SendMessagesRequest::default()
    };
    let mut answers = app
        .clients()
        .messages
        .send_messages(tokio_stream::iter([request]))
        .await
        .expect("a stream")
        .into_inner();
    while answers.message().await.expect("the stream goes on").is_some() {}
    let request = SubscribeRequest {
        account_id: 1,
        start: Some(Start::Earliest(())),
        ..SubscribeRequest::default()
    };
    let mut stream = app.clients().events.subscribe(request).await.expect("a stream").into_inner();
    let mut stored = Vec::new();
    in_time("the message", async {
        while !stored.iter().any(|(kind, _)| kind == "message.created") {
            let response = stream.message().await.expect("the stream goes on").expect("it has no end");
            let events = response.events.into_iter().filter_map(|delivery| delivery.event);
            stored.extend(events.map(|event| (event.kind_name, event.traceparent)));
        }
    })
    .await;
    drop(stream);
    app.server.terminate();
    app.server.wait().await;
    let spans = collector.spans();
    for (kind, call) in [
        ("contact.created", "parley.v1.ContactsService/CreateContact"),
        ("conversation.created", "parley.v1.ConversationsService/CreateConversation"),
        ("message.created", "parley.v1.MessagesService/SendMessages"),
    ] {
        let (_, stored) = stored
            .iter()
            .find(|(known, _)| known == kind)
            .unwrap_or_else(|| panic!("no {kind}"));
        let span = spans.iter().find(|span| span.name == call).unwrap_or_else(|| panic!("no {call}"));
        assert_eq!(*stored, context(span), "{kind}");
    }
}

/// Without a collector no spans are created: the caller's context is stored as it is, and log lines contain it.
#[tokio::test]
async fn trace_of_the_caller_is_kept_without_a_collector() {
    let app = TestApp::builder(Backend::Sqlite).env("PARLEY_LOG_FILTER", "debug").start().await;
    speak(&app).await;
    assert_eq!(told(&app).await.traceparent, format!("00-{TRACE}-{PARENT}-01"));
    let answered = lines_in_time(&app, 1, |line| line["message"] == "call completed" && line["trace_id"] == TRACE).await;
    assert_eq!(answered[0]["span_id"], PARENT);
    assert!(
        answered[0]["rpc.method"]
            .as_str()
            .is_some_and(|method| method.starts_with("parley.v1.")),
        "{}",
        answered[0]
    );
}

/// The span has an error status exactly if the server is at fault.
#[tokio::test]
async fn server_fault_sets_the_span_status_to_error() {
    let (collector, address) = Collector::start().await;
    let mut app = TestApp::builder(Backend::Sqlite)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &address)
        .start()
        .await;
    app.clients_with("nobody's")
        .accounts
        .get_profile(parley_proto::GetProfileRequest {})
        .await
        .expect_err("the token is wrong");
    let made_up = format!("http://{}/parley.v1.AccountsService/MadeUp", app.server.listeners.grpc);
    let made_up = client().post(made_up).header("content-type", "application/grpc-web+proto");
    made_up.header("api_access_token", ADMINISTRATOR).send().await.expect("an answer");
    app.server.terminate();
    app.server.wait().await;
    let spans = collector.spans();
    let statuses: Vec<_> = spans
        .iter()
        .filter(|span| span.name.starts_with("parley.v1.AccountsService/") || span.name == "_OTHER")
        .map(|span| {
            let code = text(&span.attributes, "error.type").unwrap_or_default();
            (code, span.status.clone().unwrap_or_default().code())
        })
        .collect();
    for told in [
        ("UNAUTHENTICATED".to_owned(), StatusCode::Unset),
        ("UNIMPLEMENTED".to_owned(), StatusCode::Error),
    ] {
        assert!(statuses.contains(&told), "{told:?} is not among {statuses:?}");
    }
}
