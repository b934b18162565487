//! PNG, row by row: of a picture only the part that the network's window needs is kept.
//!
//! What is shown is what Pillow and browsers show: all of the picture's data must be there, but not the chunks behind it.

use std::io::Cursor;

use image::ImageFormat;
use image::metadata::Orientation;
use png::{Decoder, DecodingError, Limits, Reader, Transformations};

use crate::error::Error;
use crate::exif;
use crate::limits::{MAX_DECODED_BYTES, broken, check_file, check_size, too_much, unsupported};
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
    let (width, height) = (width as usize, height as usize);
    let mut picture = vec![0; width * height * samples_per_pixel];
    for Pass { left, top, right, down } in PASSES {
        // A pass without columns has no rows.
        let rows = if left < width { (top..height).step_by(down) } else { (0..0).step_by(1) };
        for y in rows {
            let row = reader.next_interlaced_row().map_err(refused)?.ok_or_else(rows_missing)?;
            let target = &mut picture[y * width * samples_per_pixel..][..width * samples_per_pixel];
            match samples_per_pixel {
                1 => spread::<1>(row.data(), target, (left, right)),
                2 => spread::<2>(row.data(), target, (left, right)),
                3 => spread::<3>(row.data(), target, (left, right)),
                _ => spread::<4>(row.data(), target, (left, right)),
            }
        }
    }
    Ok(picture)
}

/// Writes the pixels of a pass's row to a whole row: the first column, and the step to the next one.
fn spread<const SAMPLES: usize>(row: &[u8], target: &mut [u8], (left, right): (usize, usize)) {
    let targets = target.as_chunks_mut::<SAMPLES>().0.iter_mut().skip(left).step_by(right);
    targets.zip(row.as_chunks::<SAMPLES>().0).for_each(|(target, pixel)| *target = *pixel);
}

/// Which pixels a pass of an interlaced picture has (PNG, 8.2).
struct Pass {
    left: usize,
    top: usize,
    /// Columns from one pixel to the next, and rows from one row to the next.
    right: usize,
    down: usize,
}

const PASSES: [Pass; 7] = [
    Pass { left: 0, top: 0, right: 8, down: 8 },
    Pass { left: 4, top: 0, right: 8, down: 8 },
    Pass { left: 0, top: 4, right: 4, down: 8 },
    Pass { left: 2, top: 0, right: 4, down: 4 },
    Pass { left: 0, top: 2, right: 2, down: 4 },
    Pass { left: 1, top: 0, right: 2, down: 2 },
    Pass { left: 0, top: 1, right: 1, down: 2 },
];

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
