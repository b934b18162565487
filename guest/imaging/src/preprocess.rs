//! Turns a picture into the input tensor: crops, scales, rotates upright, pads, normalises and lays out.
//!
//! Every number that depends on the model comes from its card. The crop is centred to a fraction of a pixel, so cropping
//! commutes with rotating: the small result is rotated, not the photo.

use image::{Rgb, RgbImage, imageops};

use half::f16;
use modelfn_card::DType;
use modelfn_card::image::{Color, Layout, Preprocessing, Resize};

use crate::color::rgb_to_gray;
use crate::error::Error;
use crate::rgb::upright;
use crate::types::{Picture, Window};

/// The input tensor of one picture, of shape [`Preprocessing::input_shape`]: row-major, of little-endian numbers for FP32
/// and FP16, of bytes, rounded to the nearest, for any other `dtype`.
///
/// # Errors
///
/// [`crate::ErrorKind::Internal`] for a picture whose samples contradict its size, which no decoder returns.
pub fn tensor(picture: &Picture, preprocessing: &Preprocessing, dtype: DType) -> Result<Vec<u8>, Error> {
    let upright = scale(picture, preprocessing)?.into_raw();
    Ok(match dtype {
        DType::Fp32 => lay_out(&upright, preprocessing, f32::to_le_bytes),
        DType::Fp16 => lay_out(&upright, preprocessing, |value| f16::from_f32(value).to_le_bytes()),
        _ if preprocessing.is_identity() => upright,
        _ => lay_out(&upright, preprocessing, |value| [value.round() as u8]),
    })
}

/// The network's picture: what its window shows, scaled, upright and padded.
fn scale(picture: &Picture, preprocessing: &Preprocessing) -> Result<RgbImage, Error> {
    let window = Window::of(preprocessing).as_stored(picture.size, picture.orientation);
    Ok(pad(upright(picture, window.size, preprocessing.filter)?, preprocessing))
}

/// Centres a picture that keeps its aspect ratio on one of the network's size, to whole pixels as `ImageOps.pad` of Pillow
/// does.
fn pad(picture: RgbImage, preprocessing: &Preprocessing) -> RgbImage {
    let (width, height) = preprocessing.size;
    if preprocessing.resize != Resize::Pad || picture.dimensions() == (width, height) {
        return picture;
    }
    let mut padded = RgbImage::from_pixel(width, height, Rgb(preprocessing.pad_color));
    let start = |outer: u32, inner: u32| (f64::from(outer.saturating_sub(inner)) / 2.0).round_ties_even() as i64;
    imageops::replace(&mut padded, &picture, start(width, picture.width()), start(height, picture.height()));
    padded
}

/// The normalised value of each sample, encoded by `encode` and ordered by the card.
///
/// A sample has 256 values, so each channel has a table of results: exact, and faster than computing.
fn lay_out<const N: usize>(rgb: &[u8], card: &Preprocessing, encode: fn(f32) -> [u8; N]) -> Vec<u8> {
    let tables: [[[u8; N]; 256]; 3] =
        std::array::from_fn(|channel| std::array::from_fn(|sample| encode(card.normalize(channel, sample as u8))));
    // Which byte of an RGB pixel is the tensor's first, second and third channel.
    let order = match card.color {
        Color::Rgb => [0, 1, 2],
        Color::Bgr => [2, 1, 0],
        // Both layouts are alike where there is one channel.
        Color::Gray => return rgb_to_gray(rgb).flat_map(|sample| tables[0][usize::from(sample)]).collect(),
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
