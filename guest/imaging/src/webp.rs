//! WebP, whose decoder makes all pixels of a picture or of an animation's first frame.

use std::io::Cursor;

use image::ImageFormat;
use image::metadata::Orientation;
use image_webp::{DecodingError, WebPDecoder};

use crate::error::Error;
use crate::exif;
use crate::limits::{broken, check_file, check_size, too_much};
use crate::raster::RowCollector;
use crate::types::{Picture, Samples, Window};

/// The most work that decoding may take, where a pixel counts 1 and a byte of the file [`WORK_PER_BYTE`]: about 0.4
/// seconds. Pictures with loss take twice as long as those without.
const MAX_LOSSY_WORK: u64 = 15_000_000;
const MAX_LOSSLESS_WORK: u64 = 24_000_000;
const WORK_PER_BYTE: u64 = 2;

/// Bytes of a frame of an animation before the chunks in it.
const FRAME_HEADER: usize = 16;

/// Decodes a WebP, and keeps as much of it as `window` needs.
pub(crate) fn decode(file: &[u8], window: Window) -> Result<Picture, Error> {
    let mut decoder = WebPDecoder::new(Cursor::new(file)).map_err(refused)?;
    let size = decoder.dimensions();
    let samples_per_pixel = if decoder.has_alpha() { 4 } else { 3 };
    let frame = largest_frame(file.get(12..).unwrap_or_default());
    let largest = (size.0.max(frame.0), size.1.max(frame.1));
    check_file(largest, file)?;
    // Of an animation, the decoder holds a frame and the picture behind it as well.
    let bytes = if decoder.is_animated() { 8 } else { samples_per_pixel };
    check_size(largest, u64::from(largest.0) * u64::from(largest.1) * bytes)?;
    let most = if decoder.is_lossy() { MAX_LOSSY_WORK } else { MAX_LOSSLESS_WORK };
    let work = u64::from(largest.0) * u64::from(largest.1) + WORK_PER_BYTE * file.len() as u64;
    if work > most {
        return Err(Error::too_large(format!(
            "decoding a WebP of {} x {} pixels and {} bytes takes too long; send one of at most {} million pixels, fewer if it is fine, or a JPEG",
            size.0,
            size.1,
            file.len(),
            most / 1_000_000
        )));
    }
    // Broken metadata are no reason to refuse good pixels.
    let metadata = decoder.exif_metadata().ok().flatten();
    let orientation = metadata.map_or(Orientation::NoTransforms, |metadata| exif::orientation(&metadata));
    let mut pixels = vec![0; decoder.output_buffer_size().ok_or_else(|| too_much("WebP"))?];
    decoder.read_image(&mut pixels).map_err(refused)?;
    let mut rows = RowCollector::new(size, samples_per_pixel as usize, window, orientation);
    let stride = size.0 as usize * samples_per_pixel as usize;
    pixels.chunks_exact(stride).enumerate().for_each(|(y, row)| rows.push(y, row));
    Ok(Picture { samples: Samples::Interleaved(rows.into_raster()), size, orientation })
}

/// The largest width and height that the frames in `chunks` have. The decoder makes a frame before it compares it with
/// the picture's size.
fn largest_frame(mut chunks: &[u8]) -> (u32, u32) {
    let mut largest = (0, 0);
    while let Some((head, rest)) = chunks.split_first_chunk::<8>() {
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let data = &rest[..length.min(rest.len())];
        let (width, height) = match &head[..4] {
            b"VP8 " => lossy_size(data),
            b"VP8L" => lossless_size(data),
            b"ANMF" => largest_frame(data.get(FRAME_HEADER..).unwrap_or_default()),
            _ => (0, 0),
        };
        largest = (largest.0.max(width), largest.1.max(height));
        // A chunk of an odd length is padded.
        chunks = rest.get(length.saturating_add(length % 2)..).unwrap_or_default();
    }
    largest
}

/// Width and height of a key frame (RFC 6386, 9.1): 14 bits each, behind a tag and a start code of three bytes each.
fn lossy_size(frame: &[u8]) -> (u32, u32) {
    let side = |at: usize| frame.get(at..at + 2).map_or(0, |side| u16::from_le_bytes([side[0], side[1]]) & 0x3FFF);
    (side(6).into(), side(8).into())
}

/// Width and height of a lossless frame (RFC 9649, 3.4): 14 bits each, less 1, behind a signature of one byte.
fn lossless_size(frame: &[u8]) -> (u32, u32) {
    let Some(&[a, b, c, d]) = frame.get(1..).and_then(<[u8]>::first_chunk) else { return (0, 0) };
    let bits = u32::from_le_bytes([a, b, c, d]);
    ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
}

fn refused(error: DecodingError) -> Error {
    match error {
        DecodingError::ImageTooLarge | DecodingError::MemoryLimitExceeded => too_much("WebP"),
        other => broken(ImageFormat::WebP, &other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    const WINDOW: Window = Window::cropped((8, 8), 1.0);

    fn file(width: u32, height: u32) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        image::RgbImage::new(width, height).write_to(&mut file, ImageFormat::WebP).unwrap();
        file.into_inner()
    }

    #[test]
    fn sizes_of_frames_are_read() {
        let file = file(300, 17);
        assert_eq!(largest_frame(&file[12..]), (300, 17));
        let frame = [&[0; 3][..], b"\x9D\x01\x2A", &[0x2C, 0x41, 0x11, 0]].concat();
        let chunk = |kind: &[u8], data: &[u8]| [kind, &(data.len() as u32).to_le_bytes(), data].concat();
        assert_eq!(largest_frame(&chunk(b"VP8 ", &frame)), (0x012C, 17));
        let animated = chunk(b"ANMF", &[&[0; FRAME_HEADER], &file[12..]].concat());
        assert_eq!(largest_frame(&[chunk(b"EXIF", b"odd"), vec![0], animated].concat()), (300, 17));
        assert_eq!(largest_frame(b"VP8L\xFF\xFF\xFF\xFF"), (0, 0));
    }

    /// A frame may claim another size than its picture.
    #[test]
    fn a_frame_larger_than_its_picture_is_refused_before_it_is_made() {
        let mut huge = file(2, 2);
        let frame = memchr::memmem::find(&huge, b"VP8L").unwrap();
        huge[frame + 9..frame + 13].copy_from_slice(&[0xFF; 4]);
        // The picture's own size, in an extended header.
        let body = huge[12..].to_vec();
        let extended = [b"VP8X\x0A\0\0\0".as_slice(), &[0; 4], &[1, 0, 0, 1, 0, 0], &body].concat();
        let length = (extended.len() as u32 + 4).to_le_bytes();
        let file = [b"RIFF", &length[..], b"WEBP", &extended].concat();
        let error = decode(&file, WINDOW).unwrap_err();
        assert_eq!(error.kind, ErrorKind::TooLarge, "{}", error.detail);
    }

    #[test]
    fn work_is_bounded() {
        let mut file = file(1400, 1400);
        assert!(decode(&file, WINDOW).is_ok());
        // Bytes behind the picture cost nothing, but nobody looks at them first.
        file.resize(12 << 20, 0);
        let error = decode(&file, WINDOW).unwrap_err();
        assert_eq!(error.kind, ErrorKind::TooLarge, "{}", error.detail);
    }
}
