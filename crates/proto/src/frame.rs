//! Response messages of `Subscribe` and `Consume` that are assembled from encoded bytes.

use bytes::{BufMut, Bytes};
use tonic::{
    Status,
    codec::{BufferSettings, Codec, EncodeBuf, Encoder},
};

use super::codec::{WholeDecoder, YIELD};

/// An encoded `SubscribeResponse` or `ConsumeResponse`, stored in pieces. Concatenated Protobuf messages are merged when they are decoded,
/// so pieces that each consist of whole fields can be sent one after the other as a single message. An empty frame must not be sent: h2
/// closes a connection after a hundred empty frames.
#[derive(Debug, Default)]
pub struct Frame {
    pieces: Vec<Bytes>,
}

impl Frame {
    /// Appends encoded fields, each of which must be complete.
    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.pieces.push(piece);
        }
    }

    /// Returns the frame with a piece prepended.
    #[must_use]
    pub fn after(mut self, first: Bytes) -> Self {
        self.pieces.insert(0, first);
        self
    }

    /// Returns the size of the frame in bytes.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// Joins all pieces into one buffer, to be decoded in the same process.
    pub fn concat(&self) -> Bytes {
        self.pieces.concat().into()
    }

    /// Whether the frame has no pieces.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

/// Sends [`Frame`]s unchanged, and decodes requests with prost.
#[derive(Debug)]
pub struct FrameCodec<T, U>(std::marker::PhantomData<(T, U)>);

impl<T, U> Default for FrameCodec<T, U> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<U: prost::Message + prost::Name + Default + Send + 'static> Codec for FrameCodec<Frame, U> {
    type Encode = Frame;
    type Decode = U;
    type Encoder = FrameEncoder;
    type Decoder = WholeDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        FrameEncoder
    }

    fn decoder(&mut self) -> Self::Decoder {
        WholeDecoder(std::marker::PhantomData)
    }
}

/// Copies the pieces of a frame into the body of the response.
#[derive(Debug)]
pub struct FrameEncoder;

impl Encoder for FrameEncoder {
    type Item = Frame;
    type Error = Status;

    /// Start without a buffer: the size of a frame is known, and an idle stream should not hold a buffer.
    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(0, YIELD)
    }

    fn encode(&mut self, frame: Frame, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        dst.reserve(frame.len());
        for piece in frame.pieces {
            dst.put_slice(&piece);
        }
        Ok(())
    }
}
