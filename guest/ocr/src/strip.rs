//! A line of text as the networks take it: of a certain height, with gray behind it.

use modelfn_guest::imaging::{Filter, RgbImage, resize};

/// Gray, which the networks take for nothing: 0 is the middle of what they compute with.
const NOTHING: u8 = 127;

/// The pixels of a line at `size`, which is width and height, as U8 in NHWC. The line gets that height, and keeps its
/// proportions unless it would become too wide.
pub(crate) fn strip(line: &RgbImage, (width, height): (u32, u32)) -> Vec<u8> {
    let wide = width_at(line, height).clamp(1, width);
    let scaled = resize(line, (wide, height), Filter::Bilinear);
    let stride = width as usize * 3;
    let mut pixels = vec![NOTHING; stride * height as usize];
    for (target, source) in pixels.chunks_exact_mut(stride).zip(scaled.chunks_exact(wide as usize * 3)) {
        target[..source.len()].copy_from_slice(source);
    }
    pixels
}

/// The width of a line that is scaled to `height`.
pub(crate) fn width_at(line: &RgbImage, height: u32) -> u32 {
    (f64::from(height) * f64::from(line.width()) / f64::from(line.height().max(1))).ceil() as u32
}

#[cfg(test)]
mod tests;
