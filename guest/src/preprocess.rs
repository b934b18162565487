//! From a picture to the input tensor: crop, scale, turn upright, normalise, lay out.
//!
//! Pure. Every number that depends on the model comes from its card. The crop is centred to a
//! fraction of a pixel, so that it commutes with turning: the small result is turned, not the photo.

use image::metadata::Orientation;
use image::{RgbImage, imageops};

use crate::card::{Card, Color, DataType, Layout, Preprocessing};
use crate::color::{gray_to_rgb, planes_to_rgb, ycc_to_rgb};
use crate::flatten::Samples;
use crate::picture::Picture;
use crate::problem::Problem;
use crate::resample;

/// Which part of a picture the network looks at, and at which size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// Width and height of the network's picture.
    pub(crate) size: (u32, u32),
    /// Part of the largest centred box of that aspect ratio, in (0, 1].
    pub(crate) crop: f64,
}

/// A box in pixels of a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CropBox {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

/// The input tensor of one picture: row-major, little-endian, of the card's type and layout.
pub(crate) fn tensor(picture: &Picture, card: &Card) -> Result<Vec<u8>, Problem> {
    let preprocessing = &card.preprocessing;
    let upright = scale(picture, preprocessing)?;
    let fp32 = card.inputs.first().is_none_or(|input| input.dtype == DataType::Fp32);
    Ok(if fp32 {
        lay_out(&upright, preprocessing, f32::to_le_bytes)
    } else if preprocessing.is_identity() {
        upright.into_raw()
    } else {
        lay_out(&upright, preprocessing, |value| [value.round() as u8])
    })
}

/// The window of a picture at the network's size, upright.
fn scale(picture: &Picture, preprocessing: &Preprocessing) -> Result<RgbImage, Problem> {
    let window = preprocessing.window().before(picture.orientation);
    let part = f64::from(picture.reduction);
    let crop = window.crop_box(picture.size).over(part, part);
    let to = (window.size.0 as usize, window.size.1 as usize);
    let interleaved = |samples, channels| {
        let (width, height) = picture.decoded_size();
        let from = (width as usize, height as usize);
        resample::resize_interleaved((samples, channels), from, crop, to, preprocessing.filter)
    };
    let rgb = match &picture.samples {
        Samples::Rgb(rgb) => planes_to_rgb(&interleaved(rgb, 3)),
        Samples::Gray(gray) => interleaved(gray, 1).first().map(|gray| gray_to_rgb(gray)),
        Samples::Planes(planes) => {
            let planes = resample::resize(planes, to, preprocessing.filter);
            match planes.as_slice() {
                [luma] => Some(gray_to_rgb(luma)),
                [luma, blue, red] => Some(ycc_to_rgb(luma, blue, red)),
                _ => None,
            }
        }
    };
    rgb.and_then(|rgb| RgbImage::from_raw(window.size.0, window.size.1, rgb))
        .map(|small| turn(small, picture.orientation))
        .ok_or_else(|| Problem::internal("the picture cannot be scaled"))
}

/// What the camera asked for, done to the small picture.
fn turn(mut picture: RgbImage, orientation: Orientation) -> RgbImage {
    use imageops::{flip_horizontal_in_place, flip_vertical_in_place, rotate90, rotate180_in_place, rotate270};
    match orientation {
        Orientation::NoTransforms => {}
        Orientation::FlipHorizontal => flip_horizontal_in_place(&mut picture),
        Orientation::FlipVertical => flip_vertical_in_place(&mut picture),
        Orientation::Rotate180 => rotate180_in_place(&mut picture),
        Orientation::Rotate90 => picture = rotate90(&picture),
        Orientation::Rotate270 => picture = rotate270(&picture),
        Orientation::Rotate90FlipH => {
            picture = rotate90(&picture);
            flip_horizontal_in_place(&mut picture);
        }
        Orientation::Rotate270FlipH => {
            picture = rotate270(&picture);
            flip_horizontal_in_place(&mut picture);
        }
    }
    picture
}

impl Preprocessing {
    /// Whether a tensor of bytes is the scaled picture itself.
    fn is_identity(&self) -> bool {
        self.layout == Layout::Nhwc && self.color == Color::Rgb && self.mean == [0.0; 3] && self.std == [1.0; 3]
    }

    /// What the network looks at in an upright picture.
    pub(crate) fn window(&self) -> Window {
        Window { size: self.size, crop: self.crop }
    }
}

impl Window {
    /// The same window in a picture that is still to be turned.
    pub(crate) fn before(self, orientation: Orientation) -> Self {
        use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
        match orientation {
            Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH => Self { size: (self.size.1, self.size.0), ..self },
            _ => self,
        }
    }

    /// Where the window lies in a picture of `size` pixels.
    pub(crate) fn crop_box(self, size: (u32, u32)) -> CropBox {
        let (width, height) = (f64::from(size.0), f64::from(size.1));
        let aspect = f64::from(self.size.0) / f64::from(self.size.1);
        let (wide, high) = if width > height * aspect { (height * aspect, height) } else { (width, width / aspect) };
        // Rounding must not push a box that covers a whole edge over that edge.
        let (wide, high) = ((wide * self.crop).min(width), (high * self.crop).min(height));
        CropBox { left: (width - wide) / 2.0, top: (height - high) / 2.0, width: wide, height: high }
    }

    /// By which of 8, 4, 2 and 1 a picture may be reduced and still have a pixel for each one needed.
    pub(crate) fn reduction(self, size: (u32, u32), orientation: Orientation) -> u32 {
        let window = self.before(orientation);
        window.reduction_of(window.crop_box(size))
    }

    /// The same for a picture, or a component of one, of which the window is `crop`.
    pub(crate) fn reduction_of(self, crop: CropBox) -> u32 {
        let suffices =
            |by: u32| crop.width >= f64::from(by * self.size.0) && crop.height >= f64::from(by * self.size.1);
        [8, 4, 2].into_iter().find(|&by| suffices(by)).unwrap_or(1)
    }

    /// How far beyond the sides of `crop`, and beyond its top and bottom, scaling looks: the wider filter reaches two
    /// pixels of the result or of the picture, whichever are larger.
    pub(crate) fn margins(self, crop: CropBox) -> (f64, f64) {
        let reach = |from: f64, to: u32| 2.0 * (from / f64::from(to)).max(1.0) + 1.0;
        (reach(crop.width, self.size.0), reach(crop.height, self.size.1))
    }
}

impl CropBox {
    /// The same box where a sample stands for so many pixels across and down.
    pub(crate) fn over(self, across: f64, down: f64) -> Self {
        Self { left: self.left / across, top: self.top / down, width: self.width / across, height: self.height / down }
    }
}

/// `(p - mean) / std` for each sample, encoded by `encode` and ordered by the card.
///
/// A sample has 256 values, so each channel is a table: exact, and faster than computing.
fn lay_out<const N: usize>(rgb: &[u8], card: &Preprocessing, encode: fn(f32) -> [u8; N]) -> Vec<u8> {
    let tables: [[[u8; N]; 256]; 3] = std::array::from_fn(|channel| {
        std::array::from_fn(|sample| encode((sample as f32 - card.mean[channel]) / card.std[channel]))
    });
    // Which byte of an RGB pixel is the tensor's first, second and third channel.
    let order = match card.color {
        Color::Rgb => [0, 1, 2],
        Color::Bgr => [2, 1, 0],
    };
    let (pixels, _) = rgb.as_chunks::<3>();
    let mut tensor = vec![0; rgb.len() * N];
    let (elements, _) = tensor.as_chunks_mut::<N>();
    match card.layout {
        Layout::Nhwc => {
            let (targets, _) = elements.as_chunks_mut::<3>();
            for (target, pixel) in targets.iter_mut().zip(pixels) {
                *target = std::array::from_fn(|channel| tables[channel][usize::from(pixel[order[channel]])]);
            }
        }
        Layout::Nchw => {
            for ((plane, table), from) in elements.chunks_exact_mut(pixels.len().max(1)).zip(&tables).zip(order) {
                for (target, pixel) in plane.iter_mut().zip(pixels) {
                    *target = table[usize::from(pixel[from])];
                }
            }
        }
    }
    tensor
}

#[cfg(test)]
mod tests;
