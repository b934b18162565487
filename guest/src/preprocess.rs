//! From pixels to the input tensor: crop, scale, turn upright, normalise, lay out.
//!
//! Pure. Every number that depends on the model comes from its card. The crop is centred to a
//! fraction of a pixel, so that it commutes with turning: the small result is turned, not the photo.

use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::DynamicImage;
use image::metadata::Orientation;

use crate::card::{Card, Color, DataType, Filter, Layout, Preprocessing};
use crate::picture::Picture;
use crate::problem::Problem;

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
pub(crate) fn tensor(picture: Picture, card: &Card) -> Result<Vec<u8>, Problem> {
    let preprocessing = &card.preprocessing;
    let upright = scale(picture, preprocessing)?.into_rgb8();
    let fp32 = card.inputs.first().is_none_or(|input| input.dtype == DataType::Fp32);
    Ok(if fp32 {
        lay_out(&upright, preprocessing, f32::to_le_bytes)
    } else {
        lay_out(&upright, preprocessing, |value| [value.round() as u8])
    })
}

/// The window of a picture at the network's size, upright and opaque.
pub(crate) fn scale(mut picture: Picture, preprocessing: &Preprocessing) -> Result<DynamicImage, Problem> {
    let window = preprocessing.window().before(picture.orientation);
    let crop = window.crop_box(picture.size);
    let part = f64::from(picture.reduction);
    let filter = match preprocessing.filter {
        Filter::Bicubic => FilterType::CatmullRom,
        Filter::Bilinear => FilterType::Bilinear,
    };
    // The alpha channel is gone by then: asking for it would only cost a copy.
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(filter))
        .crop(crop.left / part, crop.top / part, crop.width / part, crop.height / part)
        .use_alpha(false);
    compose_over_white(&mut picture.pixels);
    let mut small = DynamicImage::new(window.size.0, window.size.1, picture.pixels.color());
    Resizer::new()
        .resize(&picture.pixels, &mut small, &options)
        .map_err(|error| Problem::internal(format!("the picture cannot be scaled: {error}")))?;
    small.apply_orientation(picture.orientation);
    Ok(small)
}

impl Preprocessing {
    /// What the network looks at in an upright picture.
    pub(crate) fn window(&self) -> Window {
        Window { size: self.size, crop: self.crop }
    }
}

impl Window {
    /// The same window in a picture that is still to be turned.
    fn before(self, orientation: Orientation) -> Self {
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
        let crop = window.crop_box(size);
        let suffices = |by: u32| {
            crop.width >= f64::from(by * window.size.0) && crop.height >= f64::from(by * window.size.1)
        };
        [8, 4, 2].into_iter().find(|&by| suffices(by)).unwrap_or(1)
    }
}

/// Makes every pixel opaque, as a browser shows it on a white page.
fn compose_over_white(pixels: &mut DynamicImage) {
    match pixels {
        DynamicImage::ImageLumaA8(gray) => compose(gray, 2, u8::MAX, |sample| sample as u8),
        DynamicImage::ImageRgba8(color) => compose(color, 4, u8::MAX, |sample| sample as u8),
        DynamicImage::ImageLumaA16(gray) => compose(gray, 2, u16::MAX, |sample| sample as u16),
        DynamicImage::ImageRgba16(color) => compose(color, 4, u16::MAX, |sample| sample as u16),
        _ => {}
    }
}

/// `narrow` gets values from 0 to `white` only. 16 bits fit: 65535 * 65535 + 32767 < 2^32.
fn compose<T: Copy + PartialEq + Into<u32>>(samples: &mut [T], channels: usize, white: T, narrow: fn(u32) -> T) {
    let full: u32 = white.into();
    for pixel in samples.chunks_exact_mut(channels) {
        let Some((alpha, colors)) = pixel.split_last_mut() else { continue };
        if *alpha == white {
            continue;
        }
        let opacity: u32 = (*alpha).into();
        for color in colors {
            let ink: u32 = (*color).into();
            *color = narrow((ink * opacity + full * (full - opacity) + full / 2) / full);
        }
        *alpha = white;
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
