//! What a collector receives, and how it is connected.

use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use super::{
    CONTENT, PARENT, TRACE,
    collector::{Collector, text},
    lines, lines_in_time, speak,
};
use crate::support::{
    app::{ADMINISTRATOR, TestApp},
    authority::Authority,
    database::Backend,
    http::client,
    in_time,
};

/// With a single endpoint, set by the standard variable, a collector receives traces, metrics and logs.
#[tokio::test]
async fn collector_receives_traces_metrics_and_logs() {
    let (collector, address) = Collector::start().await;
    let mut app = TestApp::builder(Backend::Sqlite)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &address)
        .env("OTEL_SERVICE_NAME", "parley-of-a-test")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "200")
        .env("PARLEY_LOG_FILTER", "debug,sqlx=info,h2=info,sea_orm=info")
        .start()
        .await;
    speak(&app).await;
    // Prometheus receives exemplars with trace ids too.
    let request = client().get(format!("http://{}/metrics", app.server.listeners.admin));
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
    let request = ours
        .iter()
        .find(|span| span.span_id == call.parent_span_id)
        .expect("the REST gateway's span");
    assert_eq!(hex::encode(&request.parent_span_id), PARENT);
    let route = "/api/v1/accounts/{account_id}/conversations/{conversation_id}/messages";
    assert_eq!(request.name, format!("POST {route}"));
    assert_eq!(text(&request.attributes, "http.route").as_deref(), Some(route));
    assert_eq!(text(&request.attributes, "http.request.method").as_deref(), Some("POST"));
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
        "http.server.request.duration",
        "db.client.operation.duration",
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

/// Resource attributes distinguish replicas, and instruments have the kinds and units of the semantic conventions.
#[tokio::test]
async fn replicas_and_instruments_follow_semantic_conventions() {
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    let mut ids = Vec::new();
    for attributes in ["", "", "service.instance.id=the-id-of-the-pod,other=1"] {
        let (collector, address) = Collector::start().await;
        let mut app = TestApp::builder(Backend::Sqlite)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &address)
            .env("OTEL_RESOURCE_ATTRIBUTES", attributes)
            .start()
            .await;
        speak(&app).await;
        app.server.terminate();
        app.server.wait().await;
        collector.look(|collected| {
            let sent = &collected.metrics[0].resource_metrics[0];
            let resource = sent.resource.as_ref().expect("a resource");
            ids.push(text(&resource.attributes, "service.instance.id").expect("always set"));
            assert_eq!(text(&resource.attributes, "service.name").as_deref(), Some("parley"));
            let metrics = || sent.scope_metrics.iter().flat_map(|scope| &scope.metrics);
            let metric = |name: &str| metrics().find(|metric| metric.name == name).expect("it is sent");
            let connections = metric("db.client.connection.count");
            assert_eq!(connections.unit, "{connection}");
            let Some(Data::Sum(sum)) = &connections.data else {
                panic!("{connections:?}")
            };
            assert!(!sum.is_monotonic, "an up-down counter");
            for name in [
                "rpc.server.call.duration",
                "http.server.request.duration",
                "db.client.operation.duration",
            ] {
                assert_eq!(metric(name).unit, "s", "{name}");
                assert!(matches!(metric(name).data, Some(Data::Histogram(_))), "{name}");
            }
            for metric in metrics().filter(|metric| metric.name != "parley.ready") {
                assert!(!metric.unit.is_empty(), "{} has no unit", metric.name);
            }
        });
    }
    assert_eq!(ids[2], "the-id-of-the-pod");
    assert!(ids[0] != ids[1] && ids[0].len() == 36, "{ids:?}");
}

#[tokio::test]
async fn standard_variable_disables_all_exports() {
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

/// Over TLS: with the machine's trust store, with an authority from the variable, and with a client certificate.
#[tokio::test]
async fn collector_is_reached_over_tls() {
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    let file = |name: &str, pem: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).expect("written");
        path.display().to_string()
    };
    let (certificate, key) = authority.sign("localhost");
    let server = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
    let strict = server.clone().client_ca_root(Certificate::from_pem(&authority.pem));
    let ca = file("ca.crt", &authority.pem);
    let stranger = file("stranger.crt", &Authority::new().pem);
    let (certificate, key) = authority.sign("parley");
    let (certificate, key) = (file("tls.crt", &certificate), file("tls.key", &key));
    let named = ("OTEL_EXPORTER_OTLP_CERTIFICATE", ca.as_str());
    let own = [
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", certificate.as_str()),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", key.as_str()),
    ];
    // `SSL_CERT_FILE` replaces the machine's own trust store.
    let cases = [
        (server.clone(), vec![("SSL_CERT_FILE", ca.as_str())], true),
        (server.clone(), vec![named], true),
        (server, vec![("SSL_CERT_FILE", stranger.as_str())], false),
        (strict.clone(), vec![named, own[0], own[1]], true),
        (strict, vec![named], false),
    ];
    for (server, settings, arrives) in cases {
        let (collector, address) = Collector::start_secured(server).await;
        let mut app = TestApp::builder(Backend::Sqlite)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("https://localhost:{}", address.port()))
            .env("OTEL_EXPORTER_OTLP_TIMEOUT", "1000");
        for (name, value) in &settings {
            app = app.env(name, value);
        }
        let mut app = app.start().await;
        app.server.terminate();
        app.server.wait().await;
        let logs = collector.look(|collected| collected.logs.len());
        assert_eq!(logs > 0, arrives, "{settings:?}: {}", app.server.log());
    }
}

/// Export failures are logged at a limited rate, and are not exported themselves.
#[tokio::test]
async fn failed_export_is_logged() {
    let (collector, address) = Collector::start().await;
    let app = TestApp::builder(Backend::Sqlite)
        .env("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", &address)
        .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:1")
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .env("OTEL_BLRP_SCHEDULE_DELAY", "50")
        .start()
        .await;
    let failures = |line: &serde_json::Value| line["target"] == "opentelemetry_sdk" && line["level"] == "ERROR";
    for _ in 0..5 {
        speak(&app).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let told = lines_in_time(&app, 1, failures).await;
    assert!(told[0].to_string().contains("BatchSpanProcessor.ExportError"), "{told:?}");
    // The listening lines have arrived, so lines logged before them have been exported.
    in_time("lines at the collector", async {
        while !collector.look(|collected| format!("{:?}", collected.logs).contains("listening")) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let sent = collector.look(|collected| format!("{:?}", collected.logs));
    assert!(!sent.contains("ExportError"), "{sent}");
    assert_eq!(lines(&app, failures).len(), 1, "once in ten seconds");
}

/// The log filter does not affect which spans are exported.
#[tokio::test]
async fn log_filter_does_not_affect_spans() {
    let (collector, address) = Collector::start().await;
    let mut app = TestApp::builder(Backend::Sqlite)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &address)
        .env("PARLEY_LOG_FILTER", "warn,parley=info")
        .start()
        .await;
    speak(&app).await;
    app.server.terminate();
    app.server.wait().await;
    let spans = collector.spans();
    let call = spans.iter().find(|span| span.name == "parley.v1.MessagesService/CreateMessage");
    assert_eq!(call.map(|span| hex::encode(&span.trace_id)).as_deref(), Some(TRACE));
    let own = |span: &&Span| {
        !["parley.v1.", "POST /", "BATCH INSERT", "INSERT", "TRANSACTION"]
            .iter()
            .any(|known| span.name.starts_with(known))
    };
    assert_eq!(spans.iter().find(own), None, "and none of other crates is made");
}
