//! Converts the color models of JPEG to RGB (ITU-T T.871, and Adobe's technical note 5116).

use crate::fixed::{BITS, fixed};
use crate::types::ColorModel;

/// Repeats each gray sample as red, green and blue.
pub(crate) fn gray_to_rgb(gray: &[u8]) -> Vec<u8> {
    gray.iter().flat_map(|&sample| [sample; 3]).collect()
}

/// The luma of each pixel by ITU-R BT.601, with the weights and the rounding of Pillow's `convert("L")`.
pub(crate) fn rgb_to_gray(rgb: &[u8]) -> impl Iterator<Item = u8> {
    let weigh = |&[red, green, blue]: &[u8; 3]| {
        let sum = 19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue);
        ((sum + (1 << 15)) >> 16) as u8
    };
    rgb.as_chunks().0.iter().map(weigh)
}

/// Converts one plane for each component to RGB; `None` for another number of planes than the model has.
pub(crate) fn planes_to_rgb(planes: &[Vec<u8>], color: ColorModel) -> Option<Vec<u8>> {
    Some(match (color, planes) {
        (ColorModel::Gray, [luma]) => gray_to_rgb(luma),
        (ColorModel::Ycc, [luma, blue, red]) => ycc_to_rgb(luma, blue, red),
        (ColorModel::Rgb, [red, green, blue]) => interleave(red, green, blue),
        // Without ink, which is 255, what is below shows; black covers all three.
        (ColorModel::Cmyk, [cyan, magenta, yellow, black]) => darken(interleave(cyan, magenta, yellow), black),
        // Adobe's YCbCr stands for the inks' complements.
        (ColorModel::Ycck, [luma, blue, red, black]) => darken(inverted(ycc_to_rgb(luma, blue, red)), black),
        _ => return None,
    })
}

/// Interleaves the planes of red, green and blue.
pub(crate) fn interleave(red: &[u8], green: &[u8], blue: &[u8]) -> Vec<u8> {
    red.iter().zip(green).zip(blue).flat_map(|((&red, &green), &blue)| [red, green, blue]).collect()
}

fn inverted(mut samples: Vec<u8>) -> Vec<u8> {
    samples.iter_mut().for_each(|sample| *sample = !*sample);
    samples
}

/// Multiplies each pixel by its black, where 255 is no ink.
fn darken(mut rgb: Vec<u8>, black: &[u8]) -> Vec<u8> {
    for (pixel, &black) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(black) {
        *pixel = pixel.map(|sample| ((u32::from(sample) * u32::from(black) + 127) / 255) as u8);
    }
    rgb
}

/// JFIF's YCbCr to RGB (ITU-T T.871, 7), rounded to the nearest.
///
/// A function of its own, which profiles can name.
#[inline(never)]
pub(crate) fn ycc_to_rgb(luma: &[u8], blue: &[u8], red: &[u8]) -> Vec<u8> {
    let mut rgb = vec![0; luma.len() * 3];
    let (targets, rest) = rgb.as_chunks_mut::<48>();
    let (lumas, blues, reds) = (luma.as_chunks::<16>(), blue.as_chunks::<16>(), red.as_chunks::<16>());
    for (((target, luma), blue), red) in targets.iter_mut().zip(lumas.0).zip(blues.0).zip(reds.0) {
        *target = sixteen_to_rgb(luma, blue, red);
    }
    for (((target, &luma), &blue), &red) in rest.as_chunks_mut::<3>().0.iter_mut().zip(lumas.1).zip(blues.1).zip(reds.1)
    {
        *target = one_to_rgb(luma, blue, red);
    }
    rgb
}

const RED_OF_CR: i32 = fixed(1.402);
const GREEN_OF_CB: i32 = fixed(-0.344_136_286);
const GREEN_OF_CR: i32 = fixed(-0.714_136_286);
const BLUE_OF_CB: i32 = fixed(1.772);

fn one_to_rgb(luma: u8, blue: u8, red: u8) -> [u8; 3] {
    let luma = (i32::from(luma) << BITS) + (1 << (BITS - 1));
    let (cb, cr) = (i32::from(blue) - 128, i32::from(red) - 128);
    let sums = [luma + RED_OF_CR * cr, luma + GREEN_OF_CB * cb + GREEN_OF_CR * cr, luma + BLUE_OF_CB * cb];
    sums.map(|sum| (sum >> BITS).clamp(0, 255) as u8)
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
fn sixteen_to_rgb(luma: &[u8; 16], blue: &[u8; 16], red: &[u8; 16]) -> [u8; 48] {
    let pixels: [[u8; 3]; 16] = std::array::from_fn(|n| one_to_rgb(luma[n], blue[n], red[n]));
    std::array::from_fn(|n| pixels[n / 3][n % 3])
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[inline(always)]
fn sixteen_to_rgb(luma: &[u8; 16], blue: &[u8; 16], red: &[u8; 16]) -> [u8; 48] {
    use std::arch::wasm32::*;

    use crate::simd::{add, bytes, dot, factors, from_middle, load, narrow, wide};
    let [luma, blue, red] = [luma, blue, red].map(load);
    let middle = i16x8_splat(128);
    let half = |y: v128, cb: v128, cr: v128| {
        let [y, cb, cr] = [y, cb, cr].map(|samples| i16x8_sub(samples, middle));
        let channel = |f, g| narrow::<BITS>(add(wide::<BITS>(y), dot(cb, cr, factors(f, g))));
        [channel(0, RED_OF_CR), channel(GREEN_OF_CB, GREEN_OF_CR), channel(BLUE_OF_CB, 0)]
    };
    let (low, high) = (u16x8_extend_low_u8x16, u16x8_extend_high_u8x16);
    let (low, high) = (half(low(luma), low(blue), low(red)), half(high(luma), high(blue), high(red)));
    let [r, g, b]: [v128; 3] = std::array::from_fn(|n| from_middle(low[n], high[n]));
    // Red and green of two places each, then blue in the third; 0 is overwritten.
    let first = i8x16_shuffle::<0, 16, 0, 1, 17, 0, 2, 18, 0, 3, 19, 0, 4, 20, 0, 5>(r, g);
    let first = i8x16_shuffle::<0, 1, 16, 3, 4, 17, 6, 7, 18, 9, 10, 19, 12, 13, 20, 15>(first, b);
    let second = i8x16_shuffle::<21, 0, 6, 22, 0, 7, 23, 0, 8, 24, 0, 9, 25, 0, 10, 26>(r, g);
    let second = i8x16_shuffle::<0, 21, 2, 3, 22, 5, 6, 23, 8, 9, 24, 11, 12, 25, 14, 15>(second, b);
    let third = i8x16_shuffle::<0, 11, 27, 0, 12, 28, 0, 13, 29, 0, 14, 30, 0, 15, 31, 0>(r, g);
    let third = i8x16_shuffle::<26, 1, 2, 27, 4, 5, 28, 7, 8, 29, 10, 11, 30, 13, 14, 31>(third, b);
    let parts = [first, second, third].map(bytes);
    std::array::from_fn(|n| parts[n / 16][n % 16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_has_its_planes() {
        let planes = [vec![200], vec![100], vec![51], vec![51]];
        assert_eq!(planes_to_rgb(&planes[..3], ColorModel::Rgb), Some(vec![200, 100, 51]));
        assert_eq!(planes_to_rgb(&planes, ColorModel::Cmyk), Some(vec![40, 20, 10]));
        let ycc = ycc_to_rgb(&[200], &[100], &[51]);
        assert_eq!(planes_to_rgb(&planes[..3], ColorModel::Ycc), Some(ycc.clone()));
        assert_eq!(planes_to_rgb(&planes, ColorModel::Ycck), Some(darken(inverted(ycc), &[51])));
        assert_eq!(planes_to_rgb(&planes[..1], ColorModel::Gray), Some(vec![200; 3]));
        assert_eq!(planes_to_rgb(&planes[..2], ColorModel::Ycc), None);
    }

    #[test]
    fn gray_is_all_three() {
        assert_eq!(gray_to_rgb(&[7, 255]), [7, 7, 7, 255, 255, 255]);
    }

    /// All values of two with some of the third, in lengths that leave a rest.
    #[test]
    fn colors_are_those_of_the_formula() {
        let all: Vec<u8> = (0..=255).collect();
        for first in (0..=255).step_by(5) {
            let second = all.repeat(256);
            let third: Vec<u8> = all.iter().flat_map(|&value| [value; 256]).collect();
            let length = second.len() - usize::from(first) % 17;
            let first = vec![first; length];
            check(&first, &second[..length], &third[..length]);
            check(&third[..length], &first, &second[..length]);
        }
    }

    fn check(luma: &[u8], blue: &[u8], red: &[u8]) {
        let rgb = ycc_to_rgb(luma, blue, red);
        assert_eq!(rgb.len(), luma.len() * 3);
        for (n, have) in rgb.as_chunks::<3>().0.iter().enumerate() {
            let (y, cb, cr) = (f64::from(luma[n]), f64::from(blue[n]) - 128.0, f64::from(red[n]) - 128.0);
            let want = [y + 1.402 * cr, y - 0.344136286 * cb - 0.714136286 * cr, y + 1.772 * cb];
            for (&have, want) in have.iter().zip(want) {
                let difference = (f64::from(have) - want.clamp(0.0, 255.0)).abs();
                assert!(difference <= 0.51, "{y} {cb} {cr}: {have} {want}");
            }
            assert_eq!(*have, one_to_rgb(luma[n], blue[n], red[n]));
        }
    }
}
