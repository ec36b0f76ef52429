//! A gRPC server with nothing but tonic, in a process of its own: an echo, and a stream from a broadcast channel. It measures the minimum
//! cost of a gRPC service.

use std::{
    convert::Infallible,
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command, Stdio},
    task::{Context, Poll},
};

use futures_util::{StreamExt as _, future::BoxFuture, stream::BoxStream};
use http::uri::PathAndQuery;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tonic::{
    Request, Response, Status,
    body::Body,
    client,
    server::{self, NamedService, ServerStreamingService, UnaryService},
    transport::{Channel, Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;

/// The argument that runs this program as the baseline server.
pub const ARGUMENT: &str = "baseline-server";
/// Capacity of the broadcast channel: larger than any burst, so that no subscriber lags.
const CAPACITY: usize = 65_536;

/// A message of about 300 bytes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Payload {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(string, tag = "2")]
    pub text: String,
}

impl Payload {
    pub fn new(id: u64) -> Self {
        Self { id, text: "x".repeat(290) }
    }
}

type Codec = ProstCodec<Payload, Payload>;

/// The baseline server: `Echo`, `Stream` and `Burst`, which broadcasts the number of messages given by the request's `id`.
#[derive(Clone, Debug)]
struct BaselineService(broadcast::Sender<Payload>);

impl NamedService for BaselineService {
    const NAME: &'static str = "bench.Baseline";
}

impl tower::Service<http::Request<Body>> for BaselineService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let baseline = self.clone();
        Box::pin(async move {
            let mut grpc = server::Grpc::new(Codec::default());
            Ok(match request.uri().path() {
                "/bench.Baseline/Echo" => grpc.unary(Echo, request).await,
                "/bench.Baseline/Burst" => grpc.unary(baseline, request).await,
                _ => grpc.server_streaming(baseline, request).await,
            })
        })
    }
}

struct Echo;

impl UnaryService<Payload> for Echo {
    type Response = Payload;
    type Future = std::future::Ready<Result<Response<Payload>, Status>>;

    fn call(&mut self, request: Request<Payload>) -> Self::Future {
        std::future::ready(Ok(Response::new(request.into_inner())))
    }
}

impl UnaryService<Payload> for BaselineService {
    type Response = Payload;
    type Future = std::future::Ready<Result<Response<Payload>, Status>>;

    fn call(&mut self, request: Request<Payload>) -> Self::Future {
        let request = request.into_inner();
        for id in 1..=request.id {
            // Fails only if there are no subscribers.
            let _ = self.0.send(Payload::new(id));
        }
        std::future::ready(Ok(Response::new(request)))
    }
}

impl ServerStreamingService<Payload> for BaselineService {
    type Response = Payload;
    type ResponseStream = BoxStream<'static, Result<Payload, Status>>;
    type Future = std::future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, _: Request<Payload>) -> Self::Future {
        let stream = BroadcastStream::new(self.0.subscribe()).map(|next| next.map_err(|error| Status::data_loss(error.to_string())));
        std::future::ready(Ok(Response::new(stream.boxed())))
    }
}

/// Serves until standard input is closed. The first line of standard output is the address.
pub async fn serve() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    println!("{}", listener.local_addr().expect("the listener is bound"));
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    tokio::task::spawn_blocking(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let baseline = BaselineService(broadcast::Sender::new(CAPACITY));
    Server::builder()
        .add_service(baseline)
        .serve_with_incoming(incoming)
        .await
        .expect("the baseline server runs");
}

#[derive(Debug)]
pub struct Process {
    child: Child,
    address: String,
}

impl Process {
    /// Starts this program again as the baseline server.
    pub fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().expect("the executable is a file"))
            .arg(ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the executable starts");
        let mut address = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("the output is piped"));
        output.read_line(&mut address).expect("the baseline server prints its address");
        Self {
            child,
            address: address.trim().to_owned(),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Opens several new connections.
    pub async fn connections(&self, count: usize) -> Vec<Channel> {
        super::server::connections(&self.address, count).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client of the baseline server.
#[derive(Clone, Debug)]
pub struct Client(client::Grpc<Channel>);

impl Client {
    pub fn new(channel: Channel) -> Self {
        Self(client::Grpc::new(channel))
    }

    /// Sends a message and receives it back.
    pub async fn echo(&mut self, payload: Payload) -> Result<Response<Payload>, Status> {
        self.unary(payload, "/bench.Baseline/Echo").await
    }

    /// Makes the server broadcast `count` messages at once.
    pub async fn burst(&mut self, count: u64) -> Result<Response<Payload>, Status> {
        self.unary(
            Payload {
                id: count,
                text: String::new(),
            },
            "/bench.Baseline/Burst",
        )
        .await
    }

    /// Subscribes to the broadcast.
    pub async fn stream(&mut self) -> Result<tonic::Streaming<Payload>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/bench.Baseline/Stream");
        let response = self
            .0
            .server_streaming(Request::new(Payload::default()), path, Codec::default())
            .await?;
        Ok(response.into_inner())
    }

    async fn unary(&mut self, payload: Payload, path: &'static str) -> Result<Response<Payload>, Status> {
        self.ready().await?;
        self.0
            .unary(Request::new(payload), PathAndQuery::from_static(path), Codec::default())
            .await
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.0.ready().await.map_err(|error| Status::unavailable(error.to_string()))
    }
}
