//! Builds the responses to calls that change something, whether the result is new or replayed.

use std::sync::Arc;

use bytes::Bytes;
use parley_domain::{messages::Created, write::call::Answer};
use parley_eventlog::{
    conversion::{FromStored, ToProto},
    cursor::Cursor,
};
use parley_proto::{self as pb, description::cursor_of, rpc::ResourceResponse};
use parley_types::error::{Error, Result};
use prost::{Message, Name};
use tonic::{Response, Status, metadata::MetadataValue};

use crate::status::OrStatus as _;

pub(super) fn encode(cursor: Option<Cursor>) -> Bytes {
    cursor.map(Cursor::encode).unwrap_or_default()
}

/// Builds the response to a call that changed something. The cursor is also sent in the metadata, where proxies can read it without
/// decoding the message.
///
/// # Errors
/// Returns [`Error::Internal`] as a status if a stored response cannot be decoded.
pub(super) fn to_response<T, M: Message + Name + Default>(
    answer: Answer<T>,
    respond: impl Fn(&T, Bytes) -> M,
) -> Result<Response<M>, Status> {
    response(answer, respond).or_status()
}

/// Builds the response to a call that changed a resource, or deleted it (in which case the resource is `()`).
///
/// # Errors
/// Returns [`Error::Internal`] if a stored response cannot be decoded.
pub(super) fn resource_response<T, M>(answer: Answer<T>) -> Result<Response<M>>
where
    M: ResourceResponse<Resource: for<'a> FromStored<&'a T>> + Name + Default,
{
    response(answer, with_resource)
}

/// Builds the response to a call that read a resource.
pub(super) fn found<T, M: ResourceResponse<Resource: for<'a> FromStored<&'a T>>>(value: &T) -> Response<M> {
    Response::new(with_resource(value, Bytes::new()))
}

/// Builds a response that contains a created or changed resource.
pub(super) fn with_resource<T, M: ResourceResponse<Resource: for<'a> FromStored<&'a T>>>(value: &T, cursor: Bytes) -> M {
    M::new(value.to_proto(), cursor)
}

fn response<T, M: Message + Name + Default>(answer: Answer<T>, respond: impl Fn(&T, Bytes) -> M) -> Result<Response<M>> {
    let (message, cursor) = match answer {
        Answer::Fresh(value, cursor) => {
            let cursor = encode(cursor);
            (respond(&value, cursor.clone()), cursor)
        }
        Answer::Replayed(bytes) => {
            let message =
                M::decode(bytes.as_slice()).map_err(|error| Error::Internal(format!("failed to decode a stored response: {error}")))?;
            let cursor = cursor_of(&message);
            (message, cursor)
        }
    };
    let mut response = Response::new(message);
    if !cursor.is_empty() {
        response
            .metadata_mut()
            .insert_bin("parley-cursor-bin", MetadataValue::from_bytes(&cursor));
    }
    Ok(response)
}

/// Builds the response to a call that created one message.
pub(super) fn created(messages: &Created, cursor: Bytes) -> pb::CreateMessageResponse {
    pb::CreateMessageResponse {
        message: messages.first().map(Arc::as_ref).map(ToProto::to_proto),
        cursor,
    }
}
