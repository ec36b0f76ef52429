//! What is told of a server while it runs: to a collector by OTLP, to Prometheus, and in its log.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{
            ExportLogsServiceRequest, ExportLogsServiceResponse,
            logs_service_server::{LogsService, LogsServiceServer},
        },
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use parley::pb::{CreateTokenRequest, SubscribeRequest, TokenKind, subscribe_request::Start};
use serde_json::{Value as Json, json};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::support::{
    app::{ADMINISTRATOR, TestApp},
    database::Backend,
    http::client,
    in_time, on_both,
};

on_both!(figures_tell_what_happened);

/// What a collector was sent.
#[derive(Clone, Debug, Default)]
struct Collector(Arc<Mutex<Collected>>);

#[derive(Debug, Default)]
struct Collected {
    traces: Vec<ExportTraceServiceRequest>,
    metrics: Vec<ExportMetricsServiceRequest>,
    logs: Vec<ExportLogsServiceRequest>,
}

impl Collector {
    async fn start() -> (Self, String) {
        let collector = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .add_service(MetricsServiceServer::new(collector.clone()))
            .add_service(LogsServiceServer::new(collector.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        (collector, address)
    }

    fn look<T>(&self, read: impl FnOnce(&Collected) -> T) -> T {
        read(&self.0.lock().expect("no collector panics"))
    }

    fn spans(&self) -> Vec<Span> {
        self.look(|collected| {
            let scopes = collected
                .traces
                .iter()
                .flat_map(|sent| &sent.resource_spans)
                .flat_map(|resource| &resource.scope_spans);
            scopes.flat_map(|scope| scope.spans.clone()).collect()
        })
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(&self, request: Request<ExportTraceServiceRequest>) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().expect("no collector panics").traces.push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(&self, request: Request<ExportMetricsServiceRequest>) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.0.lock().expect("no collector panics").metrics.push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(&self, request: Request<ExportLogsServiceRequest>) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.0.lock().expect("no collector panics").logs.push(request.into_inner());
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match &found.value.as_ref()?.value {
        Some(Value::StringValue(text)) => Some(text.clone()),
        _ => None,
    }
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
/// What a message says that nobody but its readers may see.
const CONTENT: &str = "my card is 4111 1111 1111 1111";

/// The request of an integrator, with a trace of its own, through the JSON door.
async fn speak(app: &TestApp) -> Json {
    let conversation = app.scene().talk().await;
    let url = format!(
        "http://{}/api/v1/accounts/1/conversations/{conversation}/messages",
        app.server.doors.http
    );
    let answer = client()
        .post(url)
        .header("api_access_token", ADMINISTRATOR)
        .header("traceparent", format!("00-{TRACE}-{PARENT}-01"))
        .json(&json!({"content": CONTENT}))
        .send()
        .await
        .expect("the door answers");
    assert_eq!(answer.status(), 200);
    answer.json().await.expect("JSON")
}

/// One endpoint, by the standard variable alone, gets traces, metrics and logs.
#[tokio::test]
async fn a_collector_gets_traces_metrics_and_logs() {
    let (collector, address) = Collector::start().await;
    let mut app = TestApp::builder(Backend::Sqlite)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &address)
        .env("OTEL_SERVICE_NAME", "parley-of-a-test")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "200")
        .env("PARLEY_LOG_FILTER", "debug,sqlx=info,h2=info,sea_orm=info")
        .start()
        .await;
    speak(&app).await;
    // Prometheus, too, is told which trace took how long.
    let request = client().get(format!("http://{}/metrics", app.server.doors.admin));
    let answer = request
        .header("accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
        .send()
        .await
        .expect("metrics");
    assert!(
        answer.headers()["content-type"]
            .as_bytes()
            .starts_with(b"application/openmetrics-text")
    );
    let metrics = answer.text().await.expect("text");
    assert!(
        metrics.ends_with("# EOF\n") && metrics.contains(&format!("# {{trace_id=\"{TRACE}\"")),
        "{metrics}"
    );
    app.server.terminate();
    app.server.wait().await;

    let spans = collector.spans();
    let ours: Vec<&Span> = spans.iter().filter(|span| hex::encode(&span.trace_id) == TRACE).collect();
    let call = ours
        .iter()
        .find(|span| span.name == "parley.v1.MessagesService/CreateMessage")
        .unwrap_or_else(|| {
            panic!(
                "no span of the call among {:?}",
                spans.iter().map(|span| &span.name).collect::<Vec<_>>()
            )
        });
    assert_eq!(hex::encode(&call.parent_span_id), PARENT);
    assert_eq!(text(&call.attributes, "rpc.system.name").as_deref(), Some("grpc"));
    assert_eq!(text(&call.attributes, "rpc.response.status_code").as_deref(), Some("OK"));
    let (service, schema) = collector.look(|collected| {
        let resource = &collected.traces[0].resource_spans[0];
        let attributes = &resource.resource.as_ref().expect("a resource").attributes;
        (text(attributes, "service.name"), resource.scope_spans[0].schema_url.clone())
    });
    assert_eq!(service.as_deref(), Some("parley-of-a-test"));
    assert!(schema.starts_with("https://opentelemetry.io/schemas/"), "{schema}");

    let metrics: Vec<String> = collector.look(|collected| {
        let scopes = collected
            .metrics
            .iter()
            .flat_map(|sent| &sent.resource_metrics)
            .flat_map(|resource| &resource.scope_metrics);
        scopes
            .flat_map(|scope| scope.metrics.iter().map(|metric| metric.name.clone()))
            .collect()
    });
    for name in [
        "rpc.server.call.duration",
        "parley.writer.batch.messages",
        "db.client.connection.count",
        "parley.ready",
    ] {
        assert!(metrics.iter().any(|metric| metric == name), "{name} is not among {metrics:?}");
    }
    let logged = collector.look(|collected| format!("{:?}", collected.logs));
    assert!(logged.contains("listening") && logged.contains("drained"), "{logged}");
    for secret in [ADMINISTRATOR, CONTENT] {
        assert!(!logged.contains(secret), "{secret} was sent to the collector");
        let told = spans.iter().find(|span| format!("{span:?}").contains(secret));
        assert!(told.is_none(), "{secret} was sent to the collector: {told:?}");
    }
}

#[tokio::test]
async fn the_standard_switch_turns_everything_off() {
    let (collector, address) = Collector::start().await;
    let mut app = TestApp::builder(Backend::Sqlite)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &address)
        .env("OTEL_METRIC_EXPORT_INTERVAL", "100")
        .env("OTEL_SDK_DISABLED", "true")
        .start()
        .await;
    speak(&app).await;
    app.server.terminate();
    app.server.wait().await;
    let sent = collector.look(|collected| collected.traces.len() + collected.metrics.len() + collected.logs.len());
    assert_eq!(sent, 0);
}

/// Nothing that anybody said, and no token, stands in the log, however much of it is wanted; and lines of a recorded trace name it.
#[tokio::test]
async fn the_log_holds_no_message_and_no_token() {
    let (_collector, address) = Collector::start().await;
    let app = TestApp::builder(Backend::Sqlite)
        .platform()
        .env("PARLEY_TRACE_OTLP_ENDPOINT", &address)
        .env("PARLEY_LOG_FILTER", "trace")
        .start()
        .await;
    speak(&app).await;
    let request = CreateTokenRequest {
        kind: TokenKind::User.into(),
        user_id: Some(1),
        ..CreateTokenRequest::default()
    };
    let made = app.platform().accounts.create_token(request).await.expect("a token").into_inner();
    app.clients_with(&made.secret)
        .accounts
        .get_profile(parley::pb::GetProfileRequest {})
        .await
        .expect("it is good");
    let log = app.server.log();
    assert!(log.len() > 5000, "only {} bytes were logged", log.len());
    for secret in [ADMINISTRATOR, made.secret.as_str(), CONTENT] {
        let line = log.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "the log has {secret}: {line:?}");
    }
    assert!(
        log.contains(&format!(r#""trace_id":"{TRACE}""#)),
        "no line names the trace of the integrator"
    );
}

/// Every change of who may do what leaves a line that says who did it, and so does an attempt.
#[tokio::test]
async fn administering_leaves_a_line() {
    let app = TestApp::builder(Backend::Sqlite).platform().start().await;
    let mut request = CreateTokenRequest {
        kind: TokenKind::Service.into(),
        account_id: Some(1),
        name: "reports".to_owned(),
        read_only: true,
        ..CreateTokenRequest::default()
    };
    let made = app
        .clients()
        .accounts
        .create_token(request.clone())
        .await
        .expect("an administrator may")
        .into_inner();
    request.kind = TokenKind::Platform.into();
    request.account_id = None;
    app.clients_with(&made.secret)
        .accounts
        .create_token(request)
        .await
        .expect_err("a service may not");
    let audited = || -> Vec<Json> {
        let log = app.server.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
        lines.filter(|line| line["target"] == "parley::audit").collect()
    };
    // The answer may be here before the line has come through the pipe.
    in_time("two lines", async {
        while audited().len() < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    let lines = audited();
    let told: Vec<_> = lines
        .iter()
        .map(|line| (&line["call"], &line["who"], &line["account"], &line["code"]))
        .collect();
    let call = json!("parley.v1.AccountsService/CreateToken");
    let (user, service) = (json!("user 1"), json!("service reports"));
    assert_eq!(
        told,
        [
            (&call, &user, &json!(1), &json!("OK")),
            (&call, &service, &Json::Null, &json!("PERMISSION_DENIED")),
        ]
    );
}

async fn figures_tell_what_happened(backend: Backend) {
    let app = TestApp::start(backend).await;
    let request = SubscribeRequest {
        account_id: 1,
        start: Some(Start::Latest(())),
        ..SubscribeRequest::default()
    };
    let mut stream = app.clients().events.subscribe(request).await.expect("a stream").into_inner();
    speak(&app).await;
    in_time("an event", async {
        while stream
            .message()
            .await
            .expect("the stream goes on")
            .expect("it has no end")
            .events
            .is_empty()
        {}
    })
    .await;
    // Whatever paths people make up, they count together.
    let stranger = format!("http://{}/parley.v1.LabelsService/MadeUp", app.server.doors.grpc);
    let _ = client()
        .post(stranger)
        .header("content-type", "application/grpc-web+proto")
        .send()
        .await;
    let metrics = client()
        .get(format!("http://{}/metrics", app.server.doors.admin))
        .send()
        .await
        .expect("metrics")
        .text()
        .await
        .expect("text");
    let value = |name: &str, labels: &[&str]| -> f64 {
        let line = metrics
            .lines()
            .find(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)));
        let line = line.unwrap_or_else(|| panic!("no {name} {labels:?} in\n{metrics}"));
        line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
    };
    let calls = "rpc_server_call_duration_seconds_count";
    let created = [
        "rpc_method=\"parley.v1.MessagesService/CreateMessage\"",
        "rpc_response_status_code=\"OK\"",
    ];
    assert!((value(calls, &created) - 1.0).abs() < f64::EPSILON);
    assert!((value("parley_streams_open", &["parley_stream_kind=\"subscribe\""]) - 1.0).abs() < f64::EPSILON);
    // Two frames of events.frame_bytes.
    assert!((value("parley_stream_memory_limit_bytes", &[]) - 524_288.0).abs() < f64::EPSILON);
    assert!(value("parley_events_delivered_total", &["parley_source=\"memory\""]) >= 1.0);
    assert!(value("parley_delivery_lag_seconds_count", &[]) >= 1.0);
    assert!(value("parley_writer_batch_messages_count", &[]) >= 1.0);
    assert!(value("db_client_connection_count", &["db_client_connection_pool_name=\"write\""]) >= 0.0);
    assert!((value("parley_ready", &["parley_check=\"database\""]) - 1.0).abs() < f64::EPSILON);
    assert!(value(calls, &["rpc_method=\"_OTHER\""]) >= 1.0);
    assert!(!metrics.contains("MadeUp"));
}
