//! Collects the rows of a picture as gray or RGB samples, and only those that the network's window needs.
//!
//! Alpha is composed over white, as a browser shows it on an empty page.

use std::ops::Range;

use image::metadata::Orientation;

use crate::types::{Raster, Window};

/// The rows of a picture that arrive from its decoder.
pub(crate) struct RowCollector {
    /// Samples of a pixel as the decoder has them: 1 for gray, 3 for RGB, and one more with alpha behind them.
    samples_per_pixel: usize,
    columns: Range<usize>,
    rows: Range<usize>,
    raster: Raster,
}

impl RowCollector {
    /// For a picture of `size` pixels of so many samples, 1 to 4, the last of which is alpha where they are even.
    pub(crate) fn new(size: (u32, u32), samples_per_pixel: usize, window: Window, orientation: Orientation) -> Self {
        let window = window.as_stored(size, orientation);
        let crop = window.crop_box(size);
        let (columns, rows) = window.reach(crop, (size.0 as usize, size.1 as usize));
        let channels = if samples_per_pixel < 3 { 1 } else { 3 };
        let (width, height) = (columns.len(), rows.len());
        let raster = Raster {
            samples: Vec::with_capacity(width * height * channels),
            channels,
            width,
            height,
            crop: crop.without((columns.start, rows.start)),
        };
        Self { samples_per_pixel, columns, rows, raster }
    }

    /// Takes the next row that the window needs, `y`; others are passed over.
    pub(crate) fn push(&mut self, y: usize, row: &[u8]) {
        let count = self.samples_per_pixel;
        let columns = self.columns.start * count..self.columns.end * count;
        let Some(row) = row.get(columns).filter(|_| self.rows.contains(&y)) else { return };
        let samples = &mut self.raster.samples;
        match count {
            2 => samples.extend(row.as_chunks().0.iter().map(|&[gray, alpha]| over_white(gray, alpha))),
            4 => {
                let pixels = row.as_chunks().0.iter();
                samples.extend(
                    pixels.flat_map(|&[red, green, blue, alpha]| [red, green, blue].map(|ink| over_white(ink, alpha))),
                );
            }
            _ => samples.extend_from_slice(row),
        }
    }

    /// The picture, once all rows were taken.
    pub(crate) fn into_raster(self) -> Raster {
        self.raster
    }
}

/// One sample composed over white, rounded to the nearest.
fn over_white(ink: u8, alpha: u8) -> u8 {
    let (ink, alpha) = (u32::from(ink), u32::from(alpha));
    ((ink * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(samples_per_pixel: usize, row: &[u8]) -> Vec<u8> {
        let width = (row.len() / samples_per_pixel) as u32;
        let window = Window::cropped((width, 1), 1.0);
        let mut rows = RowCollector::new((width, 1), samples_per_pixel, window, Orientation::NoTransforms);
        rows.push(0, row);
        rows.into_raster().samples
    }

    #[test]
    fn alpha_shows_white_behind() {
        let pixels = [10, 20, 30, 255, 10, 20, 30, 0, 0, 100, 255, 128];
        assert_eq!(collect(4, &pixels), [10, 20, 30, 255, 255, 255, 127, 177, 255]);
        assert_eq!(collect(2, &[7, 255, 7, 0]), [7, 255]);
        assert_eq!(collect(1, &[7, 8]), [7, 8]);
        assert_eq!(collect(3, &[7, 8, 9]), [7, 8, 9]);
    }

    #[test]
    fn a_picture_of_any_shape_takes_what_its_window_shows() {
        let window = Window::cropped((224, 224), 0.875);
        for size in [(30_000_000, 1), (1, 30_000_000), (1_000_000, 3)] {
            let rows = RowCollector::new(size, 3, window, Orientation::NoTransforms);
            assert!(rows.raster.samples.capacity() < 1000, "{size:?}: {} bytes", rows.raster.samples.capacity());
        }
    }
}
