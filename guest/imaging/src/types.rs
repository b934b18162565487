//! What the steps from file to tensor hand to each other: pictures, their samples, and the window that is looked at.

use std::ops::Range;

use image::metadata::Orientation;
use modelfn_card::image::{Preprocessing, Resize};

/// A decoded picture, as it lies in the file.
#[derive(Debug, Clone)]
pub struct Picture {
    /// Top row first.
    pub samples: Samples,
    /// Width and height that the file declares.
    pub size: (u32, u32),
    /// What is left to do to see the picture upright.
    pub orientation: Orientation,
}

/// One component of a picture, of which only what the window needs was decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    /// Row-major, without padding.
    pub samples: Vec<u8>,
    /// Samples a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Where the window lies in it.
    pub crop: CropBox,
}

/// Opaque 8-bit samples of the window, at least, of a picture.
#[derive(Debug, Clone, PartialEq)]
pub enum Samples {
    /// Gray or RGB.
    Interleaved(Raster),
    /// One plane for each component of a JPEG, each with the sampling that it has in the file.
    Planes(Vec<Plane>, ColorModel),
}

/// Gray or RGB samples, interleaved.
#[derive(Debug, Clone, PartialEq)]
pub struct Raster {
    /// Row-major, without padding.
    pub samples: Vec<u8>,
    /// Samples of a pixel: 1 for gray, 3 for RGB.
    pub channels: usize,
    /// Pixels a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Where the window lies in it.
    pub crop: CropBox,
}

/// What the components of a JPEG are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColorModel {
    /// Luma alone.
    Gray,
    /// Luma and the differences to blue and red (JFIF's YCbCr).
    Ycc,
    /// Red, green and blue.
    Rgb,
    /// Cyan, magenta, yellow and black, inverted as Adobe writes them: 255 is no ink.
    Cmyk,
    /// The same with YCbCr of the complements of the three inks.
    Ycck,
}

/// Which part of a picture the network looks at, and at which size.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Width and height of the network's picture.
    pub size: (u32, u32),
    /// How a picture of another aspect ratio becomes one of `size`.
    pub resize: Resize,
    /// Part of the centred box that `resize` takes, in (0, 1].
    pub crop: f64,
}

/// A box in pixels of a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CropBox {
    /// Distance from the left edge.
    pub left: f64,
    /// Distance from the upper edge.
    pub top: f64,
    /// Extent to the right.
    pub width: f64,
    /// Extent downwards.
    pub height: f64,
}

impl Window {
    /// The window of an upright picture that a card asks for.
    pub fn of(preprocessing: &Preprocessing) -> Self {
        Self { size: preprocessing.size, resize: preprocessing.resize, crop: preprocessing.crop }
    }

    /// All of a picture, for functions that look at it more than once and with at most so many pixels a side. What is
    /// larger is decoded at a half, a quarter or an eighth where its format can do that.
    pub const fn whole(max_side: u32) -> Self {
        Self { size: (max_side, max_side), resize: Resize::Pad, crop: 1.0 }
    }

    /// A part of the largest centred box of the aspect ratio of `size`.
    pub const fn cropped(size: (u32, u32), crop: f64) -> Self {
        Self { size, resize: Resize::Crop, crop }
    }

    /// The same window in a picture of `picture` pixels that is still to be turned. Of a padded one it is the part that
    /// shows the picture.
    pub(crate) fn as_stored(self, picture: (u32, u32), orientation: Orientation) -> Self {
        let size = turned(self.size, orientation);
        match self.resize {
            Resize::Pad => Self { size: contained(picture, size), resize: Resize::Squash, crop: 1.0 },
            Resize::Crop | Resize::Squash => Self { size, ..self },
        }
    }

    /// Where the window lies in a picture of `size` pixels.
    pub(crate) fn crop_box(self, size: (u32, u32)) -> CropBox {
        let (width, height) = (f64::from(size.0), f64::from(size.1));
        let aspect = f64::from(self.size.0) / f64::from(self.size.1);
        let (wide, high) = match self.resize {
            Resize::Squash | Resize::Pad => (width, height),
            Resize::Crop if width > height * aspect => (height * aspect, height),
            Resize::Crop => (width, width / aspect),
        };
        // Rounding must not push a box that covers a whole edge over that edge.
        let (wide, high) = ((wide * self.crop).min(width), (high * self.crop).min(height));
        CropBox { left: (width - wide) / 2.0, top: (height - high) / 2.0, width: wide, height: high }
    }

    /// By which of 8, 4, 2 and 1 a component of a picture, of which the window is `crop`, may be reduced and still have
    /// a sample for each one needed.
    pub(crate) fn reduction_of(self, crop: CropBox) -> u32 {
        let suffices =
            |by: u32| crop.width >= f64::from(by * self.size.0) && crop.height >= f64::from(by * self.size.1);
        [8, 4, 2].into_iter().find(|&by| suffices(by)).unwrap_or(1)
    }

    /// The columns and the rows that scaling `crop` looks at, in a picture of `size`.
    pub(crate) fn reach(self, crop: CropBox, size: (usize, usize)) -> (Range<usize>, Range<usize>) {
        let (margin_x, margin_y) = self.margins(crop);
        let span = |start: f64, length: f64, margin: f64, available: usize| {
            let from = (start - margin).max(0.0) as usize;
            from..((start + length + margin).ceil() as usize).min(available)
        };
        (span(crop.left, crop.width, margin_x, size.0), span(crop.top, crop.height, margin_y, size.1))
    }

    /// How far beyond the sides of `crop`, and beyond its top and bottom, scaling looks: the wider filter reaches two
    /// pixels of the result or of the picture, whichever are larger.
    pub(crate) fn margins(self, crop: CropBox) -> (f64, f64) {
        let reach = |from: f64, to: u32| 2.0 * (from / f64::from(to)).max(1.0) + 1.0;
        (reach(crop.width, self.size.0), reach(crop.height, self.size.1))
    }
}

impl Picture {
    /// Width and height of the picture once it is upright.
    pub fn upright_size(&self) -> (u32, u32) {
        turned(self.size, self.orientation)
    }
}

/// Width and height, swapped where the orientation turns the picture on its side.
pub(crate) fn turned((width, height): (u32, u32), orientation: Orientation) -> (u32, u32) {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    match orientation {
        Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH => (height, width),
        _ => (width, height),
    }
}

/// The largest width and height of the aspect ratio of `picture` that fit into `size`, rounded as `ImageOps.contain` of
/// Pillow does, and at least one pixel.
fn contained(picture: (u32, u32), size: (u32, u32)) -> (u32, u32) {
    let [picture, limits] = [picture, size].map(|(width, height)| (f64::from(width), f64::from(height)));
    let rounded = |side: f64| (side.round_ties_even() as u32).max(1);
    let (aspect, wanted) = (picture.0 / picture.1, limits.0 / limits.1);
    if aspect > wanted {
        (size.0, rounded(picture.1 / picture.0 * limits.0).min(size.1))
    } else if aspect < wanted {
        (rounded(picture.0 / picture.1 * limits.1).min(size.0), size.1)
    } else {
        size
    }
}

impl CropBox {
    /// All of a picture of `size` pixels.
    pub(crate) fn all_of(size: (usize, usize)) -> Self {
        Self { left: 0.0, top: 0.0, width: size.0 as f64, height: size.1 as f64 }
    }

    /// Whether this is all of a picture of `size` pixels, and nothing is lost to rounding.
    pub(crate) fn is_all_of(self, size: (usize, usize)) -> bool {
        self == Self::all_of(size)
    }

    /// The same box in a picture that lacks so many columns and rows at its left and upper edge.
    pub(crate) fn without(self, (columns, rows): (usize, usize)) -> Self {
        Self { left: self.left - columns as f64, top: self.top - rows as f64, ..self }
    }

    /// The same box where a sample stands for so many pixels across and down.
    pub(crate) fn over(self, across: f64, down: f64) -> Self {
        Self { left: self.left / across, top: self.top / down, width: self.width / across, height: self.height / down }
    }
}
