//! GIF: its first frame, on a screen that is as large as the frame needs.

use image::ImageFormat;
use image::metadata::Orientation;

use gif::{DecodeOptions, DecodingError, Frame, MemoryLimit};

use crate::error::Error;
use crate::limits::{MAX_DECODED_BYTES, broken, check_file, check_size, too_much};
use crate::raster::RowCollector;
use crate::types::{Picture, Samples, Window};

/// What is shown where the frame has no pixel, or one without color.
const BEHIND: [u8; 3] = [255; 3];

/// Decodes the first frame of a GIF, as much of it as `window` needs.
pub(crate) fn decode(file: &[u8], window: Window) -> Result<Picture, Error> {
    let mut options = DecodeOptions::new();
    options.set_memory_limit(
        std::num::NonZeroU64::new(MAX_DECODED_BYTES).map_or(MemoryLimit::Unlimited, MemoryLimit::Bytes),
    );
    let mut decoder = options.read_info(file).map_err(refused)?;
    let screen = (decoder.width(), decoder.height());
    let frame =
        decoder.next_frame_info().map_err(refused)?.ok_or_else(|| broken(ImageFormat::Gif, "it has no frame"))?;
    let size = size(screen, frame);
    let (pixels, placed) = (usize::from(frame.width) * usize::from(frame.height), Placed::of(frame));
    check_file(size, file)?;
    // An index and three samples a pixel.
    check_size(size, 4 * u64::from(size.0) * u64::from(size.1))?;
    if pixels == 0 {
        return Err(broken(ImageFormat::Gif, "its frame has no pixels"));
    }
    let mut rows = RowCollector::new(size, 3, window, Orientation::NoTransforms);
    let mut indices = vec![0; pixels];
    // The decoder's own way to order interlaced rows asks for them one by one, and fails where codes are longer than rows.
    if !decoder.fill_buffer(&mut indices).map_err(refused)? {
        return Err(broken(ImageFormat::Gif, "its data ends early"));
    }
    let colors = colors(decoder.palette().unwrap_or_default(), placed.transparent);
    let mut row = vec![BEHIND; size.0 as usize];
    for y in 0..size.1 as usize {
        let line = y.checked_sub(placed.top).and_then(|y| placed.order.get(y));
        let line = line.and_then(|&line| indices.chunks_exact(placed.width).nth(line));
        match line {
            Some(line) => {
                let targets = row.iter_mut().skip(placed.left);
                targets.zip(line).for_each(|(target, &index)| *target = colors[usize::from(index)]);
            }
            None => row.fill(BEHIND),
        }
        rows.push(y, row.as_flattened());
    }
    Ok(Picture { samples: Samples::Interleaved(rows.into_raster()), size, orientation: Orientation::NoTransforms })
}

/// Where a frame lies on the screen.
struct Placed {
    left: usize,
    top: usize,
    width: usize,
    /// For each row from the top, which one of the file it is.
    order: Vec<usize>,
    /// The index without color.
    transparent: Option<u8>,
}

impl Placed {
    fn of(frame: &Frame<'_>) -> Self {
        Self {
            left: frame.left.into(),
            top: frame.top.into(),
            width: frame.width.into(),
            order: order(frame.height.into(), frame.interlaced),
            transparent: frame.transparent,
        }
    }
}

/// For each of `height` rows, from the top, which one of the file it is: the rows of an interlaced frame come in four
/// passes (GIF89a, appendix E).
fn order(height: usize, is_interlaced: bool) -> Vec<usize> {
    if !is_interlaced {
        return (0..height).collect();
    }
    let passes = [(0, 8), (4, 8), (2, 4), (1, 2)];
    let in_file = passes.into_iter().flat_map(|(start, step)| (start..height).step_by(step));
    let mut order = vec![0; height];
    in_file.enumerate().for_each(|(line, y)| order[y] = line);
    order
}

/// Width and height of the screen, or of what it takes to show all of the frame.
fn size(screen: (u16, u16), frame: &Frame<'_>) -> (u32, u32) {
    let side = |screen: u16, start: u16, length: u16| u32::from(screen).max(u32::from(start) + u32::from(length));
    (side(screen.0, frame.left, frame.width), side(screen.1, frame.top, frame.height))
}

/// The color of each index: black beyond the palette.
fn colors(palette: &[u8], transparent: Option<u8>) -> [[u8; 3]; 256] {
    let mut colors = [[0; 3]; 256];
    colors.iter_mut().zip(palette.as_chunks().0).for_each(|(color, of)| *color = *of);
    if let Some(index) = transparent {
        colors[usize::from(index)] = BEHIND;
    }
    colors
}

fn refused(error: DecodingError) -> Error {
    match error {
        DecodingError::MemoryLimit | DecodingError::OutOfMemory => too_much("GIF"),
        other => broken(ImageFormat::Gif, &other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interlaced_rows_are_put_in_order() {
        assert_eq!(order(10, true), [0, 5, 3, 6, 2, 7, 4, 8, 1, 9]);
        assert_eq!(order(1, true), [0]);
        assert_eq!(order(3, false), [0, 1, 2]);
    }
}
