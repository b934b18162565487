//! From the bytes of a file to pixels: finds the format, refuses what is too large, decodes.
//!
//! The format is what the bytes say, never what a header says. Sizes are checked on the file's own
//! header, before anything is allocated for its pixels. What the network needs of the pixels is not
//! known here (`preprocess.rs`), but for how small a JPEG may be decoded (`jpeg.rs`).

use image::ImageFormat;

use crate::error::Error;
use crate::jpeg;
use crate::library::{decode_whole, name, unsupported};
use crate::types::{Picture, Window};

/// Decodes a JPEG, PNG, GIF (its first frame), WebP or BMP.
///
/// `window` tells how much of the picture will be looked at, and at which size. Fails with 415
/// (another format), 413 (too many pixels) or 400 (broken).
pub fn decode(file: &[u8], window: Window) -> Result<Picture, Error> {
    match image::guess_format(file) {
        Ok(ImageFormat::Jpeg) => jpeg::decode(file, window),
        Ok(format @ (ImageFormat::Png | ImageFormat::Gif | ImageFormat::WebP | ImageFormat::Bmp)) => {
            decode_whole(file, format)
        }
        Ok(other) => Err(unsupported(&format!("{} pictures are not read", name(other)))),
        Err(_) => Err(unsupported("the bytes are no picture")),
    }
}

#[cfg(test)]
mod tests;
