//! Entry points for the fuzz targets: the parsers of untrusted input in this crate. Not part of the crate's API.

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use parley_proto as pb;
use prost::Message as _;

use crate::{
    params::{
        Form, Params, lossless_json,
        multipart::{Parts, TextLimit},
    },
    realtime::cable,
    resources::filters,
};

/// Parses the input as a JSON body.
pub fn json(body: &[u8]) {
    if let Ok(text) = std::str::from_utf8(body) {
        let _ = lossless_json::parse(text);
    }
}

/// Parses the input as a URL-encoded form body.
pub fn form(body: &[u8]) {
    let _ = Params::default().form(body);
}

/// Parses the input as a multipart form with the boundary `x`. The first byte determines the size of the chunks in which the body arrives.
pub async fn multipart(body: &[u8]) {
    let size = body.first().map_or(1, |byte| usize::from(*byte) * 64 + 16);
    let pieces: Vec<_> = body
        .chunks(size)
        .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
        .collect();
    let mut parts = Parts::whole(Body::from_stream(stream::iter(pieces)), "x", TextLimit(usize::MAX));
    let mut form = Form::new(None);
    while let Ok(Some(part)) = parts.next().await {
        if form.add(part, &[]).await.is_err() {
            return;
        }
    }
}

/// Parses the input as a frame sent by a client of `/cable`.
pub fn cable_frame(frame: &[u8]) {
    if let Ok(text) = std::str::from_utf8(frame) {
        cable::read_frame(text);
    }
}

/// Parses the input as a contact filter in JSON, and returns the encoded gRPC request.
pub fn filter(body: &[u8]) -> Option<Vec<u8>> {
    let mut params = Params::default();
    params.json(&Bytes::copy_from_slice(body)).ok()?;
    let request = pb::FilterContactsRequest {
        filter: Some(filters::read(&params.fields()).ok()?),
        ..Default::default()
    };
    Some(request.encode_to_vec())
}
