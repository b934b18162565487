//! BMP. Headers that Windows and Pillow accept and the library decoder does not are mended first.

use std::borrow::Cow;
use std::io::Cursor;

use image::codecs::bmp::BmpDecoder;
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat};

use crate::error::Error;
use crate::limits::{broken, check_file, check_size, too_much, unsupported};
use crate::raster::RowCollector;
use crate::types::{Picture, Samples, Window};

/// Bytes of the file header, and of Windows' bitmap header behind it.
const FILE_HEADER: usize = 14;
const INFO_HEADER: usize = 40;
/// OS/2's first bitmap header, whose palette has three bytes a color.
const CORE_HEADER: usize = 12;
/// OS/2's second bitmap header, of which the first 40 bytes are Windows', whole or cut short.
const OS2_HEADERS: [usize; 2] = [16, 64];
/// The compression that has masks for red, green and blue behind the header.
const BITFIELDS: u32 = 3;

/// Decodes a BMP, and keeps as much of it as `window` needs.
pub(crate) fn decode(file: &[u8], window: Window) -> Result<Picture, Error> {
    let file = mended(file);
    let decoder = BmpDecoder::new(Cursor::new(&file)).map_err(refused)?;
    let (size, color) = (decoder.dimensions(), decoder.color_type());
    check_size(size, decoder.total_bytes())?;
    check_file(size, &file)?;
    let samples_per_pixel = match color {
        ColorType::L8 => 1,
        ColorType::Rgb8 => 3,
        ColorType::Rgba8 => 4,
        _ => return Err(unsupported("this kind of BMP is not read")),
    };
    let pixels = DynamicImage::from_decoder(decoder).map_err(refused)?.into_bytes();
    let mut rows = RowCollector::new(size, samples_per_pixel, window, Orientation::NoTransforms);
    let stride = size.0 as usize * samples_per_pixel;
    pixels.chunks_exact(stride).enumerate().for_each(|(y, row)| rows.push(y, row));
    Ok(Picture { samples: Samples::Interleaved(rows.into_raster()), size, orientation: Orientation::NoTransforms })
}

fn refused(error: ImageError) -> Error {
    match error {
        ImageError::Limits(_) => too_much("BMP"),
        // The decoder calls a size that overflows 32 bits unsupported, but it is too large.
        ImageError::Unsupported(what) if what.to_string().contains("too large") => too_much("BMP"),
        ImageError::Unsupported(what) => unsupported(&format!("this kind of BMP is not read ({what})")),
        other => broken(ImageFormat::Bmp, &other.to_string()),
    }
}

/// The file with a header that the decoder reads, and with an offset of its pixels that does not lie in its header or
/// palette. The file itself where it is right already, or too short to tell.
fn mended(file: &[u8]) -> Cow<'_, [u8]> {
    let file = with_known_header(file);
    match right_offset(&file) {
        Some(offset) => {
            let mut file = file.into_owned();
            file[10..14].copy_from_slice(&offset.to_le_bytes());
            Cow::Owned(file)
        }
        None => file,
    }
}

/// Makes Windows' header of OS/2's second one.
fn with_known_header(file: &[u8]) -> Cow<'_, [u8]> {
    let size = number(file, FILE_HEADER).map_or(0, |size| size as usize);
    let (Some(header), Some(rest)) = (file.get(..FILE_HEADER + size), file.get(FILE_HEADER + size..)) else {
        return Cow::Borrowed(file);
    };
    if !OS2_HEADERS.contains(&size) {
        return Cow::Borrowed(file);
    }
    let mut mended = header[..FILE_HEADER + size.min(INFO_HEADER)].to_vec();
    mended.resize(FILE_HEADER + INFO_HEADER, 0);
    mended.extend(rest);
    let offset = number(file, 10).unwrap_or(0);
    if offset > 0 {
        let moved = (offset + INFO_HEADER as u32).saturating_sub(size as u32);
        mended[10..14].copy_from_slice(&moved.to_le_bytes());
    }
    mended[FILE_HEADER..FILE_HEADER + 4].copy_from_slice(&(INFO_HEADER as u32).to_le_bytes());
    Cow::Owned(mended)
}

/// Where the pixels start if the offset that the file tells is 0, or that of the palette. `None` where it is right.
fn right_offset(file: &[u8]) -> Option<u32> {
    let (told, header) = (number(file, 10)?, number(file, FILE_HEADER)?);
    let (bits_at, entry) = if header as usize == CORE_HEADER { (24, 3) } else { (28, 4) };
    let bits = u32::from(u16::from_le_bytes(file.get(bits_at..bits_at + 2)?.try_into().ok()?));
    let used = if entry == 3 { 0 } else { number(file, 46).filter(|&used| used <= 256)? };
    let colors = if bits > 8 { 0 } else { entry * if used > 0 { used } else { 1 << bits } };
    let masks = if entry == 4 && header as usize == INFO_HEADER && number(file, 30)? == BITFIELDS { 12 } else { 0 };
    let end = (FILE_HEADER as u32).checked_add(header)?;
    let forgets_palette = told == end && colors > 0;
    (told == 0 || forgets_palette).then_some(end.checked_add(masks + colors)?)
}

/// The number of four bytes at an offset.
fn number(file: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(file.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of one row of two pixels of 8 bits: file header, a header of that size, palette, pixels.
    fn file(header: usize, offset: u32) -> Vec<u8> {
        let mut file = [&b"BM"[..], &[0; 8], &offset.to_le_bytes(), &(header as u32).to_le_bytes()].concat();
        file.extend(match header {
            CORE_HEADER => [&[2, 0, 1, 0, 1, 0, 8, 0][..]].concat(),
            _ => [&[2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 8, 0][..], &vec![0; header - 16]].concat(),
        });
        file.extend((0..=255u8).flat_map(|n| [n, n, n, 0].into_iter().take(if header == CORE_HEADER { 3 } else { 4 })));
        file.extend([10, 200, 0, 0]);
        file
    }

    #[test]
    fn every_header_with_every_offset_shows_the_pixels() {
        for header in [CORE_HEADER, 16, INFO_HEADER, 64] {
            let palette = if header == CORE_HEADER { 768 } else { 1024 };
            let end = (FILE_HEADER + header) as u32;
            for offset in [0, end, end + palette] {
                let file = file(header, offset);
                let pixels = image::load_from_memory_with_format(&mended(&file), image::ImageFormat::Bmp).unwrap();
                assert_eq!(pixels.to_luma8().into_raw(), [10, 200], "{header} {offset}");
            }
        }
    }

    #[test]
    fn right_files_and_nonsense_stay_as_they_are() {
        let right = file(INFO_HEADER, 14 + 40 + 1024);
        assert!(matches!(mended(&right), Cow::Borrowed(_)));
        for length in 0..FILE_HEADER + INFO_HEADER {
            let _ = mended(&file(64, 0)[..length]);
        }
        for filler in [0, 0x7F, 0xFF] {
            let _ = mended(&[filler; 200]);
        }
    }
}
