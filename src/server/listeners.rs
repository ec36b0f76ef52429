//! The gRPC listener (with gRPC-Web, health and reflection), and the HTTP listeners.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{
    Extension,
    extract::ConnectInfo,
    http::{HeaderName, Method},
};
use futures_util::stream;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use parley_admission::{
    client_address::TrustedProxies,
    rate_limit::{AnonymousLimits, Resource},
};
use parley_fault::Protection;
use parley_grpc::record_arrival;
use parley_proto as pb;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{service::Routes, transport::Server};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::{
    Layer as _,
    util::{MapFutureLayer, MapRequestLayer, MapResponseLayer},
};
use tower_http::{
    cors::{AllowHeaders, Any, CorsLayer},
    map_response_body::MapResponseBodyLayer,
};

use super::{
    coalesce::Coalesced,
    draining::ListenerDrain,
    grpc_body::BodyLimits,
    in_flight::{CountRequests, Peer},
    incoming::Incoming,
    lingering_close::{self, LingeringClose},
    stoppable_body::StoppableBody,
    unread_responses::{self, UnreadResponses},
};
use crate::{admin::Readiness, config};

/// Length of the accept queue. tokio's default, 128, overflows when a few hundred clients reconnect at the same time, as they do after a
/// restart; the kernel then drops their handshakes, and the clients retry after a second. Linux caps the value at `net.core.somaxconn`
/// (4096).
const BACKLOG: u32 = 1024;

/// Listens on the first address of `host:port` that can be bound, like [`TcpListener::bind`].
///
/// # Errors
/// Returns the last error if no address can be bound.
pub async fn listen(address: &str) -> io::Result<TcpListener> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the name does not resolve to an address");
    for address in tokio::net::lookup_host(address).await? {
        match listen_at(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // Permit a restarted server to bind while connections of its predecessor are in TIME_WAIT. On Windows the option has a different
    // meaning.
    if cfg!(unix) {
        socket.set_reuseaddr(true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves gRPC until `stop` is cancelled, then lets calls in flight finish. `longest_stream` is the upper bound of a stream's lifetime, if
/// there is one.
///
/// # Errors
/// Returns an error if the listener fails.
// Each parameter is a component that the caller has built.
#[allow(clippy::too_many_arguments)]
pub async fn grpc(
    incoming: Incoming,
    routes: Routes,
    config: config::Grpc,
    bodies: BodyLimits,
    longest_stream: Option<Duration>,
    trusted_proxies: TrustedProxies,
    anonymous: Arc<AnonymousLimits>,
    ready: watch::Receiver<Readiness>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status(LIVENESS, ServingStatus::Serving).await;
    let is_ready = ready.borrow().is_ready();
    set_serving(&health, is_ready).await;
    // Cancelled after the final health status was sent, to end health watches and reflection streams.
    let health_reported = CancellationToken::new();
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let charged = |services: Routes, resource, bytes| {
        let service = parley_grpc::TokenlessService {
            limits: Arc::clone(&anonymous),
            resource,
            memory: bodies.memory.clone(),
            bytes,
        };
        let charge = axum::middleware::from_fn_with_state(service, parley_grpc::charge);
        services.into_axum_router().reset_fallback().layer(charge)
    };
    let reflection =
        Routes::new(reflection().build_v1().context("reflection")?).add_service(reflection().build_v1alpha().context("reflection")?);
    let (resource, bytes) = if parley_fault::is_on(Protection::ReflectionStreams) {
        (Resource::Reflection, READ_AHEAD)
    } else {
        (Resource::Stream, 0)
    };
    let tokenless = charged(Routes::new(health_service), Resource::Stream, 0)
        .merge(charged(reflection, resource, bytes))
        .layer(MapResponseLayer::new({
            let health_reported = health_reported.clone();
            let draining = parley_grpc::shutdown_trailers();
            move |response: axum::response::Response| {
                response.map(|body| axum::body::Body::new(StoppableBody::new(health_reported.clone(), draining.clone(), body)))
            }
        }));
    let all = routes.into_axum_router().merge(tokenless);
    let connections = stream::unfold(incoming, |mut incoming| async move {
        let (connection, from) = incoming.next().await?;
        Some((Ok::<_, io::Error>(Coalesced::new(connection, from)), incoming))
    });
    let mut server = Server::builder()
        .http2_max_header_list_size(Some(HEADER_BYTES))
        .max_concurrent_streams(Some(config.max_concurrent_streams))
        .initial_connection_window_size(WINDOW_BYTES)
        .initial_stream_window_size(WINDOW_BYTES);
    if let Some(age) = config::age(config.max_connection_age_seconds) {
        server = server.max_connection_age(age);
        // Streams continue beyond the connection's maximum age, but none outlives `longest_stream` unless its client has stopped reading.
        if let Some(longest) = longest_stream {
            server = server.max_connection_age_grace(longest);
        }
    }
    let reporting = async {
        report_health(health, ready, stop.clone()).await;
        health_reported.cancel();
    };
    let serving = server
        // Required by gRPC-Web over HTTP/1.1.
        .accept_http1(true)
        .layer(CountRequests)
        .layer(MapFutureLayer::new(|call| parley_fault::measured("gRPC call", call)))
        .layer(MapResponseBodyLayer::new(parley_fault::measured_bodies("gRPC response body")))
        .layer(MapRequestLayer::new(move |request| {
            resolve(&trusted_proxies, record_arrival(request))
        }))
        .layer(cors())
        .layer(tonic_web::GrpcWebLayer::new())
        // This layer is inside the gRPC-Web layer, where gRPC-Web bodies have been converted to gRPC bodies.
        .layer(bodies)
        .http2_keepalive_interval(Some(Duration::from_secs(config.keepalive_interval_seconds)))
        .http2_keepalive_timeout(Some(Duration::from_secs(config.keepalive_timeout_seconds)))
        .add_routes(Routes::from(all).prepare())
        .serve_with_incoming_shutdown(connections, stop.clone().cancelled_owned());
    // Run the server and the health reporting in one task, so that a failure of either is reported as a failure of the listener.
    let (outcome, ()) = tokio::join!(serving, reporting);
    outcome.context("the gRPC listener")
}

/// Returns the CORS policy of gRPC-Web. Any origin is allowed: calls carry an explicit token and no cookies.
fn cors() -> CorsLayer {
    let exposed = [
        "grpc-status",
        "grpc-message",
        "grpc-status-details-bin",
        "parley-cursor-bin",
        "parley-reason",
        "ratelimit-limit",
        "ratelimit-remaining",
        "ratelimit-reset",
    ];
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::POST])
        // Mirror the request's headers: a wildcard does not cover `Authorization`.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed.map(HeaderName::from_static))
        .max_age(PREFLIGHT)
}

/// Keeps the health status up to date: every service, and the server as a whole, is serving while `/readyz` reports ready. Liveness is the
/// separate service [`LIVENESS`], which does not depend on other components. Ends when `stop` is cancelled, after reporting that nothing is
/// served any more.
async fn report_health(health: HealthReporter, mut ready: watch::Receiver<Readiness>, stop: CancellationToken) {
    loop {
        let is_ready = ready.borrow_and_update().is_ready();
        set_serving(&health, is_ready).await;
        match stop.run_until_cancelled(ready.changed()).await {
            Some(Ok(())) => {}
            _ => break,
        }
    }
    set_serving(&health, false).await;
    health.set_service_status(LIVENESS, ServingStatus::NotServing).await;
}

async fn set_serving(health: &HealthReporter, ready: bool) {
    let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    for name in pb::policy::services().chain([""]) {
        health.set_service_status(name, status).await;
    }
}

/// Name of the health service that reports whether the process is alive.
const LIVENESS: &str = "liveness";

/// How long a browser may cache the response to a preflight request.
const PREFLIGHT: Duration = Duration::from_hours(1);

/// Maximum size in bytes of the headers of one call.
const HEADER_BYTES: u32 = 32 * 1024;

/// How long an HTTP/2 client may take to answer a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Number of body bytes that an HTTP/2 connection may send before they are read, across all its streams. They are charged to no request,
/// and a connection may send them before its client is known. The HTTP library also derives its bound on small DATA frames from this value;
/// `docs/limits.md` has the calculation.
const WINDOW_BYTES: u32 = 256 * 1024;

/// Memory for data that a connection has sent but its requests have not read, rounded up: [`WINDOW_BYTES`], plus 350 bytes for each of
/// 1,024 DATA frames. A reflection stream reads nothing while its client does not read responses, so it holds this amount for as long as it
/// is open.
const READ_AHEAD: usize = 640 * 1024;

/// Maximum number of bytes that are read ahead over HTTP/1, which is also the maximum size of the request head.
const AHEAD_BYTES: usize = 64 * 1024;

/// Timeouts and limits of HTTP connections.
#[derive(Clone, Debug)]
pub struct HttpLimits {
    /// Time limit for receiving a request head, for an idle connection, and for a body that makes no progress.
    pub idle: Duration,
    /// How long a body may take in total, in addition to the time that is granted for its bytes (see `body_timeout`).
    pub body: Duration,
    /// Age at which the client of a connection is asked to close it. If `None`, connections have no maximum age.
    pub age: Option<Duration>,
    /// The proxies whose forwarding headers are trusted.
    pub trusted_proxies: TrustedProxies,
    /// Maximum number of concurrent requests on an HTTP/2 connection.
    pub max_concurrent_streams: u32,
    /// The responses that clients have not read yet.
    pub unread: UnreadResponses,
}

/// Stores, in the request's extensions, the client address to which the request is charged, if the connection's peer address is known.
fn resolve<B>(proxies: &TrustedProxies, mut request: http::Request<B>) -> http::Request<B> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    if let Some(ConnectInfo(peer)) = peer.copied() {
        let address = proxies.resolve(peer, request.headers());
        request.extensions_mut().insert(address);
    }
    request
}

/// Serves HTTP until `stop` is cancelled, then lets requests in flight finish until connections are aborted. If the future is dropped, open
/// connections continue on their own tasks.
pub async fn http(
    mut incoming: Incoming,
    router: axum::Router,
    limits: HttpLimits,
    stop: CancellationToken,
    draining: ListenerDrain,
) -> anyhow::Result<()> {
    let router = router
        .layer(axum::middleware::from_fn_with_state(limits.unread.clone(), unread_responses::watch))
        .layer(axum::middleware::from_fn_with_state(
            (limits.idle, limits.body),
            lingering_close::close_if_unread,
        ))
        .layer(MapRequestLayer::new(move |request| resolve(&limits.trusted_proxies, request)))
        .layer(MapFutureLayer::new(|request| parley_fault::measured("HTTP request", request)))
        .layer(MapResponseBodyLayer::new(parley_fault::measured_bodies("HTTP response body")));
    // axum's own server sets no timer on connections, so a client that sends half a request head would hold its connection forever.
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .max_buf_size(AHEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.idle)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_header_list_size(HEADER_BYTES)
        .max_concurrent_streams(limits.max_concurrent_streams)
        .initial_connection_window_size(WINDOW_BYTES)
        .initial_stream_window_size(WINDOW_BYTES)
        .enable_connect_protocol();
    let open = TaskTracker::new();
    while let Some(Some((connection, from))) = stop.run_until_cancelled(incoming.next()).await {
        let (builder, stop) = (builder.clone(), stop.clone());
        let peer = Peer {
            from,
            activity: connection.activity(),
            closer: connection.closer(),
        };
        let router = Extension(peer).layer(CountRequests.layer(router.clone()));
        let aborted = draining.aborted();
        open.spawn(parley_fault::measured("HTTP connection", async move {
            let io = TokioIo::new(LingeringClose::new(connection));
            let mut connection = pin!(builder.serve_connection_with_upgrades(io, TowerToHyperService::new(router)));
            let aged = async {
                match limits.age {
                    // Jitter of 10 percent, so that connections that were opened together do not close together.
                    Some(age) => sleep(age.mul_f64(rand::random_range(0.9..1.1))).await,
                    None => std::future::pending().await,
                }
            };
            let ending = async {
                tokio::select! { () = stop.cancelled() => {} () = aged => {} }
            };
            let served = async {
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = ending => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                }
            };
            let ended = tokio::select! {
                ended = served => ended,
                () = aborted => return,
            };
            if let Err(error) = ended {
                tracing::debug!(error, "connection failed");
            }
        }));
    }
    // Accept no further connections.
    drop(incoming);
    open.close();
    open.wait().await;
    Ok(())
}
