//! Determines the dimensions of images and creates thumbnails.

use std::{io::Cursor, time::Duration};

use bytes::Bytes;
use image::{DynamicImage, ImageFormat, ImageReader, Limits};
use parley_compute::ComputePool;
use tokio::sync::Semaphore;

/// The maximum length in pixels of the longer side of a thumbnail, as in Chatwoot.
const SIDE: u32 = 250;

/// Maximum size in bytes of an image that is decoded. For larger images, no dimensions and no thumbnail are stored.
pub const LARGEST: u64 = 16 * 1024 * 1024;

/// Maximum memory for decoding one image, in bytes.
const MEMORY: u64 = 128 * 1024 * 1024;

/// Limits how many images are decoded at once. Together with [`MEMORY`], this limit bounds the total memory.
static PERMITS: Semaphore = Semaphore::const_new(2);

/// The pool that decodes images, one for each permit of [`PERMITS`].
static POOL: ComputePool = ComputePool::new("picture", 2, 2);
/// How long to wait for a decoder. When the time is up, the decoder keeps running, but [`MEMORY`] still bounds its memory.
const BUDGET: Duration = Duration::from_secs(30);

/// Properties of an image.
#[derive(Debug)]
pub struct ImageInfo {
    /// The width of the image in pixels.
    pub width: i32,
    /// The height of the image in pixels.
    pub height: i32,
    /// The thumbnail as PNG, or `None` if the image is small enough to be its own thumbnail or could not be decoded.
    pub small: Option<Bytes>,
}

/// Waits for a permit, then reads the content of a file with `read` and decodes it. Returns `None` if the content is not in a known image
/// format.
///
/// # Errors
/// Returns the error that `read` returned.
pub async fn inspect<E>(read: impl Future<Output = Result<Vec<u8>, E>>) -> Result<Option<ImageInfo>, E> {
    // Acquiring the permit cannot fail, because the semaphore is never closed.
    let Ok(permit) = PERMITS.acquire().await else { return Ok(None) };
    let bytes = read.await?;
    let info = POOL.run(BUDGET, move |_| decode(&bytes)).await;
    drop(permit);
    // If the decoder panics or exceeds the time limit, treat the content as an unknown format.
    Ok(info.unwrap_or_default())
}

fn decode(bytes: &[u8]) -> Option<ImageInfo> {
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
    Some(ImageInfo {
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
    async fn reads_the_size_and_makes_a_thumbnail() {
        let inspect = async |bytes: Vec<u8>| inspect(async { Ok::<_, ()>(bytes) }).await.unwrap();
        let info = inspect(png(1000, 500)).await.unwrap();
        assert_eq!((info.width, info.height), (1000, 500));
        let small = decode(&info.small.unwrap()).unwrap();
        assert_eq!((small.width, small.height), (250, 125));
        let info = inspect(png(20, 10)).await.unwrap();
        assert!(info.small.is_none());
        assert!(inspect(b"no picture".to_vec()).await.is_none());
    }

    #[test]
    fn oversized_picture_is_not_decoded() {
        // A header that declares 60,000 x 60,000 pixels, without any image data.
        let mut bytes = png(1, 1);
        bytes[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
        assert!(decode(&bytes).is_none_or(|info| info.small.is_none()));
    }
}
