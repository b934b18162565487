//! Pictures as RGB pixels, upright: all of one, for functions that look at it more than once, and parts of that.

use image::metadata::Orientation;
use image::{RgbImage, imageops};
use modelfn_card::image::Filter;

use crate::color::{gray_to_rgb, interleave, planes_to_rgb};
use crate::error::Error;
use crate::resample::{self, PixelView};
use crate::types::{CropBox, Picture, Raster, Samples, turned};

/// All pixels of a picture, upright, at width and height `size`. Decode it with [`crate::Window::whole`].
///
/// # Errors
///
/// [`crate::ErrorKind::Internal`] for a picture whose samples contradict its size, which no decoder returns.
pub fn rgb(picture: &Picture, size: (u32, u32), filter: Filter) -> Result<RgbImage, Error> {
    upright(picture, turned(size, picture.orientation), filter)
}

/// Scales a picture to width and height `size`.
pub fn resize(picture: &RgbImage, size: (u32, u32), filter: Filter) -> RgbImage {
    if picture.dimensions() == size {
        return picture.clone();
    }
    let from = (picture.width() as usize, picture.height() as usize);
    let view = PixelView { samples: picture.as_raw(), channels: 3, size: from, crop: CropBox::all_of(from) };
    let to = (size.0 as usize, size.1 as usize);
    match resample::resize_interleaved(view, to, filter).as_slice() {
        [red, green, blue] => RgbImage::from_raw(size.0, size.1, interleave(red, green, blue)),
        _ => None,
    }
    // An `RgbImage` has as many samples as its size says.
    .unwrap_or_default()
}

/// What the decoder's window shows, scaled to `size` as it lies in the file, and then turned upright.
pub(crate) fn upright(picture: &Picture, size: (u32, u32), filter: Filter) -> Result<RgbImage, Error> {
    let to = (size.0 as usize, size.1 as usize);
    let pixels = match &picture.samples {
        Samples::Interleaved(raster) => interleaved(raster, to, filter),
        Samples::Planes(planes, color) => planes_to_rgb(&resample::resize(planes, to, filter), *color),
    };
    pixels
        .and_then(|pixels| RgbImage::from_raw(size.0, size.1, pixels))
        .map(|scaled| turn(scaled, picture.orientation))
        .ok_or_else(|| Error::internal("the picture cannot be scaled"))
}

/// The pixels of a gray or RGB picture, scaled to `to`.
fn interleaved(raster: &Raster, to: (usize, usize), filter: Filter) -> Option<Vec<u8>> {
    if (raster.width, raster.height) == to && raster.crop.is_all_of(to) {
        return Some(if raster.channels == 1 { gray_to_rgb(&raster.samples) } else { raster.samples.clone() });
    }
    match resample::resize_interleaved(raster.into(), to, filter).as_slice() {
        [gray] => Some(gray_to_rgb(gray)),
        [red, green, blue] => Some(interleave(red, green, blue)),
        _ => None,
    }
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

#[cfg(test)]
mod tests;
