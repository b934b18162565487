//! The picture as it is worked on, and the sizes of what networks see of it.

use modelfn_guest::imaging::{Error, Filter, Picture, RgbImage, resize, rgb};
use serde::Deserialize;

use crate::geometry::{Point, Quad};

/// What has fewer pixels a side is enlarged, and gets black above and below: a line of text needs some height, and some
/// air.
const MIN_SIDE: u32 = 30;

/// `[preprocessing]` of the card of a detection model.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SizeRules {
    /// The network sees pictures whose shorter side has so many pixels, at least.
    pub(crate) min_side: u32,
    /// A picture whose longer side has more pixels is made smaller.
    pub(crate) max_side: u32,
    /// The sides of what the network sees are multiples of this.
    pub(crate) multiple: u32,
    /// A picture that is more oblong than this gets black beside it.
    pub(crate) max_aspect: f64,
}

/// The picture at the size at which it is worked on, with black beside it where it is a stripe.
#[derive(Debug)]
pub(crate) struct Sheet {
    pub(crate) pixels: RgbImage,
    /// Width and height of the upright picture.
    pub(crate) original: (u32, u32),
    /// Width and height of the picture in the sheet.
    scaled: (u32, u32),
    /// Where the picture lies in the sheet: columns from the left, and rows from the top.
    margin: (u32, u32),
}

impl SizeRules {
    /// What is wrong in the card; `None` where nothing is.
    pub(crate) fn mistake(&self) -> Option<&'static str> {
        if self.multiple == 0 || self.min_side < self.multiple || self.max_side < self.min_side {
            return Some("preprocessing needs 1 <= multiple <= min_side <= max_side");
        }
        (self.max_aspect < 1.0 || !self.max_aspect.is_finite()).then_some("preprocessing.max_aspect must be 1 at least")
    }

    /// The size at which a picture is worked on.
    fn working_size(&self, size: (u32, u32)) -> (u32, u32) {
        let longer = size.0.max(size.1);
        let size = if longer > self.max_side { self.scaled(size, self.max_side, longer) } else { size };
        let shorter = size.0.min(size.1);
        if shorter >= MIN_SIDE {
            return size;
        }
        // A stripe would become too long, and is stretched across instead.
        let (width, height) = self.scaled(size, MIN_SIDE, shorter);
        (width.min(self.max_side), height.min(self.max_side))
    }

    /// Columns of black on the left and on the right of a picture, and rows above and below it.
    fn margin(&self, (width, height): (u32, u32)) -> (u32, u32) {
        let beside = |long: u32, short: u32| {
            let wanted = 2 * ((f64::from(long) / self.max_aspect) as u32).max(MIN_SIDE);
            wanted.saturating_sub(short) / 2
        };
        if height <= MIN_SIDE || f64::from(width) > self.max_aspect * f64::from(height) {
            (0, beside(width, height))
        } else if width <= MIN_SIDE || f64::from(height) > self.max_aspect * f64::from(width) {
            (beside(height, width), 0)
        } else {
            (0, 0)
        }
    }

    /// The size at which the network sees a sheet of `size`.
    fn network_size(&self, size: (u32, u32)) -> (u32, u32) {
        let shorter = size.0.min(size.1);
        if shorter < self.min_side { self.scaled(size, self.min_side, shorter) } else { self.scaled(size, 1, 1) }
    }

    /// A size that is multiplied by `to` / `from`, and then the nearest multiple.
    fn scaled(&self, size: (u32, u32), to: u32, from: u32) -> (u32, u32) {
        let ratio = f64::from(to) / f64::from(from);
        let side = |side: u32| {
            let multiples = (f64::from(side) * ratio).floor() / f64::from(self.multiple);
            (multiples.round_ties_even() as u32).max(1) * self.multiple
        };
        (side(size.0), side(size.1))
    }
}

impl Sheet {
    /// The sheet of a picture that was decoded whole.
    ///
    /// # Errors
    ///
    /// Those of [`rgb`].
    pub(crate) fn new(picture: &Picture, rules: &SizeRules) -> Result<Self, Error> {
        let original = picture.upright_size();
        let scaled = rules.working_size(original);
        let pixels = rgb(picture, scaled, Filter::Bilinear)?;
        let margin = rules.margin(scaled);
        let pixels = if margin == (0, 0) { pixels } else { with_margin(&pixels, margin) };
        Ok(Self { pixels, original, scaled, margin })
    }

    /// The sheet as the detection network sees it.
    pub(crate) fn for_network(&self, rules: &SizeRules) -> RgbImage {
        resize(&self.pixels, rules.network_size(self.pixels.dimensions()), Filter::Bilinear)
    }

    /// A box of the sheet in whole pixels of the original picture.
    pub(crate) fn in_original(&self, corners: &Quad) -> [(u32, u32); 4] {
        let place = |at: f64, margin: u32, scaled: u32, original: u32| {
            let in_picture = (at - f64::from(margin)) * f64::from(original) / f64::from(scaled);
            in_picture.round().clamp(0.0, f64::from(original)) as u32
        };
        corners.map(|Point { x, y }| {
            (
                place(x, self.margin.0, self.scaled.0, self.original.0),
                place(y, self.margin.1, self.scaled.1, self.original.1),
            )
        })
    }
}

fn with_margin(picture: &RgbImage, (columns, rows): (u32, u32)) -> RgbImage {
    let mut sheet = RgbImage::new(picture.width() + 2 * columns, picture.height() + 2 * rows);
    let stride = sheet.width() as usize * 3;
    let start = columns as usize * 3;
    let length = picture.width() as usize * 3;
    let targets = sheet.chunks_exact_mut(stride).skip(rows as usize);
    for (target, source) in targets.zip(picture.as_raw().chunks_exact(length)) {
        target[start..start + length].copy_from_slice(source);
    }
    sheet
}

#[cfg(test)]
mod tests;
