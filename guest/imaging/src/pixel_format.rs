//! Converts what the library decoders return to opaque 8-bit gray or RGB.

use image::DynamicImage;

use crate::raster::over_white;

/// The samples, and how many of them a pixel has: 1 for gray, 3 for RGB. Alpha is composed over white, in place.
pub(crate) fn opaque_8_bit(pixels: DynamicImage) -> (Vec<u8>, usize) {
    match pixels {
        DynamicImage::ImageLuma8(gray) => (gray.into_raw(), 1),
        DynamicImage::ImageRgb8(rgb) => (rgb.into_raw(), 3),
        DynamicImage::ImageRgba8(rgba) => (without_alpha(rgba.into_raw()), 3),
        // WebP and BMP have no other.
        other => (other.into_rgb8().into_raw(), 3),
    }
}

fn without_alpha(mut samples: Vec<u8>) -> Vec<u8> {
    let pixels = samples.len() / 4;
    for pixel in 0..pixels {
        let alpha = samples[pixel * 4 + 3];
        for color in 0..3 {
            samples[pixel * 3 + color] = over_white(samples[pixel * 4 + color], alpha);
        }
    }
    samples.truncate(pixels * 3);
    samples
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::RgbaImage;

    #[test]
    fn alpha_shows_white_behind() {
        let picture = RgbaImage::from_raw(3, 1, vec![10, 20, 30, 255, 10, 20, 30, 0, 0, 100, 255, 128]).unwrap();
        assert_eq!(opaque_8_bit(picture.into()), (vec![10, 20, 30, 255, 255, 255, 127, 177, 255], 3));
    }
}
