//! How the camera was held, as Exif metadata say.

use image::metadata::Orientation;

/// What is left to do to see a picture upright, by the Exif metadata of a PNG or WebP. Broken metadata are no reason to
/// refuse good pixels. The prefix that only JPEG asks for is written by many programs, and passed over.
pub(crate) fn orientation(metadata: &[u8]) -> Orientation {
    let tiff = metadata.strip_prefix(b"Exif\0\0").unwrap_or(metadata);
    Orientation::from_exif_chunk(tiff).unwrap_or(Orientation::NoTransforms)
}
