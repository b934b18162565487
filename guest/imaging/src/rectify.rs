//! Cuts a quadrilateral out of a picture and makes it a rectangle, as a page is that a camera saw from the side.
//!
//! The map from the rectangle to the quadrilateral is the projective one (Heckbert, *Fundamentals of Texture Mapping and
//! Image Warping*, 1989, section 2.2.3). Pixels between pixels are Keys' cubic convolution.

use image::{Rgb, RgbImage, imageops};

use crate::resample::cubic;

/// The slope of the convolution: OpenCV's, with which networks that read text are trained. Softer lines lose their spaces.
const SHARPNESS: f64 = -0.75;
/// Places between two pixels for which there are weights.
const STEPS: usize = 32;
/// Fractional bits of a weight.
const BITS: u32 = 12;
/// Fractional bits of the product of two weights, so that a sum of samples fits 32 bits.
const PRODUCT_BITS: u32 = 18;

/// The weights of four pixels in a row, for each of the places between the second and the third.
type Weights = [[i32; 4]; STEPS];

/// The pixels of the quadrilateral `corners` as a picture of `size`, which is width and height. The corners are upper
/// left, upper right, lower right and lower left in the result, in pixels of `picture`; what is beyond its edge repeats the
/// edge. A corner on pixel (x, y) takes that pixel, and the opposite one is left out, as in a half-open range.
pub fn rectify(picture: &RgbImage, corners: [(f32, f32); 4], size: (u32, u32)) -> RgbImage {
    if picture.is_empty() || size.0 == 0 || size.1 == 0 {
        return RgbImage::new(size.0, size.1);
    }
    if let Some((left, top)) = plain_crop(picture, corners, size) {
        return imageops::crop_imm(picture, left, top, size.0, size.1).to_image();
    }
    let (map, weights) = (Projection::of_unit_square(corners), weights());
    let (across, down) = (1.0 / size.0 as f32, 1.0 / size.1 as f32);
    RgbImage::from_fn(size.0, size.1, |x, y| {
        let (x, y) = map.apply(x as f32 * across, y as f32 * down);
        sample(picture, (x, y), &weights)
    })
}

/// Where the corners are those of a rectangle of whole pixels within the picture, its upper left one: no pixel of the
/// result lies between two others.
fn plain_crop(picture: &RgbImage, corners: [(f32, f32); 4], (width, height): (u32, u32)) -> Option<(u32, u32)> {
    let (left, top) = corners[0];
    let (right, bottom) = (left + width as f32, top + height as f32);
    let is_plain = corners == [(left, top), (right, top), (right, bottom), (left, bottom)]
        && left.fract() == 0.0
        && top.fract() == 0.0
        && left >= 0.0
        && top >= 0.0
        && right <= picture.width() as f32
        && bottom <= picture.height() as f32;
    is_plain.then_some((left as u32, top as u32))
}

/// A projective map of the plane: numerators of x and y, and their denominator, of u, v and 1.
struct Projection {
    x: [f32; 3],
    y: [f32; 3],
    denominator: [f32; 3],
}

impl Projection {
    /// Maps the square from (0, 0) to (1, 1) to a quadrilateral.
    fn of_unit_square([(x0, y0), (x1, y1), (x2, y2), (x3, y3)]: [(f32, f32); 4]) -> Self {
        // By how far it is from being a parallelogram.
        let (rest_x, rest_y) = (x0 - x1 + x2 - x3, y0 - y1 + y2 - y3);
        let (dx1, dx2, dy1, dy2) = (x1 - x2, x3 - x2, y1 - y2, y3 - y2);
        let area = dx1 * dy2 - dx2 * dy1;
        let over_area = |value: f32| if area == 0.0 { 0.0 } else { value / area };
        let (g, h) = (over_area(rest_x * dy2 - dx2 * rest_y), over_area(dx1 * rest_y - rest_x * dy1));
        Self {
            x: [x1 - x0 + g * x1, x3 - x0 + h * x3, x0],
            y: [y1 - y0 + g * y1, y3 - y0 + h * y3, y0],
            denominator: [g, h, 1.0],
        }
    }

    fn apply(&self, u: f32, v: f32) -> (f32, f32) {
        let sum = |factors: [f32; 3]| factors[0] * u + factors[1] * v + factors[2];
        let denominator = sum(self.denominator);
        (sum(self.x) / denominator, sum(self.y) / denominator)
    }
}

/// The weights of each place, which sum up to 1.
fn weights() -> Weights {
    std::array::from_fn(|step| {
        let at = step as f64 / STEPS as f64;
        let weight = |pixel: f64| (cubic(pixel - at, SHARPNESS) * f64::from(1 << BITS)).round() as i32;
        let (before, second, after) = (weight(-1.0), weight(1.0), weight(2.0));
        [before, (1 << BITS) - before - second - after, second, after]
    })
}

/// The color at a place between pixels.
fn sample(picture: &RgbImage, (x, y): (f32, f32), weights: &Weights) -> Rgb<u8> {
    let ((x, x_step), (y, y_step)) = (split(x, picture.width()), split(y, picture.height()));
    let (columns, rows) = (around(x, picture.width()), around(y, picture.height()));
    let (x_weights, y_weights) = (&weights[x_step], &weights[y_step]);
    let (samples, stride) = (picture.as_raw().as_slice(), picture.width() as usize * 3);
    let mut sums = [0; 3];
    for (row, y_weight) in rows.into_iter().zip(y_weights) {
        let row = &samples[row * stride..][..stride];
        for (column, x_weight) in columns.into_iter().zip(x_weights) {
            let weight = (x_weight * y_weight) >> (2 * BITS - PRODUCT_BITS);
            for (sum, sample) in sums.iter_mut().zip(&row[column * 3..][..3]) {
                *sum += weight * i32::from(*sample);
            }
        }
    }
    Rgb(sums.map(|sum| ((sum + (1 << (PRODUCT_BITS - 1))) >> PRODUCT_BITS).clamp(0, 255) as u8))
}

/// The pixel at or before a place on an axis of `length` pixels, and how far behind it the place is, in [`STEPS`]. A place
/// that is far away, or that is no number, is beyond the edge.
fn split(place: f32, length: u32) -> (i32, usize) {
    let steps = (place * STEPS as f32).round();
    let beyond = (length as f32 + 2.0) * STEPS as f32;
    let steps = if steps.is_finite() { steps.clamp(-beyond, beyond) as i32 } else { 0 };
    (steps.div_euclid(STEPS as i32), steps.rem_euclid(STEPS as i32) as usize)
}

/// The four pixels around a place, of which the second is `pixel`.
fn around(pixel: i32, length: u32) -> [usize; 4] {
    [-1, 0, 1, 2].map(|offset| (pixel + offset).clamp(0, length as i32 - 1) as usize)
}

#[cfg(test)]
mod tests;
