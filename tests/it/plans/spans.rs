//! The SQL statements of a call, taken from its trace.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::support::in_time;

/// The parent span of each call.
const PARENT: &str = "b7ad6b7169203331";

/// A collector of traces.
#[derive(Clone, Debug, Default)]
pub struct Spans(Arc<Mutex<HashMap<Vec<u8>, Trace>>>);

#[derive(Clone, Debug, Default)]
struct Trace {
    statements: Vec<String>,
    ended: bool,
}

impl Spans {
    /// Starts a collector. Returns it with its address.
    pub async fn start() -> (Self, String) {
        let spans = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(spans.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        (spans, address)
    }

    /// A request with this trace id.
    pub fn traced<T>(number: u128, body: T) -> Request<T> {
        let mut request = Request::new(body);
        request
            .metadata_mut()
            .insert("traceparent", Self::parent(number).parse().expect("ASCII"));
        request
    }

    /// The `traceparent` header of a request with this trace id.
    pub fn parent(number: u128) -> String {
        format!("00-{number:032x}-{PARENT}-01")
    }

    /// The statements of a completed call.
    pub async fn statements(&self, number: u128) -> Vec<String> {
        in_time("the spans of a call", async {
            loop {
                let trace = self.0.lock().expect("no collector panics").get(&number.to_be_bytes()[..]).cloned();
                // The root span of a call ends last.
                match trace {
                    Some(trace) if trace.ended => return trace.statements,
                    _ => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        })
        .await
    }
}

#[tonic::async_trait]
impl TraceService for Spans {
    async fn export(&self, request: Request<ExportTraceServiceRequest>) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        let mut traces = self.0.lock().expect("no collector panics");
        for span in scopes.flat_map(|scope| scope.spans) {
            let trace = traces.entry(span.trace_id).or_default();
            trace.ended |= hex::encode(&span.parent_span_id) == PARENT;
            let told = span.attributes.into_iter().find(|attribute| attribute.key == "db.statement");
            if let Some(Value::StringValue(statement)) = told.and_then(|told| told.value?.value) {
                trace.statements.push(statement);
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
