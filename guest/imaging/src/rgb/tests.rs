use std::io::Cursor;

use image::{ImageFormat, Rgb};

use super::*;
use crate::{ErrorKind, Window, decode};

fn noise(width: u32, height: u32) -> RgbImage {
    let mut random = crate::random::Random::new(5);
    RgbImage::from_fn(width, height, |_, _| Rgb(std::array::from_fn(|_| random.next_u32() as u8)))
}

fn file(picture: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, format).unwrap();
    file.into_inner()
}

/// A PNG with Exif metadata that name an orientation.
fn turned_file(picture: &RgbImage, orientation: u8) -> Vec<u8> {
    let tiff = [&b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0"[..], &[orientation, 0, 0, 0, 0, 0, 0, 0]].concat();
    let chunk = [&(tiff.len() as u32).to_be_bytes()[..], b"eXIf", &tiff, &[0; 4]].concat();
    let whole = file(picture, ImageFormat::Png);
    [&whole[..], &chunk].concat()
}

#[test]
fn all_pixels_of_a_lossless_picture_are_there() {
    for size in [(1, 1), (37, 20), (300, 200)] {
        let picture = noise(size.0, size.1);
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP] {
            let decoded = decode(&file(&picture, format), Window::whole(2000)).unwrap();
            assert_eq!(decoded.upright_size(), size);
            assert_eq!(rgb(&decoded, size, Filter::Bilinear).unwrap(), picture, "{format:?}");
        }
    }
}

#[test]
fn gray_is_all_three_colors() {
    let gray = image::GrayImage::from_fn(30, 20, |x, y| image::Luma([(x * y) as u8]));
    let mut file = Cursor::new(Vec::new());
    gray.write_to(&mut file, ImageFormat::Png).unwrap();
    let decoded = decode(&file.into_inner(), Window::whole(100)).unwrap();
    let all = rgb(&decoded, (30, 20), Filter::Bilinear).unwrap();
    assert!(all.enumerate_pixels().all(|(x, y, pixel)| pixel.0 == [(x * y) as u8; 3]));
    assert_eq!(rgb(&decoded, (15, 10), Filter::Bilinear).unwrap().dimensions(), (15, 10));
}

#[test]
fn pictures_are_turned_upright_at_the_size_that_is_seen() {
    let picture = noise(40, 25);
    let decoded = decode(&turned_file(&picture, 6), Window::whole(2000)).unwrap();
    assert_eq!(decoded.upright_size(), (25, 40));
    assert_eq!(rgb(&decoded, (25, 40), Filter::Bilinear).unwrap(), imageops::rotate90(&picture));
    let small = rgb(&decoded, (10, 16), Filter::Bilinear).unwrap();
    assert_eq!(small, imageops::rotate90(&resize(&picture, (16, 10), Filter::Bilinear)));
}

/// A photograph is decoded at a half where a half is enough, and whole where it is not.
#[test]
fn large_photographs_are_decoded_as_small_as_they_may() {
    let photograph = include_bytes!("../../fixtures/photo.jpg");
    let luma = |max_side| match decode(photograph, Window::whole(max_side)).unwrap().samples {
        Samples::Planes(planes, _) => (planes[0].width as u32, planes[0].height as u32),
        Samples::Interleaved(_) => panic!("a JPEG has planes"),
    };
    let whole = decode(photograph, Window::whole(4000)).unwrap();
    let (width, height) = whole.upright_size();
    assert_eq!(luma(4000), (width, height));
    assert_eq!(luma(width.max(height)), (width, height));
    assert_eq!(luma(width.max(height) / 2).0, width.div_ceil(2));
    // Reduced while it is decoded or afterwards is nearly the same.
    let size = (width / 2, height / 2);
    let half = rgb(&decode(photograph, Window::whole(width.max(height) / 2)).unwrap(), size, Filter::Bilinear).unwrap();
    let after = resize(&rgb(&whole, (width, height), Filter::Bilinear).unwrap(), size, Filter::Bilinear);
    let apart: u64 = half.iter().zip(after.iter()).map(|(&a, &b)| u64::from(a.abs_diff(b))).sum();
    assert!(apart as f64 / half.len() as f64 <= 4.0, "{} on average", apart as f64 / half.len() as f64);
}

#[test]
fn resizing_to_the_same_size_changes_nothing() {
    let picture = noise(33, 18);
    assert_eq!(resize(&picture, (33, 18), Filter::Bicubic), picture);
    assert_eq!(resize(&picture, (1, 70), Filter::Bicubic).dimensions(), (1, 70));
}

#[test]
fn samples_that_contradict_their_size_are_a_fault() {
    let mut decoded = decode(&file(&noise(8, 8), ImageFormat::Png), Window::whole(100)).unwrap();
    if let Samples::Interleaved(raster) = &mut decoded.samples {
        raster.samples.pop();
    }
    for size in [(8, 8), (4, 4)] {
        assert_eq!(rgb(&decoded, size, Filter::Bilinear).unwrap_err().kind, ErrorKind::Internal);
    }
}
