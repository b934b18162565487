//! From the bytes of a file to pixels: finds the format, refuses what is too large, decodes.
//!
//! The format is what the bytes say, never what a header says. Sizes are checked on the file's own
//! header, before anything is allocated for its pixels. What the network needs of the pixels is not
//! known here (`preprocess.rs`), but for how small a JPEG may be decoded (`jpeg.rs`).

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use crate::flatten::{Samples, flatten};
use crate::jpeg;
use crate::preprocess::{CropBox, Window};
use crate::problem::Problem;

/// Most bytes that a picture may take in memory once decoded: 33 million RGB pixels.
pub(crate) const MAX_DECODED_BYTES: u64 = 96 << 20;

/// A decoded picture, as it lies in the file.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    /// Top row first.
    pub(crate) samples: Samples,
    /// Width and height that the file declares.
    pub(crate) size: (u32, u32),
    /// The samples' width and height are `size` divided by this, rounded up: 1, 2, 4 or 8.
    pub(crate) reduction: u32,
    /// What is left to do to see the picture upright.
    pub(crate) orientation: Orientation,
}

/// One component of a picture, of which only what the window needs was decoded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plane {
    /// Row-major, without padding.
    pub(crate) samples: Vec<u8>,
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Where the window lies in it.
    pub(crate) crop: CropBox,
}

/// Decodes a JPEG, PNG, GIF (its first frame), WebP or BMP.
///
/// `window` tells how much of the picture will be looked at, and at which size. Fails with 415
/// (another format), 413 (too many pixels) or 400 (broken).
pub(crate) fn decode(file: &[u8], window: Window) -> Result<Picture, Problem> {
    match image::guess_format(file) {
        Ok(ImageFormat::Jpeg) => jpeg::decode(file, window),
        Ok(format @ (ImageFormat::Png | ImageFormat::Gif | ImageFormat::WebP | ImageFormat::Bmp)) => {
            decode_whole(file, format)
        }
        Ok(other) => Err(unsupported(&format!("{} pictures are not read", name(other)))),
        Err(_) => Err(unsupported("the bytes are no picture")),
    }
}

/// Decodes every pixel of a file of a known format.
pub(crate) fn decode_whole(file: &[u8], format: ImageFormat) -> Result<Picture, Problem> {
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
    Ok(Picture { samples: flatten(pixels), size, reduction: 1, orientation })
}

impl Picture {
    /// Width and height in samples.
    pub(crate) fn decoded_size(&self) -> (u32, u32) {
        (self.size.0.div_ceil(self.reduction), self.size.1.div_ceil(self.reduction))
    }
}

/// Fails with 413 where a picture of `size` needs more than the allowed `bytes`, 400 where it is empty.
pub(crate) fn check_size((width, height): (u32, u32), bytes: u64) -> Result<(), Problem> {
    if width == 0 || height == 0 {
        return Err(Problem::bad_request("the picture has no pixels"));
    }
    if bytes > MAX_DECODED_BYTES {
        return Err(Problem::too_large(format!(
            "a picture of {width} x {height} pixels would take {} MiB of memory; send one that takes at most {} MiB, such as 6000 x 4000",
            bytes >> 20,
            MAX_DECODED_BYTES >> 20
        )));
    }
    Ok(())
}

/// 400 for a file that cannot be decoded, whatever the decoder's reason.
pub(crate) fn broken(format: ImageFormat, reason: &str) -> Problem {
    let name = name(format);
    Problem::bad_request(format!("the {name} is broken or cut off ({reason}); send it again or save it anew"))
}

fn refused(error: ImageError, format: ImageFormat) -> Problem {
    let name = name(format);
    match error {
        ImageError::Limits(_) => too_much(&name),
        // What 32 bits can't count is no other kind of file.
        ImageError::Unsupported(what) if what.to_string().contains("too large") => too_much(&name),
        ImageError::Unsupported(what) => unsupported(&format!("this kind of {name} is not read ({what})")),
        other => broken(format, &other.to_string()),
    }
}

fn too_much(name: &str) -> Problem {
    let most = MAX_DECODED_BYTES >> 20;
    Problem::too_large(format!("the {name} needs more than {most} MiB of memory; send a smaller one"))
}

/// As people write it.
fn name(format: ImageFormat) -> String {
    match format {
        ImageFormat::Jpeg => "JPEG".to_owned(),
        ImageFormat::WebP => "WebP".to_owned(),
        other => format!("{other:?}").to_uppercase(),
    }
}

fn unsupported(why: &str) -> Problem {
    Problem::unsupported_media(format!("{why}; send a JPEG, PNG, GIF, WebP or BMP"))
}

#[cfg(test)]
mod tests;
