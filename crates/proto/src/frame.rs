//! Response messages of `Subscribe` and `Consume` that are put together from bytes encoded before.

use bytes::{BufMut, Bytes};
use tonic::{
    Status,
    codec::{BufferSettings, Codec, EncodeBuf, Encoder},
};

use super::codec::{WholeDecoder, YIELD};

/// An encoded `SubscribeResponse` or `ConsumeResponse`, in pieces. Protobuf joins fields by concatenation, so pieces that are whole
/// fields may be put one after another. Never empty: h2 closes a connection after a hundred empty frames.
#[derive(Debug, Default)]
pub struct Frame {
    pieces: Vec<Bytes>,
}

impl Frame {
    /// Appends whole encoded fields.
    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.pieces.push(piece);
        }
    }

    /// The same pieces after another one.
    #[must_use]
    pub fn after(mut self, first: Bytes) -> Self {
        self.pieces.insert(0, first);
        self
    }

    /// The size in bytes.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// All pieces as one, for whoever decodes them in the same process.
    pub fn concat(&self) -> Bytes {
        self.pieces.concat().into()
    }

    /// Whether nothing has been put in.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

/// Sends [`Frame`]s as they are, and decodes requests with prost.
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

/// Copies the pieces of a frame into the body.
#[derive(Debug)]
pub struct FrameEncoder;

impl Encoder for FrameEncoder {
    type Item = Frame;
    type Error = Status;

    /// Nothing in advance: a frame says how much it needs, and a stream that waits should hold no buffer.
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
