//! Most files are made by `encoder.rs`; what they are compared with is what another decoder, that of the crate `image`,
//! makes of them.

use image::ImageFormat;
use image::metadata::Orientation;

use super::*;
use crate::jpeg::encoder::Encoder;
use crate::preprocess;
use crate::types::{Picture, Raster, Samples};
use modelfn_card::DType;
use modelfn_card::image::{Filter, Layout, Preprocessing};

const SIZES: [(u16, u16); 8] = [(1, 1), (7, 9), (17, 33), (64, 48), (100, 61), (8, 8), (16, 200), (233, 5)];
const GRAY: &[(u8, u8)] = &[(1, 1)];
const FULL: &[(u8, u8)] = &[(1, 1), (1, 1), (1, 1)];
/// 4:2:2, 4:4:0, 4:2:0, 4:1:1.
const SAMPLINGS: [&[(u8, u8)]; 4] =
    [&[(2, 1), (1, 1), (1, 1)], &[(1, 2), (1, 1), (1, 1)], &[(2, 2), (1, 1), (1, 1)], &[(4, 1), (1, 1), (1, 1)]];
/// Ways to write them that are all one.
const ODD_SAMPLINGS: [&[(u8, u8)]; 5] = [
    &[(2, 2)],
    &[(2, 2), (2, 2), (2, 2)],
    &[(2, 2), (1, 2), (2, 1)],
    &[(2, 2), (2, 1), (2, 1)],
    &[(1, 1), (2, 2), (1, 1)],
];

/// Waves of all components, none of them sharp, and no color that RGB doesn't have.
fn waves(component: usize, x: f64, y: f64) -> f64 {
    let (high, wide) = if component == 0 { (45.0, 11.0) } else { (30.0, 20.0 + 9.0 * component as f64) };
    128.0 + high * (x / wide + component as f64).sin() * (y / (wide + 5.0)).cos()
}

/// Fine detail of luma upon it.
fn detail(component: usize, x: f64, y: f64) -> f64 {
    let fine = if component == 0 { 15.0 * (x * 2.1).sin() * (y * 1.7).sin() } else { 0.0 };
    waves(component, x, y) + fine
}

fn window(size: (u32, u32), crop: f64) -> Window {
    Window::cropped(size, crop)
}

/// The network's picture, RGB.
fn prepared(picture: &Picture, window: Window, filter: Filter) -> Vec<u8> {
    let preprocessing = Preprocessing { crop: window.crop, filter, ..Preprocessing::new(window.size, Layout::Nhwc) };
    preprocess::tensor(picture, &preprocessing, DType::U8).unwrap()
}

/// What the other decoder makes of a file.
fn decode_whole(file: &[u8], window: Window, orientation: Orientation) -> Picture {
    let pixels = image::load_from_memory_with_format(file, ImageFormat::Jpeg).unwrap().into_rgb8();
    let size = pixels.dimensions();
    let crop = window.as_stored(size, orientation).crop_box(size);
    let (width, height) = (size.0 as usize, size.1 as usize);
    let raster = Raster { samples: pixels.into_raw(), channels: 3, width, height, crop };
    Picture { samples: Samples::Interleaved(raster), size, orientation }
}

/// Mean and largest difference of the network's picture to that which the other decoder makes of `other`.
fn difference(file: &[u8], other: &[u8], window: Window, filter: Filter) -> (f64, u8) {
    let here = super::super::decode(file, window).unwrap();
    let whole = decode_whole(other, window, here.orientation);
    assert_eq!(here.size, whole.size);
    apart(&prepared(&here, window, filter), &prepared(&whole, window, filter))
}

fn planes_of(file: &[u8], window: Window) -> Vec<Plane> {
    let Samples::Planes(planes, _) = super::super::decode(file, window).unwrap().samples else { panic!("not planes") };
    planes
}

fn header(file: &[u8]) -> Header<'_> {
    let mut header = Header::new(file);
    assert_eq!(header.next_scan(), Next::Scan);
    header
}

fn apart(a: &[u8], b: &[u8]) -> (f64, u8) {
    assert_eq!(a.len(), b.len());
    let each = || a.iter().zip(b).map(|(a, b)| a.abs_diff(*b));
    (each().map(f64::from).sum::<f64>() / a.len() as f64, each().max().unwrap())
}

/// The windows that a picture is looked at through: larger than it, about its size, oblong, a part.
fn windows((width, height): (u16, u16)) -> [Window; 5] {
    let (width, height) = (u32::from(width), u32::from(height));
    [
        window((64, 64), 1.0),
        window((width, height), 1.0),
        window((40, 24), 0.875),
        window((9, 31), 0.3),
        window((width.div_ceil(3), height.div_ceil(3)), 0.6),
    ]
}

#[test]
fn places_go_there_and_back_along_the_diagonals() {
    // T.81 figure A.6, by columns.
    assert_eq!(ZIGZAG[..10], [0, 8, 1, 2, 9, 16, 24, 17, 10, 3]);
    assert_eq!(ZIGZAG[60..], [61, 62, 55, 63]);
    let mut sorted = ZIGZAG;
    sorted.sort();
    assert_eq!(sorted, std::array::from_fn(|n| n as u8));
}

#[test]
fn gray_and_full_color_are_as_another_decoder_has_them() {
    for (size, sampling) in SIZES.iter().flat_map(|&size| [(size, GRAY), (size, FULL)]) {
        let file = Encoder::new(size, sampling).encode(detail);
        for window in windows(size) {
            for filter in [Filter::Bicubic, Filter::Bilinear] {
                let (mean, most) = difference(&file, &file, window, filter);
                assert!(mean < 0.9 && most <= 4, "{size:?} {sampling:?} {window:?}: {mean} {most}");
            }
        }
    }
}

/// Compared with the same picture of full color, since decoders differ in how they enlarge color.
#[test]
fn fewer_samples_of_color_are_nearly_as_many() {
    for size in SIZES {
        let full = Encoder::new(size, FULL).encode(detail);
        for sampling in SAMPLINGS {
            let file = Encoder::new(size, sampling).encode(detail);
            for window in windows(size) {
                for other in [&full, &file] {
                    let (mean, most) = difference(&file, other, window, Filter::Bicubic);
                    assert!(mean < 0.9 && most <= 5, "{size:?} {sampling:?} {window:?}: {mean} {most}");
                }
            }
        }
    }
}

#[test]
fn odd_ways_to_write_samplings_are_read() {
    for (size, sampling) in [(9, 7), (100, 61)].into_iter().flat_map(|size| ODD_SAMPLINGS.map(|odd| (size, odd))) {
        let file = Encoder::new(size, sampling).encode(waves);
        let plain = Encoder::new(size, if sampling.len() == 1 { GRAY } else { FULL }).encode(waves);
        for window in windows(size) {
            let (mean, most) = difference(&file, &plain, window, Filter::Bicubic);
            assert!(mean < 0.9 && most <= 4, "{size:?} {sampling:?} {window:?}: {mean} {most}");
        }
    }
}

/// Ratios that are no whole numbers, and that libjpeg refuses.
#[test]
fn any_ratio_of_samplings_is_read() {
    for sampling in
        [[(3, 1), (2, 1), (1, 1)], [(1, 3), (1, 1), (1, 2)], [(3, 3), (1, 1), (2, 2)], [(4, 1), (3, 1), (1, 1)]]
    {
        for size in [(20, 20), (101, 61), (1, 1)] {
            let file = Encoder::new(size, &sampling).encode(waves);
            let plain = Encoder::new(size, FULL).encode(waves);
            for window in windows(size) {
                let (mean, most) = difference(&file, &plain, window, Filter::Bicubic);
                assert!(mean < 0.9 && most <= 5, "{size:?} {sampling:?} {window:?}: {mean} {most}");
            }
        }
    }
}

#[test]
fn restart_markers_are_obeyed_wherever_they_are() {
    for sampling in [GRAY, FULL, SAMPLINGS[2]] {
        let plain = Encoder::new((100, 61), sampling).encode(detail);
        let window = window((50, 40), 0.9);
        let want = super::super::decode(&plain, window).unwrap();
        for restart_interval in [1, 2, 7, 13, 500] {
            let encoder = Encoder { restart_interval, ..Encoder::new((100, 61), sampling) };
            let have = super::super::decode(&encoder.encode(detail), window).unwrap();
            assert_eq!(have.samples, want.samples, "{sampling:?} {restart_interval}");
        }
    }
}

#[test]
fn skipping_changes_nothing() {
    for (sampling, restart_interval) in [GRAY, FULL, SAMPLINGS[0], SAMPLINGS[2]].into_iter().zip([0, 3, 7, 0]) {
        for quantization in [1, 9] {
            let encoder = Encoder { restart_interval, quantization, ..Encoder::new((165, 140), sampling) };
            let file = encoder.encode(detail);
            for size in [(10, 9), (32, 24), (60, 70), (300, 300)] {
                for crop in [1.0, 0.7, 0.2] {
                    let planes = |with_skips| planes(header(&file), window(size, crop), with_skips).unwrap();
                    assert_eq!(planes(true), planes(false), "{sampling:?} {size:?} {crop}");
                }
            }
        }
    }
}

#[test]
fn quantization_tables_may_be_wide() {
    let narrow = Encoder { quantization: 40, ..Encoder::new((64, 64), FULL) }.encode(waves);
    let wide = Encoder { quantization: 40, wide: true, ..Encoder::new((64, 64), FULL) }.encode(waves);
    let window = window((64, 64), 1.0);
    let samples = |file: &[u8]| super::super::decode(file, window).unwrap().samples;
    assert_eq!(samples(&narrow), samples(&wide));
    let coarse = Encoder { quantization: 300, wide: true, ..Encoder::new((64, 64), FULL) }.encode(waves);
    let (mean, most) = difference(&coarse, &coarse, window, Filter::Bicubic);
    assert!(mean < 0.5 && most <= 3, "{mean} {most}");
}

#[test]
fn turned_pictures_are_looked_at_upright() {
    for sampling in [FULL, SAMPLINGS[0]] {
        for tag in 1..=8 {
            let encoder = Encoder { segments: crate::jpeg::tests::exif(tag), ..Encoder::new((90, 50), sampling) };
            let file = encoder.encode(waves);
            assert_eq!(header(&file).orientation(), Orientation::from_exif(tag).unwrap());
            for window in [window((20, 60), 1.0), window((70, 30), 0.5), window((10, 12), 1.0)] {
                let (mean, most) = difference(&file, &file, window, Filter::Bicubic);
                assert!(mean < 0.9 && most <= 4, "{tag} {window:?}: {mean} {most}");
            }
        }
    }
}

#[test]
fn large_pictures_are_reduced() {
    for sampling in [GRAY, FULL, SAMPLINGS[0], SAMPLINGS[2]] {
        for (width, height) in [(320, 240), (333, 247), (321, 241)] {
            let file = Encoder::new((width, height), sampling).encode(waves);
            let fine = Encoder::new((width, height), sampling).encode(detail);
            for part in [2, 4, 8] {
                let window = window((u32::from(width) / part, 240 / part), 1.0);
                let (mean, most) = difference(&file, &file, window, Filter::Bicubic);
                assert!(mean < 0.9 && most <= 6, "{sampling:?} {width} {part}: {mean} {most}");
                // What a pixel of the result can't show goes by another filter.
                let (mean, _) = difference(&fine, &fine, window, Filter::Bicubic);
                assert!(mean < 1.5, "{sampling:?} {width} {part}: {mean}");
                let planes = planes_of(&file, window);
                assert_eq!(planes[0].height, usize::from(height).div_ceil(part as usize));
                if let Some(blue) = planes.get(1) {
                    let (half, below) = (sampling[0].0 == 2, usize::from(sampling[0].1));
                    let reduction = if half { part / 2 } else { part };
                    assert_eq!(blue.height, usize::from(height).div_ceil(below).div_ceil(reduction as usize));
                }
            }
        }
    }
}

/// The blocks outside the window are not missing where they are needed, and those inside are where they belong.
#[test]
fn a_part_is_cut_from_the_whole() {
    for (sampling, size) in [(FULL, (200, 150)), (SAMPLINGS[2], (157, 201)), (SAMPLINGS[3], (90, 31))] {
        let file = Encoder::new(size, sampling).encode(detail);
        // Larger than the picture, so that nothing is reduced.
        let planes = |crop| planes_of(&file, window((300, 200), crop));
        let whole = planes(1.0);
        for crop in [0.9, 0.5, 0.3, 0.01] {
            let window = window((300, 200), crop);
            for (n, (part, whole)) in planes(crop).iter().zip(&whole).enumerate() {
                let (across, down) = (sampling[0].0 / sampling[n].0, sampling[0].1 / sampling[n].1);
                let in_file = |crop| {
                    let size = (u32::from(size.0), u32::from(size.1));
                    Window { crop, ..window }.crop_box(size).over(f64::from(across), f64::from(down))
                };
                let (left, top) = (in_file(crop).left - part.crop.left, in_file(crop).top - part.crop.top);
                let (left, top) =
                    (left - (in_file(1.0).left - whole.crop.left), top - (in_file(1.0).top - whole.crop.top));
                assert!(left.fract() == 0.0 && top.fract() == 0.0 && left >= 0.0 && top >= 0.0);
                for (y, row) in part.samples.chunks_exact(part.width).enumerate() {
                    let at = (top as usize + y) * whole.width + left as usize;
                    assert_eq!(row, &whole.samples[at..at + part.width], "{crop} {n} {y}");
                }
            }
        }
    }
}
