//! The codec of all methods except `Subscribe` and `Consume`: prost, with small buffers.

use std::sync::OnceLock;

use bytes::{Buf as _, Bytes};
use tonic::{
    Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use super::wire_budget::{self, Excess};

/// Initial size of a call's buffers in bytes. Most messages are smaller. Allocating tonic's default of 8 KiB twice per call takes longer
/// than encoding a message, and an open stream keeps its buffers until it ends.
const BUFFER: usize = 1024;

/// The number of buffered bytes at which the body of a stream yields the messages encoded so far; the same as in tonic.
pub const YIELD: usize = 32 * 1024;

/// Defines how this process encodes and decodes large messages.
#[derive(Clone, Copy, Debug)]
pub struct LargeSteps {
    /// The size in bytes above which a message is large.
    pub above: usize,
    /// Must run the given step exactly once before it returns, for instance on a thread where the step does not block other tasks of the
    /// runtime.
    pub run: fn(&mut dyn FnMut()),
}

static LARGE_STEPS: OnceLock<LargeSteps> = OnceLock::new();

/// Makes this process encode and decode large messages through `steps`. By default, large messages are encoded and decoded on the calling
/// thread. Only the first call has an effect.
pub fn run_large_steps(steps: LargeSteps) {
    LARGE_STEPS.get_or_init(|| steps);
}

fn run_step<T>(bytes: usize, step: impl FnOnce() -> Result<T, Status>) -> Result<T, Status> {
    let Some(steps) = LARGE_STEPS.get().filter(|steps| bytes > steps.above) else {
        return step();
    };
    let (mut step, mut result) = (Some(step), None);
    (steps.run)(&mut || result = step.take().map(|step| step()));
    result.unwrap_or_else(|| Err(Status::internal("a step that handles a large message was not run")))
}

/// Encodes and decodes with prost, using small buffers.
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

/// Encodes with prost. Large messages are encoded through [`LargeSteps`].
#[derive(Debug)]
pub struct WholeEncoder<T>(std::marker::PhantomData<T>);

impl<T: prost::Message> Encoder for WholeEncoder<T> {
    type Item = T;
    type Error = Status;

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, YIELD)
    }

    fn encode(&mut self, message: T, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        // This does the same as prost's own `encode`, which would compute the length a second time.
        let length = message.encoded_len();
        dst.reserve(length);
        run_step(length, || {
            message.encode_raw(dst);
            drop(message);
            Ok(())
        })
    }
}

/// Decodes a message with prost from one contiguous buffer: prost accesses the buffer for every field, which is fastest if the buffer is a
/// slice. A request that would take many times its size in memory is rejected before it is decoded.
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
        run_step(message.len(), || decode(message))
    }
}

fn decode<U: prost::Message + prost::Name + Default>(message: Bytes) -> Result<Option<U>, Status> {
    wire_budget::check::<U>(&message).map_err(|Excess(limit)| Status::invalid_argument(limit))?;
    U::decode(message).map(Some).map_err(|error| Status::internal(error.to_string()))
}
