//! PNG, row by row: of a picture only the part that the network's window needs is kept.
//!
//! What is shown is what Pillow and browsers show: all of the picture's data must be there, but not the chunks behind it.

use std::io::Cursor;

use image::ImageFormat;
use image::metadata::Orientation;
use png::{Decoder, DecodingError, Limits, Reader, Transformations};

use crate::error::Error;
use crate::exif;
use crate::library::{MAX_DECODED_BYTES, broken, check_file, check_size, too_much, unsupported};
use crate::raster::RowCollector;
use crate::types::{Picture, Samples, Window};

/// Bytes of the signature that a file starts with.
const SIGNATURE: usize = 8;

/// Decodes a PNG, as much of it as `window` needs.
pub(crate) fn decode(file: &[u8], window: Window) -> Result<Picture, Error> {
    let limits = Limits { bytes: MAX_DECODED_BYTES as usize };
    let mut decoder = Decoder::new_with_limits(Cursor::new(file), limits);
    // Palettes and few bits become 8 bits, and 16 bits their upper half.
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let mut reader = decoder.read_info().map_err(refused)?;
    let (info, samples_per_pixel) = (reader.info(), reader.output_color_type().0.samples());
    let (size, is_interlaced) = ((info.width, info.height), info.interlaced);
    check_file(size, file)?;
    // Samples of 16 bits take time and memory, too, before they are halved.
    let bytes = samples_per_pixel.max(info.bytes_per_pixel()) as u64;
    check_size(size, u64::from(size.0) * u64::from(size.1) * bytes)?;
    let orientation = orientation(file);
    let mut rows = RowCollector::new(size, samples_per_pixel, window, orientation);
    if is_interlaced {
        let picture = interlaced(&mut reader, size, samples_per_pixel)?;
        let width = size.0 as usize * samples_per_pixel;
        picture.chunks_exact(width).enumerate().for_each(|(y, row)| rows.push(y, row));
    } else {
        for y in 0..size.1 as usize {
            let row = reader.next_row().map_err(refused)?.ok_or_else(rows_missing)?;
            rows.push(y, row.data());
        }
    }
    Ok(Picture { samples: Samples::Interleaved(rows.into_raster()), size, orientation })
}

/// All rows of a picture of seven passes.
fn interlaced(
    reader: &mut Reader<Cursor<&[u8]>>,
    (width, height): (u32, u32),
    samples_per_pixel: usize,
) -> Result<Vec<u8>, Error> {
    let stride = width as usize * samples_per_pixel;
    let mut picture = vec![0; stride * height as usize];
    for _ in 0..rows_of_passes(width, height) {
        let row = reader.next_interlaced_row().map_err(refused)?.ok_or_else(rows_missing)?;
        if let png::InterlaceInfo::Adam7(pass) = row.interlace() {
            png::expand_interlaced_row(&mut picture, stride, row.data(), pass, 8 * samples_per_pixel as u8);
        }
    }
    Ok(picture)
}

/// The rows of all seven passes (PNG, 8.2), which end before the chunks behind the picture's data are read.
fn rows_of_passes(width: u32, height: u32) -> u32 {
    let passes = [(0, 0, 8), (4, 0, 8), (0, 4, 8), (2, 0, 4), (0, 2, 4), (1, 0, 2), (0, 1, 2)];
    let rows = |(left, top, step): (u32, u32, u32)| {
        if width > left { height.saturating_sub(top).div_ceil(step) } else { 0 }
    };
    passes.into_iter().map(rows).sum()
}

fn rows_missing() -> Error {
    broken(ImageFormat::Png, "rows are missing")
}

/// What the chunk eXIf says, which may stand before the picture's data or behind it.
fn orientation(file: &[u8]) -> Orientation {
    let mut chunks = file.get(SIGNATURE..).unwrap_or_default();
    while let Some((head, rest)) = chunks.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some((data, rest)) = rest.split_at_checked(length) else { break };
        if head[4..] == *b"eXIf" {
            return exif::orientation(data);
        }
        // A checksum follows.
        chunks = rest.get(4..).unwrap_or_default();
    }
    Orientation::NoTransforms
}

fn refused(error: DecodingError) -> Error {
    match error {
        DecodingError::LimitsExceeded => too_much("PNG"),
        DecodingError::Parameter(what) => unsupported(&format!("this kind of PNG is not read ({what})")),
        other => broken(ImageFormat::Png, &other.to_string()),
    }
}
