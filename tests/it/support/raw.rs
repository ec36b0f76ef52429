//! The log as bytes: events are sent exactly as they are stored, so two readings must be identical.

use bytes::Bytes;
use http::uri::PathAndQuery;
use parley_proto::{SubscribeRequest, subscribe_request::Start};
use tonic::{Request, client::Grpc};
use tonic_prost::ProstCodec;

use super::{
    clients::Clients,
    in_time,
    reader::{everything, log_info},
};

/// A delivery whose event is not decoded.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RawDelivery {
    /// As in `EventDelivery`.
    #[prost(uint64, tag = "1")]
    pub prev_seq: u64,
    /// The encoded event.
    #[prost(bytes = "bytes", tag = "3")]
    pub event: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawResponse {
    #[prost(message, repeated, tag = "1")]
    events: Vec<RawDelivery>,
}

/// The whole log of an account up to its current head, undecoded.
pub async fn raw_log(clients: &Clients, account: i64) -> Vec<RawDelivery> {
    let head = log_info(clients, account).await.head_seq;
    let mut grpc = Grpc::new(clients.service.clone());
    in_time("the service", grpc.ready()).await.expect("the server is there");
    let codec: ProstCodec<SubscribeRequest, RawResponse> = ProstCodec::default();
    let path = PathAndQuery::from_static("/parley.v1.EventsService/Subscribe");
    let request = Request::new(everything(account, Start::Earliest(())));
    let mut stream = in_time("Subscribe", grpc.server_streaming(request, path, codec))
        .await
        .expect("the stream opens")
        .into_inner();
    let mut log = Vec::new();
    while (log.len() as u64) < head {
        let response = in_time("the stream", stream.message()).await.expect("the stream goes on");
        log.extend(response.expect("the stream has no end of its own").events);
    }
    log
}
