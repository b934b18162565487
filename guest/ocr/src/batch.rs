//! Lines of text, one below the other, as the networks take them: all of one height, with gray behind the shorter ones.

use modelfn_imaging::{Filter, RgbImage, resize};

/// Gray, which the networks take for nothing: 0 is the middle of what they compute with.
const NOTHING: u8 = 127;

/// Pictures of one size as U8 in NHWC.
#[derive(Debug)]
pub(crate) struct Batch {
    size: (u32, u32),
    pixels: Vec<u8>,
    count: u32,
}

impl Batch {
    /// For pictures of `size`, which is width and height.
    pub(crate) fn new(size: (u32, u32)) -> Self {
        Self { size, pixels: Vec::new(), count: 0 }
    }

    /// Adds a line. It gets the height of the batch, and keeps its proportions unless it would become too wide.
    pub(crate) fn push(&mut self, line: &RgbImage) {
        let (width, height) = self.size;
        let ratio = f64::from(line.width()) / f64::from(line.height().max(1));
        let wide = ((f64::from(height) * ratio).ceil() as u32).clamp(1, width);
        let scaled = resize(line, (wide, height), Filter::Bilinear);
        let stride = width as usize * 3;
        for row in scaled.chunks_exact(wide as usize * 3) {
            let end = self.pixels.len() + stride;
            self.pixels.extend_from_slice(row);
            self.pixels.resize(end, NOTHING);
        }
        self.count += 1;
    }

    /// Of the tensor: pictures, rows, columns, and channels.
    pub(crate) fn shape(&self) -> [u32; 4] {
        [self.count, self.size.1, self.size.0, 3]
    }

    pub(crate) fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }
}

#[cfg(test)]
mod tests;
