//! Calls any method of the contract with a well-formed request: ids are 1, texts are short, and a mask names the first updatable field.

use http::uri::PathAndQuery;
use parley_proto as pb;
use prost::Message as _;
use prost_reflect::{Cardinality, DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use crate::support::{clients::Clients, in_time};

/// All methods of the contract.
pub fn calls() -> Vec<MethodDescriptor> {
    let pool = DescriptorPool::decode(pb::DESCRIPTORS).expect("the program carries its own description");
    let services = pool.services().filter(|service| service.package_name() == "parley.v1");
    services.flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
}

/// The name of a method as `Service.Method`.
pub fn name(call: &MethodDescriptor) -> String {
    format!("{}.{}", call.parent_service().name(), call.name())
}

/// The number for a field of a message, or `None` for the usual one.
pub type Numbers<'a> = &'a (dyn Fn(&MessageDescriptor, &str) -> Option<i64> + Sync);

/// Makes a call. Returns its error if it is refused.
pub async fn ask(clients: &Clients, call: &MethodDescriptor) -> Result<(), Status> {
    send(clients, call, &filled(&call.input(), 0)).await
}

/// Makes a call about certain ids. Returns the encoded response; of a stream, the first one.
pub async fn ask_about(clients: &Clients, call: &MethodDescriptor, numbers: Numbers<'_>) -> Result<Vec<u8>, Status> {
    answer(clients, call, &filled_with(&call.input(), numbers, 0)).await
}

/// Makes a call with this request. Returns its error if it is refused.
pub async fn send(clients: &Clients, call: &MethodDescriptor, request: &DynamicMessage) -> Result<(), Status> {
    answer(clients, call, request).await.map(drop)
}

async fn answer(clients: &Clients, call: &MethodDescriptor, request: &DynamicMessage) -> Result<Vec<u8>, Status> {
    let path = format!("/{}/{}", call.parent_service().full_name(), call.name());
    let path = PathAndQuery::try_from(path).expect("a path");
    let request = request.encode_to_vec();
    let mut grpc = Grpc::new(clients.service.clone());
    in_time("the service", grpc.ready()).await.expect("the server is there");
    // One message and the end of the request, which is the same on the wire for all kinds of calls.
    let request = Request::new(futures_util::stream::iter([request]));
    let answered = async {
        let mut stream = grpc.streaming(request, path, Plain).await?.into_inner();
        stream.message().await
    };
    let answer: Option<Vec<u8>> = in_time("an answer", answered).await?;
    // A stream of writes reports errors per message.
    let answer = answer.unwrap_or_default();
    if call.name() == "SendMessages" {
        let answer = pb::SendMessagesResponse::decode(answer.as_slice()).expect("its answer");
        if let Some(error) = answer.results.into_iter().find_map(|result| result.error) {
            return Err(Status::new(Code::from(error.code), error.message));
        }
    }
    Ok(answer)
}

/// A message with a value in each field that a call may need. `depth` is the nesting depth of the message itself.
pub fn filled(message: &MessageDescriptor, depth: usize) -> DynamicMessage {
    filled_with(message, &|_, _| None, depth)
}

fn filled_with(message: &MessageDescriptor, numbers: Numbers<'_>, depth: usize) -> DynamicMessage {
    let mut made = DynamicMessage::new(message.clone());
    for field in message.fields() {
        // The first alternative of a oneof.
        let skipped = field
            .containing_oneof()
            .is_some_and(|oneof| oneof.fields().next() != Some(field.clone()));
        if !skipped && let Some(value) = value(message, &field, numbers, depth) {
            let value = if field.cardinality() == Cardinality::Repeated {
                Value::List(vec![value])
            } else {
                value
            };
            made.set_field(&field, value);
        }
    }
    made
}

fn value(of: &MessageDescriptor, field: &FieldDescriptor, numbers: Numbers<'_>, depth: usize) -> Option<Value> {
    let name = field.name();
    if field.is_map() {
        return None;
    }
    match field.kind() {
        Kind::String => text(name).map(|text| Value::String(text.to_owned())),
        Kind::Int64 if name.ends_with("_id") || name.ends_with("_ids") || name == "id" => {
            // A merge needs two different contacts.
            let usual = if name == "mergee_contact_id" { 2 } else { 1 };
            Some(Value::I64(numbers(of, name).unwrap_or(usual)))
        }
        Kind::Uint32 if name == "shard_count" => Some(Value::U32(1)),
        Kind::Enum(_) if field.cardinality() != Cardinality::Repeated && !name.contains("order") => Some(Value::EnumNumber(1)),
        Kind::Message(nested) if nested.full_name() == "google.protobuf.FieldMask" => Some(Value::Message(mask(of))),
        Kind::Message(nested) if nested.full_name() == "google.protobuf.Struct" => Some(Value::Message(DynamicMessage::new(nested))),
        // Lists may be empty, except for that of a batch.
        Kind::Message(_) if field.cardinality() == Cardinality::Repeated && name != "messages" => None,
        Kind::Message(nested) if nested.package_name() == "parley.v1" && depth < 3 => {
            Some(Value::Message(filled_with(&nested, numbers, depth + 1)))
        }
        _ => None,
    }
}

/// A field mask with the first string field of the message that the request updates.
fn mask(request: &MessageDescriptor) -> DynamicMessage {
    let nested = request.fields().find_map(|field| match field.kind() {
        Kind::Message(nested) if nested.package_name() == "parley.v1" => Some(nested),
        _ => None,
    });
    let path = nested
        .into_iter()
        .flat_map(|nested| nested.fields().collect::<Vec<_>>())
        .find(|field| matches!(field.kind(), Kind::String) && text(field.name()).is_some())
        .map(|field| field.name().to_owned());
    let pool = request.parent_pool();
    let mut mask = DynamicMessage::new(pool.get_message_by_name("google.protobuf.FieldMask").expect("it is imported"));
    mask.set_field_by_name("paths", Value::List(path.into_iter().map(Value::String).collect()));
    mask
}

/// A valid text for a field, or `None` for fields that are better left out.
fn text(name: &str) -> Option<&'static str> {
    Some(match name {
        "email" | "emails" => "new@example.org",
        "title" => "new-label",
        "name" | "consumer" | "consumer_name" => "somebody",
        "content" | "text" | "query" => "hello",
        "short_code" => "new",
        "display_name" => "Somebody",
        "attribute_key" | "key" => "plan",
        "source_id" => "session-1",
        "labels" => "vip",
        "secret" => "0000",
        _ => return None,
    })
}

/// A codec that passes messages as bytes.
#[derive(Clone, Copy, Debug)]
struct Plain;

impl Codec for Plain {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(out, &item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut whole = vec![0; bytes::Buf::remaining(from)];
        bytes::Buf::copy_to_slice(from, &mut whole);
        Ok(Some(whole))
    }
}
