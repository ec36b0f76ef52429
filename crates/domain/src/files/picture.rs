//! Pictures: their size, and a small one beside each.

use std::{io::Cursor, time::Duration};

use bytes::Bytes;
use image::{DynamicImage, ImageFormat, ImageReader, Limits};
use parley_compute::ComputePool;
use tokio::sync::Semaphore;

/// The longer side of a small picture, as Chatwoot has it.
const SIDE: u32 = 250;

/// Bytes of a picture that is looked at; larger ones stay as they are.
pub const LARGEST: u64 = 16 * 1024 * 1024;

/// Bytes that decoding one may take.
const MEMORY: u64 = 128 * 1024 * 1024;

/// Pictures that are decoded at once: with [`MEMORY`] it bounds what they take.
static TURNS: Semaphore = Semaphore::const_new(2);

/// Decodes pictures: as many at once as have a turn.
static POOL: ComputePool = ComputePool::new("picture", 2, 2);
/// How long decoding may take. It cannot be stopped, but is bounded by [`MEMORY`].
const BUDGET: Duration = Duration::from_secs(30);

/// What is seen of a picture.
#[derive(Debug)]
pub struct Seen {
    /// Pixels across.
    pub width: i32,
    /// Pixels down.
    pub height: i32,
    /// The small one, as PNG. None: the picture is small enough itself, or could not be decoded.
    pub small: Option<Bytes>,
}

/// Waits for a turn, then reads the picture by `read`, and looks at it. None: it is none that is known.
pub async fn look<E>(read: impl Future<Output = Result<Vec<u8>, E>>) -> Result<Option<Seen>, E> {
    // It is never closed.
    let Ok(turn) = TURNS.acquire().await else { return Ok(None) };
    let bytes = read.await?;
    let seen = POOL.run(BUDGET, move |_| see(&bytes)).await;
    drop(turn);
    // A decoder that panics, or takes too long, has seen nothing.
    Ok(seen.unwrap_or_default())
}

fn see(bytes: &[u8]) -> Option<Seen> {
    let reader = || ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let (width, height) = reader().ok()?.into_dimensions().ok()?;
    let small = (width > SIDE || height > SIDE).then(|| {
        let mut reader = reader().ok()?;
        let mut limits = Limits::default();
        limits.max_alloc = Some(MEMORY);
        limits.max_image_width = Some(20_000);
        limits.max_image_height = Some(20_000);
        reader.limits(limits);
        encode(&reader.decode().ok()?.thumbnail(SIDE, SIDE))
    });
    Some(Seen {
        width: i32::try_from(width).ok()?,
        height: i32::try_from(height).ok()?,
        small: small.flatten(),
    })
}

fn encode(small: &DynamicImage) -> Option<Bytes> {
    let mut out = Cursor::new(Vec::new());
    small.write_to(&mut out, ImageFormat::Png).ok()?;
    Some(out.into_inner().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        encode(&DynamicImage::new_rgb8(width, height)).unwrap().to_vec()
    }

    #[tokio::test]
    async fn sizes_and_small_pictures() {
        let look = async |bytes: Vec<u8>| look(async { Ok::<_, ()>(bytes) }).await.unwrap();
        let seen = look(png(1000, 500)).await.unwrap();
        assert_eq!((seen.width, seen.height), (1000, 500));
        let small = see(&seen.small.unwrap()).unwrap();
        assert_eq!((small.width, small.height), (250, 125));
        let seen = look(png(20, 10)).await.unwrap();
        assert!(seen.small.is_none());
        assert!(look(b"no picture".to_vec()).await.is_none());
    }

    #[test]
    fn a_picture_that_would_fill_memory_is_not_decoded() {
        // A header that claims 60,000 x 60,000 pixels, with nothing behind it.
        let mut bytes = png(1, 1);
        bytes[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
        assert!(see(&bytes).is_none_or(|seen| seen.small.is_none()));
    }
}
