//! Follows an account for good: `cargo run --example follow -- http://127.0.0.1:50051 TOKEN`.
//!
//! With `OTEL_EXPORTER_OTLP_ENDPOINT`, its work on each event is traced, and linked to the request that caused the event.

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
                    // Work that waits takes its span along by `tracing::Instrument`.
                    processing(&event).in_scope(|| work(&event));
                }
                // Store subscriber.cursor() together with what you did.
            }
            Ok(Step::Resuming { why, pause }) => eprintln!("{why}; trying again in {pause:?}"),
            // What you hold is not the beginning of this log any more: throw it away, and begin again.
            Err(Error::Lost(lost)) => {
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

/// Sends spans to a collector. Only those of the work: the exporter is a gRPC client itself, whose spans would never end.
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
