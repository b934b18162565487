use image::DynamicImage;
use image::metadata::Orientation;

use super::*;
use crate::types::{CropBox, Raster, Samples};

/// What the pictures of these tests become: 4 x 2 pixels.
pub(crate) fn preprocessing() -> Preprocessing {
    Preprocessing { mean: [0.0, 10.0, 20.0], std: [1.0, 2.0, 4.0], ..Preprocessing::new((4, 2), Layout::Nchw) }
}

const SQUARE: Window = Window::cropped((224, 224), 0.875);

/// What a decoder would return, with the crop that `preprocessing` asks for.
fn cropped(pixels: &RgbImage, orientation: Orientation, preprocessing: &Preprocessing) -> Picture {
    let size = pixels.dimensions();
    let raster = Raster {
        samples: pixels.as_raw().clone(),
        channels: 3,
        width: size.0 as usize,
        height: size.1 as usize,
        crop: Window::of(preprocessing).as_stored(size, orientation).crop_box(size),
    };
    Picture { samples: Samples::Interleaved(raster), size, orientation }
}

fn picture(pixels: &RgbImage, orientation: Orientation) -> Picture {
    cropped(pixels, orientation, &preprocessing())
}

/// No two pixels and no two channels alike.
fn pattern(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 9) as u8, (y * 17) as u8, (x * 5 + y * 3) as u8]))
}

#[test]
fn the_crop_is_centred_and_of_the_networks_shape() {
    assert_eq!(SQUARE.crop_box((640, 480)), CropBox { left: 110.0, top: 30.0, width: 420.0, height: 420.0 });
    assert_eq!(SQUARE.crop_box((480, 640)), CropBox { left: 30.0, top: 110.0, width: 420.0, height: 420.0 });
    let wide = Window::cropped((20, 10), 1.0);
    assert_eq!(wide.crop_box((100, 100)), CropBox { left: 0.0, top: 25.0, width: 100.0, height: 50.0 });
}

#[test]
fn the_crop_stays_inside_pictures_of_any_shape() {
    let sides = [1, 2, 3, 7, 223, 224, 225, 1000, 65535];
    for window in [SQUARE, Window::cropped((3, 7), 1.0), Window::cropped((7, 3), 0.001)] {
        for size in sides.iter().flat_map(|&width| sides.map(|height| (width, height))) {
            let CropBox { left, top, width, height } = window.crop_box(size);
            assert!(left >= 0.0 && top >= 0.0 && width > 0.0 && height > 0.0, "{size:?}");
            assert!(left + width <= f64::from(size.0) && top + height <= f64::from(size.1), "{size:?}");
        }
    }
}

#[test]
fn a_line_of_pixels_is_a_picture() {
    let preprocessing = preprocessing();
    for (width, height) in [(1, 1), (1, 500), (500, 1)] {
        let line = RgbImage::from_pixel(width, height, image::Rgb([9, 9, 9]));
        let small = scale(&picture(&line, Orientation::NoTransforms), &preprocessing).unwrap();
        assert_eq!(small, RgbImage::from_pixel(4, 2, image::Rgb([9, 9, 9])));
    }
}

/// Pillow would scale such a picture to no row at all.
#[test]
fn a_padded_line_is_at_least_a_pixel() {
    let preprocessing =
        Preprocessing { resize: Resize::Pad, pad_color: [1, 2, 3], ..Preprocessing::new((4, 5), Layout::Nhwc) };
    let line = RgbImage::from_pixel(500, 1, image::Rgb([9, 9, 9]));
    for orientation in [Orientation::NoTransforms, Orientation::Rotate180] {
        let small = scale(&cropped(&line, orientation, &preprocessing), &preprocessing).unwrap();
        let want = RgbImage::from_fn(4, 5, |_, y| image::Rgb(if y == 2 { [9, 9, 9] } else { [1, 2, 3] }));
        assert_eq!(small, want);
    }
}

#[test]
fn a_padded_picture_is_centred_upright() {
    let preprocessing = Preprocessing { resize: Resize::Pad, ..Preprocessing::new((8, 5), Layout::Nhwc) };
    let pixels = pattern(20, 10);
    for tag in 1..=8 {
        let orientation = Orientation::from_exif(tag).unwrap();
        let late = scale(&cropped(&pixels, orientation, &preprocessing), &preprocessing).unwrap();
        let mut upright = DynamicImage::from(pixels.clone());
        upright.apply_orientation(orientation);
        let upright = cropped(&upright.into_rgb8(), Orientation::NoTransforms, &preprocessing);
        let early = scale(&upright, &preprocessing).unwrap();
        assert!(late.iter().zip(early.iter()).all(|(a, b)| a.abs_diff(*b) <= 1), "orientation {tag}");
    }
}

#[test]
fn a_reduction_leaves_enough_pixels() {
    let reduction = |window: Window, size, orientation| {
        let window = window.as_stored(size, orientation);
        window.reduction_of(window.crop_box(size))
    };
    let by = |width, height| reduction(SQUARE, (width, height), Orientation::NoTransforms);
    assert_eq!(
        (by(511, 4000), by(512, 512), by(1023, 1023), by(1024, 2000), by(2048, 2048), by(9000, 9000)),
        (1, 2, 2, 4, 8, 8)
    );
    let wide = Window::cropped((200, 100), 1.0);
    assert_eq!(reduction(wide, (400, 200), Orientation::NoTransforms), 2);
    assert_eq!(reduction(wide, (400, 200), Orientation::Rotate90), 1);
    assert_eq!(reduction(wide, (200, 400), Orientation::Rotate270FlipH), 2);
}

#[test]
fn turning_after_scaling_is_turning_before() {
    let pixels = pattern(23, 14);
    for tag in 1..=8 {
        let orientation = Orientation::from_exif(tag).unwrap();
        let preprocessing = Preprocessing { crop: 0.7, ..preprocessing() };
        let late = scale(&cropped(&pixels, orientation, &preprocessing), &preprocessing).unwrap();
        let mut upright = DynamicImage::from(pixels.clone());
        upright.apply_orientation(orientation);
        let upright = cropped(&upright.into_rgb8(), Orientation::NoTransforms, &preprocessing);
        let early = scale(&upright, &preprocessing).unwrap();
        assert_eq!(late.dimensions(), (4, 2));
        // Rounding differs where rows are scaled before columns.
        assert!(late.iter().zip(early.iter()).all(|(a, b)| a.abs_diff(*b) <= 1), "orientation {tag}");
    }
}

#[test]
fn gray_is_three_equal_channels() {
    let preprocessing = preprocessing();
    let crop = CropBox { left: 0.0, top: 0.0, width: 4.0, height: 2.0 };
    let raster = Raster { samples: (0..8).collect(), channels: 1, width: 4, height: 2, crop };
    let gray = Picture { samples: Samples::Interleaved(raster), size: (4, 2), orientation: Orientation::NoTransforms };
    let small = scale(&gray, &preprocessing).unwrap();
    assert_eq!(small.as_raw()[..6], [0, 0, 0, 1, 1, 1]);
}

#[test]
fn elements_are_normalised_and_laid_out_by_the_card() {
    let pixels = RgbImage::from_fn(4, 2, |x, y| image::Rgb([(x + 4 * y) as u8, 100, 200]));
    let tensor = |layout, color| {
        let preprocessing = Preprocessing { layout, color, ..preprocessing() };
        let bytes = super::tensor(&picture(&pixels, Orientation::NoTransforms), &preprocessing, DType::Fp32).unwrap();
        bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect::<Vec<f32>>()
    };
    let nchw = tensor(Layout::Nchw, Color::Rgb);
    assert_eq!(nchw[..9], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 45.0]);
    assert_eq!((nchw[16], nchw.len()), (45.0, 24));
    assert_eq!(tensor(Layout::Nhwc, Color::Rgb)[..6], [0.0, 45.0, 45.0, 1.0, 45.0, 45.0]);
    // Mean and deviation go with the tensor's channels: blue first.
    let bgr = tensor(Layout::Nchw, Color::Bgr);
    assert_eq!((bgr[0], bgr[8], bgr[16], bgr[17]), (200.0, 45.0, -5.0, -4.75));
}

#[test]
fn bytes_are_rounded_and_clamped() {
    let mut preprocessing = preprocessing();
    preprocessing.mean = [0.0, 100.0, 0.0];
    preprocessing.std = [1.0, 1.0, 0.1];
    let pixels = RgbImage::from_pixel(4, 2, image::Rgb([7, 50, 200]));
    let bytes = tensor(&picture(&pixels, Orientation::NoTransforms), &preprocessing, DType::U8).unwrap();
    assert_eq!((bytes.len(), bytes[0], bytes[8], bytes[16]), (24, 7, 0, 255));
}
