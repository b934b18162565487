//! Decodes a file: recognizes its format, refuses what is too large, and returns its pixels.
//!
//! The format is recognized by the first bytes, never by a media type. Sizes are checked in the file's header, before
//! memory is allocated for its pixels.

use image::ImageFormat;

use crate::error::Error;
use crate::limits::{name, unsupported};
use crate::types::{Picture, Window};
use crate::{bmp, gif, jpeg, png, webp};

/// Decodes a JPEG, PNG, GIF (its first frame), WebP or BMP.
///
/// `window` tells which part of the picture the network takes, and at which size.
///
/// # Errors
///
/// [`crate::ErrorKind::Unsupported`] for another format or an unusual kind of one of these,
/// [`crate::ErrorKind::TooLarge`] for too many pixels or too much work, [`crate::ErrorKind::Damaged`] for a broken file.
pub fn decode(file: &[u8], window: Window) -> Result<Picture, Error> {
    match image::guess_format(file) {
        Ok(ImageFormat::Jpeg) => jpeg::decode(file, window),
        Ok(ImageFormat::Png) => png::decode(file, window),
        Ok(ImageFormat::Gif) => gif::decode(file, window),
        Ok(ImageFormat::WebP) => webp::decode(file, window),
        Ok(ImageFormat::Bmp) => bmp::decode(file, window),
        Ok(other) => Err(unsupported(&format!("{} pictures are not read", name(other)))),
        Err(_) => Err(unsupported("the bytes are no picture")),
    }
}

#[cfg(test)]
mod tests;
