//! Whatever a request contains, its refusal fits into the metadata that clients accept, 8 KiB by default.

use http::uri::PathAndQuery;
use parley_proto as pb;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value};
use serde_json::json;
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Channel, Endpoint},
};

use super::{CONTACTS, server};
use crate::support::{app::ADMINISTRATOR, clients::Clients, database::Backend, fault::assert_refused, in_time, on_both};

on_both!(every_refusal_fits_into_metadata, unknown_names_of_any_length_are_not_found);

/// The metadata that gRPC clients accept by default, in bytes.
const METADATA: usize = 8 * 1024;

/// The length of every text, in characters.
const LONG: usize = 100_000;

/// The size of a status as HTTP/2 counts header lists.
fn header_bytes(status: &Status) -> usize {
    let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'%';
    let message: usize = status.message().bytes().map(|byte| if plain(byte) { 1 } else { 3 }).sum();
    let details = status.details().len().div_ceil(3) * 4;
    let others = status.metadata().as_ref();
    let others: usize = others.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    // The names of `grpc-status`, `grpc-message` and `grpc-status-details-bin`, with the overhead of 32 bytes each.
    message + details + others + 3 * 32 + 48
}

async fn every_refusal_fits_into_metadata(backend: Backend) {
    let app = server(backend, "").await;
    app.fixture().talk().await;
    // This client accepts any metadata, so that oversized metadata is measured instead of failing.
    let channel = Endpoint::from_shared(format!("http://{}", app.server.listeners.grpc))
        .expect("an address")
        .http2_max_header_list_size(64 * 1024 * 1024)
        .connect_lazy();
    let pool = DescriptorPool::decode(pb::DESCRIPTORS).expect("the program carries its own description");
    let services = pool.services().filter(|service| service.package_name() == "parley.v1");
    let mut refused = 0;
    for method in services.flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let mut texts = Vec::new();
        collect(&method.input(), &mut Vec::new(), &mut texts);
        // Each text alone, because the first invalid one may hide the others, and all at once.
        let all = texts.clone();
        let requests = texts.iter().map(std::slice::from_ref).chain(std::iter::once(all.as_slice()));
        for paths in requests {
            let request = filled(&method.input(), paths, 0).encode_to_vec();
            if let Err(status) = call(&channel, &method, request).await {
                let bytes = header_bytes(&status);
                assert!(
                    bytes < METADATA,
                    "{} {paths:?}: {bytes} bytes of metadata: {:?}",
                    method.full_name(),
                    status.code()
                );
                refused += 1;
            }
        }
    }
    assert!(refused > 300, "only {refused} requests were refused");
}

/// The paths of all string fields of a message, down to four levels.
fn collect(message: &MessageDescriptor, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    for field in message.fields() {
        path.push(field.name().to_owned());
        match field.kind() {
            Kind::String => found.push(path.clone()),
            Kind::Message(inner) if inner.package_name() == "parley.v1" && path.len() < 4 => collect(&inner, path, found),
            Kind::Message(inner) if inner.full_name() == "google.protobuf.Struct" || inner.full_name() == "google.protobuf.FieldMask" => {
                found.push(path.clone());
            }
            _ => {}
        }
        path.pop();
    }
}

/// A request with long texts at these paths, whose other fields refer to existing rows.
fn filled(message: &MessageDescriptor, paths: &[Vec<String>], level: usize) -> DynamicMessage {
    let mut made = DynamicMessage::new(message.clone());
    for field in message.fields() {
        let inside: Vec<Vec<String>> = paths
            .iter()
            .filter(|path| path.get(level).is_some_and(|name| name == field.name()))
            .cloned()
            .collect();
        let value = if inside.is_empty() {
            usual(&field)
        } else {
            long(&field, &inside, level)
        };
        if let Some(value) = value {
            made.set_field(&field, if field.is_list() { Value::List(vec![value]) } else { value });
        }
    }
    made
}

fn long(field: &FieldDescriptor, inside: &[Vec<String>], level: usize) -> Option<Value> {
    let text = || Value::String("é".repeat(LONG));
    match field.kind() {
        Kind::String if !field.is_map() => Some(text()),
        Kind::Message(inner) if inner.full_name() == "google.protobuf.Struct" => {
            let mut made = DynamicMessage::new(inner.clone());
            let fields = inner.get_field_by_name("fields").expect("it is a struct");
            let Kind::Message(entry) = fields.kind() else { return None };
            let Kind::Message(value) = entry.map_entry_value_field().kind() else {
                return None;
            };
            let mut number = DynamicMessage::new(value);
            // Not finite, so it is refused with the path of its key.
            number.set_field_by_name("number_value", Value::F64(f64::INFINITY));
            let key = prost_reflect::MapKey::String("é".repeat(LONG));
            made.set_field(&fields, Value::Map([(key, Value::Message(number))].into()));
            Some(Value::Message(made))
        }
        Kind::Message(inner) if inner.full_name() == "google.protobuf.FieldMask" => {
            let mut mask = DynamicMessage::new(inner);
            mask.set_field_by_name("paths", Value::List(vec![text()]));
            Some(Value::Message(mask))
        }
        Kind::Message(inner) if !field.is_map() => Some(Value::Message(filled(&inner, inside, level + 1))),
        _ => None,
    }
}

fn usual(field: &FieldDescriptor) -> Option<Value> {
    match (field.kind(), field.name()) {
        (Kind::Int64, name) if name.ends_with("_id") && !field.is_list() => Some(Value::I64(1)),
        (Kind::String, "inbox_identifier") => Some(Value::String("inbox-a".to_owned())),
        _ => None,
    }
}

async fn call(channel: &Channel, method: &MethodDescriptor, request: Vec<u8>) -> Result<(), Status> {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let path = PathAndQuery::try_from(path).expect("a path");
    let mut grpc = Grpc::new(channel.clone());
    in_time("the service", grpc.ready()).await.expect("the server is there");
    let mut request = Request::new(futures_util::stream::iter([request]));
    request
        .metadata_mut()
        .insert("api_access_token", ADMINISTRATOR.parse().expect("a token"));
    in_time("an answer", async {
        let mut stream = grpc.streaming(request, path, Plain).await?.into_inner();
        // The first message suffices: streams do not end by themselves.
        stream.message().await.map(drop)
    })
    .await
}

/// The original report: a long name over gRPC, and the same name over the JSON API.
async fn unknown_names_of_any_length_are_not_found(backend: Backend) {
    let app = server(backend, "").await;
    let long = "x".repeat(LONG);
    let mut client = Clients::new(&app.server.listeners.grpc, None).client;
    for (inbox_identifier, source_id) in [("inbox-a".to_owned(), long.clone()), (long.clone(), long.clone())] {
        let session = pb::ClientSession {
            inbox_identifier,
            source_id,
        };
        let request = pb::GetClientSessionRequest {
            session: Some(session),
            ..Default::default()
        };
        assert_refused(client.get_client_session(request).await, Code::NotFound, "NOT_FOUND");
    }
    let http = app.http();
    let name = "x".repeat(20_000);
    let answer = http.send("GET", &format!("{CONTACTS}/{name}"), None).await;
    assert_eq!(answer.status, 404);
    let choice = json!({"status": name, "content": "x", "message_type": name});
    let talk = app.fixture().talk().await;
    let answer = http
        .send("POST", &format!("/api/v1/accounts/1/conversations/{talk}/messages"), Some(&choice))
        .await;
    assert_eq!(answer.status, 422);
    assert!(answer.body.to_string().len() < 1000, "{}", answer.body);
}

/// Shows that the tests above measure something.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_limit_a_refusal_cannot_be_received() {
    let app = server(Backend::Sqlite, "status_size").await;
    let session = pb::ClientSession {
        inbox_identifier: "inbox-a".to_owned(),
        source_id: "x".repeat(LONG),
    };
    let request = pb::GetClientSessionRequest {
        session: Some(session),
        ..Default::default()
    };
    let mut client = Clients::new(&app.server.listeners.grpc, None).client;
    let refused = in_time("an answer", client.get_client_session(request))
        .await
        .expect_err("a refusal");
    assert_ne!(refused.code(), Code::NotFound);
}

/// A codec that sends messages as bytes.
#[derive(Clone, Copy, Debug)]
struct Plain;

impl Codec for Plain {
    type Encode = Vec<u8>;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Ignored;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Ignored {
        Ignored
    }
}

impl Encoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(out, &item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

/// A response whose content is ignored.
#[derive(Debug)]
struct Ignored;

impl Decoder for Ignored {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        let remaining = bytes::Buf::remaining(from);
        bytes::Buf::advance(from, remaining);
        Ok(Some(()))
    }
}
