//! Decodes whole pictures with the library decoders of the crate `image`, and says why a file is refused.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use crate::error::Error;
use crate::pixel_format;
use crate::types::Picture;

/// Most bytes that a picture may take in memory once decoded: 33 million RGB pixels.
pub(crate) const MAX_DECODED_BYTES: u64 = 96 << 20;

/// Decodes every pixel of a file of a known format.
pub(crate) fn decode_whole(file: &[u8], format: ImageFormat) -> Result<Picture, Error> {
    let mut reader = ImageReader::with_format(Cursor::new(file), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|error| refused(error, format))?;
    let size = decoder.dimensions();
    check_size(size, decoder.total_bytes())?;
    // Broken metadata is no reason to refuse good pixels.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let pixels = DynamicImage::from_decoder(decoder).map_err(|error| refused(error, format))?;
    Ok(Picture { samples: pixel_format::opaque_8_bit(pixels), size, reduction: 1, orientation })
}

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

/// The error for a file that cannot be decoded, with the decoder's reason.
pub(crate) fn broken(format: ImageFormat, reason: &str) -> Error {
    let name = name(format);
    Error::damaged(format!("the {name} is broken or cut off ({reason}); send it again or save it anew"))
}

fn refused(error: ImageError, format: ImageFormat) -> Error {
    let name = name(format);
    match error {
        ImageError::Limits(_) => too_much(&name),
        // The decoder calls a size that overflows 32 bits unsupported, but it is too large.
        ImageError::Unsupported(what) if what.to_string().contains("too large") => too_much(&name),
        ImageError::Unsupported(what) => unsupported(&format!("this kind of {name} is not read ({what})")),
        other => broken(format, &other.to_string()),
    }
}

fn too_much(name: &str) -> Error {
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

pub(crate) fn unsupported(why: &str) -> Error {
    Error::unsupported(format!("{why}; send a JPEG, PNG, GIF, WebP or BMP"))
}
