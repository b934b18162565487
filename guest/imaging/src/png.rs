//! PNG, row by row: of a picture only the part that the network's window needs is kept.
//!
//! What is shown is what Pillow and browsers show: all of the picture's data must be there, but not the chunks behind it.

use std::io::Cursor;

use image::ImageFormat;
use image::metadata::Orientation;
use png::{Decoder, DecodingError, Info, Limits, Reader, Transformations};

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
    check_work(info, samples_per_pixel)?;
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

/// Refuses what takes too much memory, or too long: a pixel counts as many bytes as it takes, in the file or in memory,
/// and as much as RGB at least, since one sample takes as long as three. The pixels of an interlaced picture are moved,
/// too.
fn check_work(info: &Info<'_>, samples_per_pixel: usize) -> Result<(), Error> {
    let (width, height) = (info.width, info.height);
    let pixels = u64::from(width) * u64::from(height);
    let bytes = samples_per_pixel.max(info.bytes_per_pixel());
    check_size((width, height), pixels * bytes as u64)?;
    let cost = bytes.max(3) + if info.interlaced { 2 } else { 0 };
    let most = MAX_DECODED_BYTES / cost as u64;
    if pixels > most {
        let kind = if info.interlaced { "an interlaced PNG" } else { "a PNG" };
        return Err(Error::too_large(format!(
            "decoding {kind} of {width} x {height} pixels takes too long; send one of at most {most} pixels"
        )));
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    const WINDOW: Window = Window::cropped((8, 8), 1.0);

    /// A gray picture, of black.
    fn file(width: u32, height: u32) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        image::GrayImage::new(width, height).write_to(&mut file, ImageFormat::Png).unwrap();
        file.into_inner()
    }

    /// The file with another byte in its header, and the checksum that goes with it.
    fn with_header(mut file: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
        file[at] = byte;
        let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        let crc = file[12..29].iter().fold(u32::MAX, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step));
        file[29..33].copy_from_slice(&(!crc).to_be_bytes());
        file
    }

    #[test]
    fn work_is_bounded_whatever_a_pixel_is() {
        let padded = |width, height| [file(width, height), vec![0; 200_000]].concat();
        assert!(decode(&padded(5700, 5700), WINDOW).is_ok());
        let error = decode(&padded(6000, 6000), WINDOW).unwrap_err();
        assert_eq!(error.kind, ErrorKind::TooLarge);
        assert!(error.detail.contains("takes too long"), "{}", error.detail);
        // Interlaced, which the data is not: the size is refused first.
        let interlaced = |width, height| decode(&with_header(padded(width, height), 28, 1), WINDOW).unwrap_err().kind;
        assert_eq!(interlaced(4600, 4600), ErrorKind::TooLarge);
        assert_eq!(interlaced(4400, 4400), ErrorKind::Damaged);
    }

    #[test]
    fn orientation_may_stand_before_the_data_or_behind_it() {
        let whole = file(9, 5);
        let chunk = |data: &[u8]| [&(data.len() as u32).to_be_bytes()[..], b"eXIf", data, &[0; 4]].concat();
        let tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let (head, end) = (33, whole.len() - 12);
        for metadata in [tiff.to_vec(), [b"Exif\0\0", &tiff[..]].concat()] {
            for at in [head, end, whole.len()] {
                let with = [&whole[..at], &chunk(&metadata), &whole[at..]].concat();
                assert_eq!(orientation(&with), Orientation::Rotate90, "{at}");
            }
        }
        assert_eq!(orientation(&whole), Orientation::NoTransforms);
    }

    #[test]
    fn what_is_behind_the_data_need_not_be_there() {
        let whole = file(9, 5);
        let data = whole.len() - 12;
        for length in data..whole.len() {
            assert!(decode(&whole[..length], WINDOW).is_ok(), "{length}");
        }
        // The data's checksum is the last that is missed.
        let pixels = data - 8;
        for length in 0..pixels - 3 {
            assert_eq!(decode(&whole[..length], WINDOW).unwrap_err().kind, ErrorKind::Damaged, "{length}");
        }
    }
}
