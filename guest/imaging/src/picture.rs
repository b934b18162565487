//! Decodes a file: recognizes its format, refuses what is too large, and returns its pixels.
//!
//! The format is recognized by the first bytes, never by a media type. Sizes are checked in the file's header, before
//! memory is allocated for its pixels. Only JPEG (`jpeg.rs`) makes use of the window, to decode less.

use image::ImageFormat;

use crate::error::Error;
use crate::jpeg;
use crate::library::{decode_whole, name, unsupported};
use crate::types::{Picture, Window};

/// Decodes a JPEG, PNG, GIF (its first frame), WebP or BMP.
///
/// `window` tells which part of the picture the network takes, and at which size.
///
/// # Errors
///
/// [`crate::ErrorKind::Unsupported`] for another format, [`crate::ErrorKind::TooLarge`] for too many pixels,
/// [`crate::ErrorKind::Damaged`] for a broken file.
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
