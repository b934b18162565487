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
        Err(_) => Err(match foreign_format(file) {
            Some(name) => unsupported(&format!("{name} files are not read")),
            None => unsupported("the bytes are no picture"),
        }),
    }
}

/// The name of a format that people take for a picture's, and that the `image` crate does not know.
fn foreign_format(file: &[u8]) -> Option<&'static str> {
    let is_svg = |text: &[u8]| [&b"<svg"[..], b"<?xml"].iter().any(|start| text.starts_with(start));
    match file {
        // The brands of ISO/IEC 23008-12, annex B.
        [_, _, _, _, b'f', b't', b'y', b'p', b'h', b'e', ..]
        | [_, _, _, _, b'f', b't', b'y', b'p', b'm', b'i', b'f', _, ..] => Some("HEIC"),
        [0, 0, 0, 12, b'j', b'P', ..] | [0xFF, 0x4F, 0xFF, 0x51, ..] => Some("JPEG 2000"),
        [0xFF, 0x0A, ..] | [0, 0, 0, 12, b'J', b'X', b'L', ..] => Some("JPEG XL"),
        [b'%', b'P', b'D', b'F', ..] => Some("PDF"),
        [b'8', b'B', b'P', b'S', ..] => Some("Photoshop"),
        text if is_svg(text.trim_ascii_start()) => Some("SVG"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
