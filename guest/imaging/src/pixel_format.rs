//! Converts any decoded pixel format to opaque 8-bit gray or RGB.
//!
//! Alpha is composed over white, as a browser shows it on an empty page. Samples of 16 bits are rounded to 8 before
//! scaling, which works on bytes; the difference is below what a network notices.

use image::DynamicImage;

use crate::types::Samples;

/// Converts the pixels; in place where the samples are 8 bits wide.
pub(crate) fn opaque_8_bit(pixels: DynamicImage) -> Samples {
    match pixels {
        DynamicImage::ImageLuma8(gray) => Samples::Gray(gray.into_raw()),
        DynamicImage::ImageLumaA8(gray) => Samples::Gray(without_alpha::<2>(gray.into_raw())),
        DynamicImage::ImageRgb8(rgb) => Samples::Rgb(rgb.into_raw()),
        DynamicImage::ImageRgba8(rgb) => Samples::Rgb(without_alpha::<4>(rgb.into_raw())),
        DynamicImage::ImageLuma16(gray) => Samples::Gray(narrow(&gray)),
        DynamicImage::ImageLumaA16(gray) => Samples::Gray(without_alpha::<2>(narrow(&gray))),
        DynamicImage::ImageRgb16(rgb) => Samples::Rgb(narrow(&rgb)),
        DynamicImage::ImageRgba16(rgb) => Samples::Rgb(without_alpha::<4>(narrow(&rgb))),
        // Floating-point pictures, which none of the five formats has.
        other => Samples::Rgb(other.into_rgb8().into_raw()),
    }
}

/// Composes pixels of `N` samples, the last of them alpha, over white.
fn without_alpha<const N: usize>(mut samples: Vec<u8>) -> Vec<u8> {
    let colors = N - 1;
    let pixels = samples.len() / N;
    for pixel in 0..pixels {
        let alpha = samples[pixel * N + colors];
        for color in 0..colors {
            samples[pixel * colors + color] = over_white(samples[pixel * N + color], alpha);
        }
    }
    samples.truncate(pixels * colors);
    samples
}

/// One sample composed over white, rounded to the nearest.
fn over_white(ink: u8, alpha: u8) -> u8 {
    let (ink, alpha) = (u32::from(ink), u32::from(alpha));
    ((ink * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

/// 0 to 65535 onto 0 to 255, rounded to the nearest.
fn narrow(samples: &[u16]) -> Vec<u8> {
    samples.iter().map(|&sample| ((u32::from(sample) + 128) / 257) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayAlphaImage, ImageBuffer, Luma, RgbaImage};

    #[test]
    fn alpha_shows_white_behind() {
        let picture = RgbaImage::from_raw(3, 1, vec![10, 20, 30, 255, 10, 20, 30, 0, 0, 100, 255, 128]).unwrap();
        assert_eq!(opaque_8_bit(picture.into()), Samples::Rgb(vec![10, 20, 30, 255, 255, 255, 127, 177, 255]));
        let picture = GrayAlphaImage::from_raw(2, 1, vec![7, 255, 7, 0]).unwrap();
        assert_eq!(opaque_8_bit(picture.into()), Samples::Gray(vec![7, 255]));
    }

    #[test]
    fn sixteen_bits_are_rounded() {
        let picture = ImageBuffer::<Luma<u16>, _>::from_raw(5, 1, vec![0, 128, 129, 257 * 200, 65535]).unwrap();
        assert_eq!(opaque_8_bit(picture.into()), Samples::Gray(vec![0, 0, 1, 200, 255]));
    }
}
