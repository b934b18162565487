//! What of any format is too much, and why a file is refused.

use image::ImageFormat;

use crate::error::Error;

/// Most bytes that a picture may take in memory once decoded: 33 million RGB pixels.
pub(crate) const MAX_DECODED_BYTES: u64 = 96 << 20;

/// Longest side, in pixels: that of JPEG and GIF. Longer pictures are stripes of which a network sees nothing.
const MAX_SIDE: u32 = 65_535;

/// A file may have so many pixels, and so many more for each of its bytes: what honest formats do at the very best. So
/// a small file costs little, whatever size it claims.
const FREE_PIXELS: u64 = 2 << 20;
const PIXELS_PER_BYTE: u64 = 256;

/// Refuses a picture of `size` that takes more than [`MAX_DECODED_BYTES`] when `bytes` is what it takes, or that is empty.
pub(crate) fn check_size((width, height): (u32, u32), bytes: u64) -> Result<(), Error> {
    if width == 0 || height == 0 {
        return Err(Error::damaged("the picture has no pixels"));
    }
    if bytes > MAX_DECODED_BYTES {
        return Err(Error::too_large(format!(
            "a picture of {width} x {height} pixels would take {} MiB of memory; send one that takes at most {} MiB, such as 6000 x 4000",
            bytes >> 20,
            MAX_DECODED_BYTES >> 20
        )));
    }
    Ok(())
}

/// Refuses a picture whose side is too long, and one that has more pixels than a file of this length can honestly have.
pub(crate) fn check_file((width, height): (u32, u32), file: &[u8]) -> Result<(), Error> {
    if width.max(height) > MAX_SIDE {
        return Err(Error::too_large(format!(
            "a picture of {width} x {height} pixels is too long; send one of at most {MAX_SIDE} pixels a side"
        )));
    }
    let most = FREE_PIXELS + PIXELS_PER_BYTE * file.len() as u64;
    if u64::from(width) * u64::from(height) > most {
        return Err(Error::too_large(format!(
            "a picture of {width} x {height} pixels in {} bytes shows next to nothing; send one of at most {most} pixels",
            file.len()
        )));
    }
    Ok(())
}

/// The error for a file that cannot be decoded, with the decoder's reason.
pub(crate) fn broken(format: ImageFormat, reason: &str) -> Error {
    let name = name(format);
    Error::damaged(format!("the {name} is broken or cut off ({reason}); send it again or save it anew"))
}

/// The error for a file that needs more memory than it may have.
pub(crate) fn too_much(name: &str) -> Error {
    let most = MAX_DECODED_BYTES >> 20;
    Error::too_large(format!("the {name} needs more than {most} MiB of memory; send a smaller one"))
}

/// The format's name as people write it.
pub(crate) fn name(format: ImageFormat) -> String {
    match format {
        ImageFormat::Jpeg => "JPEG".to_owned(),
        ImageFormat::WebP => "WebP".to_owned(),
        other => format!("{other:?}").to_uppercase(),
    }
}

/// The error for a file of a kind that is not read.
pub(crate) fn unsupported(why: &str) -> Error {
    Error::unsupported(format!("{why}; send a JPEG, PNG, GIF, WebP or BMP"))
}
