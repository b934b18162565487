//! Turns a picture into the input tensor: crops, scales, rotates upright, normalises and lays out.
//!
//! Every number that depends on the model comes from its card. The crop is centred to a fraction of a pixel, so cropping
//! commutes with rotating: the small result is rotated, not the photo.

use image::metadata::Orientation;
use image::{RgbImage, imageops};

use modelfn_card::image::{Color, Layout, Preprocessing};
use modelfn_card::{DType, TensorSpec};

use crate::color::{gray_to_rgb, interleave, planes_to_rgb};
use crate::error::Error;
use crate::resample;
use crate::types::{Picture, Samples, Window};

/// Longest side of a network's picture, in pixels: keeps a typing error from exhausting memory.
const MAX_SIDE: u32 = 4096;

/// Checks that [`tensor`] can make the tensor `input` with these settings.
///
/// # Errors
///
/// A sentence that names the card's key that is wrong.
pub fn check(preprocessing: &Preprocessing, input: &TensorSpec) -> Result<(), String> {
    let (width, height) = preprocessing.size;
    if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
        return Err(format!("preprocessing.size must be 1 to {MAX_SIDE} pixels a side"));
    }
    if let Some(mistake) = preprocessing.mistake() {
        return Err(mistake);
    }
    if !matches!(input.dtype, DType::Fp32 | DType::U8) {
        return Err("inputs.dtype must be FP32 or U8".to_owned());
    }
    let needed = preprocessing.input_shape();
    if !input.admits(input.dtype, &needed.map(|axis| axis as usize)) {
        let shape = &input.shape;
        return Err(format!(
            "inputs.shape = {shape:?} contradicts preprocessing.size and .layout, which make {needed:?}"
        ));
    }
    Ok(())
}

/// The input tensor of one picture, of shape [`Preprocessing::input_shape`]: row-major, of little-endian f32 for FP32, of
/// bytes, rounded to the nearest, for any other `dtype`.
///
/// # Errors
///
/// [`crate::ErrorKind::Internal`] for a picture whose samples contradict its size, which no decoder returns.
pub fn tensor(picture: &Picture, preprocessing: &Preprocessing, dtype: DType) -> Result<Vec<u8>, Error> {
    let upright = scale(picture, preprocessing)?;
    Ok(if dtype == DType::Fp32 {
        lay_out(&upright, preprocessing, f32::to_le_bytes)
    } else if is_identity(preprocessing) {
        upright.into_raw()
    } else {
        lay_out(&upright, preprocessing, |value| [value.round() as u8])
    })
}

/// The window of a picture at the network's size, upright.
fn scale(picture: &Picture, preprocessing: &Preprocessing) -> Result<RgbImage, Error> {
    let window = Window::of(preprocessing).as_stored(picture.orientation);
    let to = (window.size.0 as usize, window.size.1 as usize);
    let rgb = match &picture.samples {
        Samples::Interleaved(raster) => {
            match resample::resize_interleaved(raster, to, preprocessing.filter).as_slice() {
                [gray] => Some(gray_to_rgb(gray)),
                [red, green, blue] => Some(interleave(red, green, blue)),
                _ => None,
            }
        }
        Samples::Planes(planes, color) => planes_to_rgb(&resample::resize(planes, to, preprocessing.filter), *color),
    };
    rgb.and_then(|rgb| RgbImage::from_raw(window.size.0, window.size.1, rgb))
        .map(|small| turn(small, picture.orientation))
        .ok_or_else(|| Error::internal("the picture cannot be scaled"))
}

/// Applies the orientation that the camera recorded (Exif) to the scaled picture.
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

/// Whether the scaled picture is the tensor of bytes already.
fn is_identity(preprocessing: &Preprocessing) -> bool {
    let Preprocessing { layout, color, mean, std, .. } = preprocessing;
    *layout == Layout::Nhwc && *color == Color::Rgb && *mean == [0.0; 3] && *std == [1.0; 3]
}

/// `(p - mean) / std` for each sample, encoded by `encode` and ordered by the card.
///
/// A sample has 256 values, so each channel has a table of results: exact, and faster than computing.
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
