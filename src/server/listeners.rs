//! The listeners: gRPC with gRPC-Web, health and reflection; HTTP.

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
    draining::Draining,
    ending::Ending,
    grpc_body::BodyLimits,
    in_flight::{CountRequests, Peer},
    incoming::Incoming,
    linger::{self, Patient},
    unread::{self, Unread},
};
use crate::{admin::Readiness, config};

/// Connections that wait to be accepted. tokio's default, 128, overflows when some hundred clients reconnect at once, as they do after a
/// restart; the system then drops their handshakes, and they try again after a second. Linux takes `net.core.somaxconn` (4096) at most.
const BACKLOG: u32 = 1024;

/// Listens at the first address of `host:port` that can be bound, as [`TcpListener::bind`] does.
///
/// # Errors
/// When none can be.
pub async fn listen(address: &str) -> io::Result<TcpListener> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
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
    // A server that starts again need not wait for its former connections. On Windows the option means something else.
    if cfg!(unix) {
        socket.set_reuseaddr(true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves gRPC until `stop`, then lets calls in flight finish. No stream lives longer than `longest_stream`, if that is known.
///
/// # Errors
/// When the listener fails.
// Each is a part of its own that the caller has built.
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
    say(&health, is_ready).await;
    // Watches and reflection end once the last status was reported.
    let told = CancellationToken::new();
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
            let told = told.clone();
            let draining = parley_grpc::shutdown_trailers();
            move |answer: axum::response::Response| {
                answer.map(|body| axum::body::Body::new(Ending::at(told.clone(), draining.clone(), body)))
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
        .initial_connection_window_size(WINDOW)
        .initial_stream_window_size(WINDOW);
    if let Some(age) = config::age(config.max_connection_age_seconds) {
        server = server.max_connection_age(age);
        // Streams go on, but none is older than they may be. One that is still there was left unread.
        if let Some(longest) = longest_stream {
            server = server.max_connection_age_grace(longest);
        }
    }
    let telling = async {
        tell_health(health, ready, stop.clone()).await;
        told.cancel();
    };
    let serving = server
        // gRPC-Web comes over HTTP/1.1 too.
        .accept_http1(true)
        .layer(CountRequests)
        .layer(MapFutureLayer::new(|call| parley_fault::measured("gRPC call", call)))
        .layer(MapResponseBodyLayer::new(parley_fault::measured_bodies("gRPC response body")))
        .layer(MapRequestLayer::new(move |request| {
            resolve(&trusted_proxies, record_arrival(request))
        }))
        .layer(web_pages())
        .layer(tonic_web::GrpcWebLayer::new())
        // Within, where bodies of gRPC-Web are those of gRPC.
        .layer(bodies)
        .http2_keepalive_interval(Some(Duration::from_secs(config.keepalive_interval_seconds)))
        .http2_keepalive_timeout(Some(Duration::from_secs(config.keepalive_timeout_seconds)))
        .add_routes(Routes::from(all).prepare())
        .serve_with_incoming_shutdown(connections, stop.clone().cancelled_owned());
    // In one task: a failure of either is the listener's.
    let (outcome, ()) = tokio::join!(serving, telling);
    outcome.context("the gRPC listener")
}

/// Pages of anybody may call: whoever does shows a token, and nothing comes along by itself as cookies do.
fn web_pages() -> CorsLayer {
    let told = [
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
        // Echoed: a wildcard does not cover `Authorization`.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(told.map(HeaderName::from_static))
        .max_age(PREFLIGHT)
}

/// Keeps what health says up to date: each service is ready or not, as `/readyz` has it, and so is the server as a whole; whether it lives is
/// [`LIVENESS`], which asks nobody. Ends when `stop` does: from then on nothing is served.
async fn tell_health(health: HealthReporter, mut ready: watch::Receiver<Readiness>, stop: CancellationToken) {
    loop {
        let is_ready = ready.borrow_and_update().is_ready();
        say(&health, is_ready).await;
        match stop.run_until_cancelled(ready.changed()).await {
            Some(Ok(())) => {}
            _ => break,
        }
    }
    say(&health, false).await;
    health.set_service_status(LIVENESS, ServingStatus::NotServing).await;
}

async fn say(health: &HealthReporter, ready: bool) {
    let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    for name in pb::policy::services().chain([""]) {
        health.set_service_status(name, status).await;
    }
}

/// What health is asked for to learn whether the process lives.
const LIVENESS: &str = "liveness";

/// For how long a browser need not ask again whether a page may call.
const PREFLIGHT: Duration = Duration::from_hours(1);

/// Bytes of the headers of one call.
const HEADER_BYTES: u32 = 32 * 1024;

/// How long the answer to a ping may take over HTTP/2.
const PING: Duration = Duration::from_secs(20);

/// Bytes of bodies that an HTTP/2 connection may send before they are read, all its streams together. They are charged to no request, and a
/// connection may have them before its client is known. The HTTP library also bounds small DATA frames by it; `docs/limits.md` does the sum.
const WINDOW: u32 = 256 * 1024;

/// Memory of what a connection has sent and its requests have not read, rounded up: [`WINDOW`], and 350 bytes for each of 1,024 DATA frames.
/// A stream of reflection reads nothing while its client takes no answers, so it holds as much for as long as it is open.
const READ_AHEAD: usize = 640 * 1024;

/// Bytes that are read ahead over HTTP/1, and so the most that a head may have.
const AHEAD_BYTES: usize = 64 * 1024;

/// How connections of HTTP end.
#[derive(Clone, Debug)]
pub struct Ends {
    /// How long a head may take, a connection rest, and a body stand still.
    pub idle: Duration,
    /// How long a body may take, beside what its bytes earn.
    pub body: Duration,
    /// When a connection is asked to end; none: never.
    pub age: Option<Duration>,
    /// The proxies whose forwarding headers are believed.
    pub trusted_proxies: TrustedProxies,
    /// Requests that an HTTP/2 connection may have open.
    pub max_concurrent_streams: u32,
    /// The answers that clients have not taken yet.
    pub unread: Unread,
}

/// Stores the address that a request is charged to, where its connection is known.
fn resolve<B>(proxies: &TrustedProxies, mut request: http::Request<B>) -> http::Request<B> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    if let Some(ConnectInfo(peer)) = peer.copied() {
        let address = proxies.resolve(peer, request.headers());
        request.extensions_mut().insert(address);
    }
    request
}

/// Serves HTTP until `stop`, then lets requests in flight finish, until connections are cut. Cancel safe as far as what it serves is:
/// connections go on by themselves.
pub async fn http(
    mut incoming: Incoming,
    router: axum::Router,
    ends: Ends,
    stop: CancellationToken,
    draining: Draining,
) -> anyhow::Result<()> {
    let router = router
        .layer(axum::middleware::from_fn_with_state(ends.unread.clone(), unread::watch))
        .layer(axum::middleware::from_fn_with_state((ends.idle, ends.body), linger::tell))
        .layer(MapRequestLayer::new(move |request| resolve(&ends.trusted_proxies, request)))
        .layer(MapFutureLayer::new(|request| parley_fault::measured("HTTP request", request)))
        .layer(MapResponseBodyLayer::new(parley_fault::measured_bodies("HTTP response body")));
    // axum's own server gives connections no timer, so half a head would keep its place for ever.
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(ends.idle)
        .max_buf_size(AHEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(ends.idle)
        .keep_alive_timeout(PING)
        .max_header_list_size(HEADER_BYTES)
        .max_concurrent_streams(ends.max_concurrent_streams)
        .initial_connection_window_size(WINDOW)
        .initial_stream_window_size(WINDOW)
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
        let cut = draining.is_cut();
        open.spawn(parley_fault::measured("HTTP connection", async move {
            let io = TokioIo::new(Patient::new(connection));
            let mut connection = pin!(builder.serve_connection_with_upgrades(io, TowerToHyperService::new(router)));
            let old = async {
                match ends.age {
                    // Give or take a tenth: connections that began together do not end together.
                    Some(age) => sleep(age.mul_f64(rand::random_range(0.9..1.1))).await,
                    None => std::future::pending().await,
                }
            };
            let ending = async {
                tokio::select! { () = stop.cancelled() => {} () = old => {} }
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
                () = cut => return,
            };
            if let Err(error) = ended {
                tracing::debug!(error, "a connection failed");
            }
        }));
    }
    // Nobody is let in any more.
    drop(incoming);
    open.close();
    open.wait().await;
    Ok(())
}
