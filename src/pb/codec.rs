//! The codec of every method but `Subscribe`: prost, with small buffers.

use bytes::{Buf as _, Bytes};
use tonic::{
    Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use super::wire_budget::{self, Excess};
use crate::compute;

/// What a call's buffers hold before they grow. Most messages are smaller; tonic's own 8 KiB, twice a call, cost more to
/// get than a message costs to encode, and an open stream holds them for its life.
const BUFFER: usize = 1024;

/// Bytes of ready messages after which a stream's body yields them: tonic's own value.
pub const YIELD: usize = 32 * 1024;

/// Encodes and decodes with prost.
#[derive(Debug)]
pub struct SmallCodec<T, U>(std::marker::PhantomData<(T, U)>);

impl<T, U> Default for SmallCodec<T, U> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<T, U> Codec for SmallCodec<T, U>
where
    T: prost::Message + Send + 'static,
    U: prost::Message + prost::Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = WholeEncoder<T>;
    type Decoder = WholeDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        WholeEncoder(std::marker::PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        WholeDecoder(std::marker::PhantomData)
    }
}

/// Encodes with prost. A large message is encoded away from the runtime's workers.
#[derive(Debug)]
pub struct WholeEncoder<T>(std::marker::PhantomData<T>);

impl<T: prost::Message> Encoder for WholeEncoder<T> {
    type Item = T;
    type Error = Status;

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, YIELD)
    }

    fn encode(&mut self, message: T, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        // What prost's own `encode` does, which asks for the length too.
        let length = message.encoded_len();
        dst.reserve(length);
        if length > compute::SMALL {
            compute::heavy(|| {
                message.encode_raw(dst);
                drop(message);
            });
        } else {
            message.encode_raw(dst);
        }
        Ok(())
    }
}

/// Decodes with prost, from the message as one piece: prost asks its buffer for every field, and a slice answers quickest. A request that
/// would take many times its size in memory is refused before.
#[derive(Debug)]
pub struct WholeDecoder<U>(pub(super) std::marker::PhantomData<U>);

impl<U: prost::Message + prost::Name + Default> Decoder for WholeDecoder<U> {
    type Item = U;
    type Error = Status;

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, YIELD)
    }

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let message = source.copy_to_bytes(source.remaining());
        if message.len() > compute::SMALL {
            compute::heavy(|| decode(message))
        } else {
            decode(message)
        }
    }
}

fn decode<U: prost::Message + prost::Name + Default>(message: Bytes) -> Result<Option<U>, Status> {
    wire_budget::check::<U>(&message).map_err(|Excess(limit)| Status::invalid_argument(limit))?;
    U::decode(message).map(Some).map_err(|error| Status::internal(error.to_string()))
}
