//! Overhead of telemetry: throughput with traces (one in ten), metrics and logs sent to a collector, compared with a server that exports
//! nothing.

use std::time::Instant;

use opentelemetry_proto::tonic::collector::{
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
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::{
    Options,
    create_message::create,
    support::{
        cluster::{Cluster, Durability},
        fixture::Fixture,
        measurements::{cpu_seconds, median},
        server::Server,
    },
};

/// A collector that discards everything it receives.
#[derive(Clone, Debug)]
struct Collector;

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(&self, _: Request<ExportTraceServiceRequest>) -> Result<Response<ExportTraceServiceResponse>, Status> {
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(&self, _: Request<ExportMetricsServiceRequest>) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(&self, _: Request<ExportLogsServiceRequest>) -> Result<Response<ExportLogsServiceResponse>, Status> {
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

/// Measures the two servers alternately and prints the ratios.
pub async fn run(options: &Options) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let endpoint = format!("http://{}", listener.local_addr().expect("the listener is bound"));
    let collector = tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(Collector))
        .add_service(MetricsServiceServer::new(Collector))
        .add_service(LogsServiceServer::new(Collector))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let collector = tokio::spawn(collector);
    // The speed of the disk varies. Telemetry costs processor time only, so measure without durability.
    let cluster = Cluster::start(Durability::None);
    cluster.create("disabled");
    cluster.create("enabled");
    let disabled = Fixture::create(Server::start(&cluster.url("disabled")), 50).await;
    let settings = [
        ("PARLEY_TRACE_OTLP_ENDPOINT", endpoint.as_str()),
        ("PARLEY_TRACE_SAMPLE_RATIO", "0.1"),
    ];
    let enabled = Fixture::create(Server::start_with(&cluster.url("enabled"), &settings), 50).await;
    println!(
        "\n| round | telemetry enabled, 10 % of traces | telemetry disabled | ratio | CPU time per message, ratio |\n|---|---|---|---|---|"
    );
    for fixture in [&disabled, &enabled] {
        // Warm up: the first messages of a database run on cold caches.
        measure(fixture, options.seconds).await;
    }
    let (mut ratios, mut costs) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        // Alternate the order in each round.
        let (on, off) = if round % 2 == 0 {
            let on = measure(&enabled, options.seconds).await;
            (on, measure(&disabled, options.seconds).await)
        } else {
            let off = measure(&disabled, options.seconds).await;
            (measure(&enabled, options.seconds).await, off)
        };
        ratios.push(on.0 / off.0);
        costs.push(on.1 / off.1);
        println!(
            "| {round} | {:.0}/s, {:.0} µs | {:.0}/s, {:.0} µs | {:.2} | {:.2} |",
            on.0,
            on.1,
            off.0,
            off.1,
            on.0 / off.0,
            on.1 / off.1
        );
    }
    println!(
        "\nmedians: throughput {:.2} (goal: at least 0.95), CPU time per message {:.2}",
        median(&ratios),
        median(&costs)
    );
    collector.abort();
}

/// Returns messages per second, and the server's processor time per message in microseconds. The latter does not depend on the disk or on
/// other load of the machine.
async fn measure(fixture: &Fixture, seconds: u64) -> (f64, f64) {
    let (started, before) = (Instant::now(), cpu_seconds(fixture.server.pid()));
    let rate = create(fixture, seconds).await;
    let used = cpu_seconds(fixture.server.pid()) - before;
    (rate, used * 1e6 / (rate * started.elapsed().as_secs_f64()))
}
