//! Follows the events of an account until it is stopped: `cargo run --example follow -- http://127.0.0.1:50051 TOKEN`.
//!
//! With `OTEL_EXPORTER_OTLP_ENDPOINT`, the processing of each event is traced, and linked to the request that caused the event.

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use parley_client::{Error, Server, Step, Subscriber, processing};
use parley_proto::{Event, EventFilter, subscribe_request::Start};
use tracing_subscriber::{filter::LevelFilter, filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(address), Some(token)) = (words.next(), words.next()) else {
        return Err("an address and a token are needed".into());
    };
    if std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_some() {
        trace()?;
    }
    let server = Server::connect(&address, &token)?;
    let mut subscriber = Subscriber::new(server, 1, Some(Start::Earliest(())), EventFilter::default());
    loop {
        match subscriber.next().await {
            Ok(Step::Response(response)) => {
                for delivery in response.events {
                    let event = delivery.event.unwrap_or_default();
                    // For asynchronous work, attach the span with `tracing::Instrument`.
                    processing(&event).in_scope(|| work(&event));
                }
                // Store subscriber.cursor() together with the effect of your work.
            }
            Ok(Step::Resuming { reason, pause }) => eprintln!("{reason}; trying again in {pause:?}"),
            // Your copy no longer belongs to this log: discard it, and start again.
            Err(Error::LostPosition(lost)) => {
                eprintln!("{lost}");
                subscriber.restart(Start::Snapshot(()));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn work(event: &Event) {
    println!("{} {}", event.seq, event.kind_name);
}

/// Exports spans to a collector. Only the spans of the work: the exporter is itself a gRPC client, and exporting its spans would create more spans
/// without end.
fn trace() -> Result<(), Box<dyn std::error::Error>> {
    let exporter = SpanExporter::builder().with_tonic().build()?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(Resource::builder().with_service_name("follow").build())
        .build();
    tracing_subscriber::registry()
        .with(Targets::new().with_target("parley_client", LevelFilter::INFO))
        .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("follow")))
        .init();
    Ok(())
}
