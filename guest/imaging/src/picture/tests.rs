//! Real files of all formats, made by the encoders of the same crate, but for three JPEGs that it cannot make, made
//! with Pillow: `fixtures/cmyk.jpg` (32 x 32), `fixtures/progressive.jpg` (64 x 48), and `fixtures/photo.jpg`
//! (75 x 50; scikit-image's cat Chelsea, by Stefan van der Walt, CC0): `save(..., quality=80, subsampling="4:2:0",
//! optimize=True, restart_marker_rows=1)`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, ImageBuffer, Rgb, RgbImage};

use super::*;
use crate::color::planes_to_rgb;
use crate::error::ErrorKind;
use crate::random::Random;
use crate::types::{ColorModel, CropBox, Plane, Raster, Samples};

const WINDOW: Window = Window::cropped((32, 32), 1.0);
const FORMATS: [ImageFormat; 5] =
    [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Gif, ImageFormat::WebP, ImageFormat::Bmp];
const CMYK: &[u8] = include_bytes!("../../fixtures/cmyk.jpg");
const PROGRESSIVE: &[u8] = include_bytes!("../../fixtures/progressive.jpg");
const PHOTO: &[u8] = include_bytes!("../../fixtures/photo.jpg");

/// Remembers the largest allocation of each thread, to show that none is made for a refused picture.
struct Watching;

thread_local!(static LARGEST: Cell<usize> = const { Cell::new(0) });

#[global_allocator]
static ALLOCATOR: Watching = Watching;

#[expect(unsafe_code, reason = "an allocator can only be watched by being one")]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(layout.size())));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn stripes(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, _| if x < width / 2 { Rgb([200, 60, 30]) } else { Rgb([20, 90, 220]) })
}

fn file(pixels: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    pixels.into().write_to(&mut file, format).unwrap();
    file.into_inner()
}

fn rgb(picture: &Picture) -> Vec<u8> {
    match &picture.samples {
        Samples::Interleaved(raster) => {
            assert_eq!(raster.channels, 3);
            raster.samples.clone()
        }
        Samples::Planes(planes, color) => {
            let planes: Vec<_> = planes.iter().map(|plane| plane.samples.clone()).collect();
            planes_to_rgb(&planes, *color).unwrap()
        }
    }
}

fn close(have: &[u8], want: [u8; 3], tolerance: u8) -> bool {
    have.iter().zip(want).all(|(have, want)| have.abs_diff(want) <= tolerance)
}

#[test]
fn every_format_is_known_by_its_bytes() {
    for format in FORMATS {
        let picture = decode(&file(stripes(40, 40), format), WINDOW).unwrap();
        assert_eq!(picture.size, (40, 40));
        let samples = rgb(&picture);
        assert!(close(&samples[..3], [200, 60, 30], 12), "{format:?} {:?}", &samples[..3]);
        assert!(close(&samples[117..120], [20, 90, 220], 12), "{format:?} {:?}", &samples[117..120]);
    }
}

#[test]
fn gray_alpha_and_sixteen_bits_are_read() {
    let interleaved = |file: &[u8]| match decode(file, WINDOW).unwrap().samples {
        Samples::Interleaved(Raster { samples, channels, .. }) => (samples, channels),
        Samples::Planes(..) => panic!("planes"),
    };
    let gray = file(GrayImage::from_pixel(3, 2, image::Luma([7])), ImageFormat::Png);
    assert_eq!(interleaved(&gray), (vec![7; 6], 1));
    let clear = image::RgbaImage::from_pixel(1, 1, image::Rgba([9, 9, 9, 0]));
    for format in [ImageFormat::Png, ImageFormat::WebP] {
        assert_eq!(interleaved(&file(clear.clone(), format)), (vec![255; 3], 3));
    }
    let deep = ImageBuffer::from_pixel(1, 1, Rgb([65535u16, 257 * 3, 0]));
    assert_eq!(interleaved(&file(deep, ImageFormat::Png)), (vec![255, 3, 0], 3));
    let gray = decode(&file(GrayImage::from_pixel(80, 80, image::Luma([90])), ImageFormat::Jpeg), WINDOW).unwrap();
    let crop = CropBox { left: 0.0, top: 0.0, width: 40.0, height: 40.0 };
    let plane = Plane { samples: vec![90; 40 * 40], width: 40, height: 40, crop };
    assert_eq!(gray.samples, Samples::Planes(vec![plane], ColorModel::Gray));
}

#[test]
fn cmyk_is_turned_to_rgb_at_any_size() {
    for (size, side) in [(8, 8), (32, 32)] {
        let picture = decode(CMYK, Window::cropped((size, size), 1.0)).unwrap();
        let samples = rgb(&picture);
        assert_eq!(samples.len(), side * side * 3);
        let (left, right) = (3 * (side / 8), 3 * (side - side / 8 - 1));
        assert!(close(&samples[left..left + 3], [200, 60, 30], 12), "{samples:?}");
        assert!(close(&samples[right..right + 3], [20, 90, 220], 12), "{samples:?}");
    }
}

#[test]
fn a_large_jpeg_is_decoded_smaller() {
    for (size, side) in [(63, 63), (64, 32), (128, 32), (257, 33)] {
        let picture = decode(&file(stripes(size, size), ImageFormat::Jpeg), WINDOW).unwrap();
        assert_eq!(picture.size, (size, size));
        let Samples::Planes(planes, _) = &picture.samples else { panic!("not planes") };
        assert!(planes.len() == 3 && planes.iter().all(|plane| (plane.width, plane.height) == (side, side)), "{size}");
        assert!(close(&rgb(&picture)[..3], [200, 60, 30], 12));
    }
    let picture = decode(PROGRESSIVE, Window::cropped((16, 16), 1.0)).unwrap();
    let Samples::Planes(planes, _) = &picture.samples else { panic!("not planes") };
    // All rows, and the columns of the window with what scaling looks at beside them.
    assert_eq!((planes[0].width, planes[0].height), (32, 24));
}

#[test]
fn the_cameras_orientation_is_read_on_both_ways() {
    // A TIFF header, one entry: tag 0x0112, SHORT, count 1, value 6.
    let exif = b"\xFF\xE1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    for size in [40, 128] {
        let mut jpeg = file(stripes(size, size), ImageFormat::Jpeg);
        jpeg.splice(2..2, exif.iter().copied());
        let picture = decode(&jpeg, WINDOW).unwrap();
        assert_eq!(picture.orientation, Orientation::Rotate90, "{size}");
    }
}

#[test]
fn what_is_no_picture_is_refused() {
    for file in [&b"%PDF-1.7"[..], b"<html>", b"", b"\0", b"II*\0\x08\0\0\0", b"\0\0\0\x20ftypavif"] {
        assert_eq!(decode(file, WINDOW).unwrap_err().kind, ErrorKind::Unsupported);
    }
}

#[test]
fn half_a_file_is_refused() {
    let noise = RgbImage::from_fn(60, 60, |x, y| Rgb([(x * y * 7) as u8, (x * 31 + y * 17) as u8, (x ^ y) as u8]));
    let files = FORMATS.map(|format| file(noise.clone(), format));
    for file in files.iter().map(Vec::as_slice).chain([CMYK, PROGRESSIVE, PHOTO]) {
        for length in [file.len() / 2, file.len() * 9 / 10, 40] {
            for size in [8, 60] {
                let error = decode(&file[..length], Window::cropped((size, size), 1.0)).unwrap_err();
                assert_eq!(
                    error.kind,
                    ErrorKind::Damaged,
                    "{length} of {} {:?}: {}",
                    file.len(),
                    &file[..4],
                    error.detail
                );
            }
        }
    }
}

/// Overwrites the declared width and height of a small file by the largest that its format can say.
fn bomb(format: ImageFormat) -> Vec<u8> {
    let mut file = file(stripes(2, 2), format);
    let (at, declared): (usize, &[u8]) = match format {
        ImageFormat::Jpeg => (memchr::memmem::find(&file, b"\xFF\xC0").unwrap() + 5, &[0xFF; 4]),
        // With the checksum of this header.
        ImageFormat::Png => (16, b"\x00\x01\x00\x00\x00\x01\x00\x00\x08\x02\x00\x00\x00\xE3\xE6\xA7\xB4"),
        ImageFormat::Gif => (6, &[0xFF; 4]),
        ImageFormat::WebP => (21, b"\xFE\xBF\xFF\x0F"),
        _ => (18, b"\xFF\xFF\x00\x00\xFF\xFF\x00\x00"),
    };
    file[at..at + declared.len()].copy_from_slice(declared);
    file
}

#[test]
fn a_bomb_is_refused_before_anything_is_allocated_for_it() {
    let mut progressive = PROGRESSIVE.to_vec();
    let frame = memchr::memmem::find(&progressive, b"\xFF\xC2").unwrap();
    // Small enough once reduced, but its coefficients are not.
    progressive[frame + 5..frame + 9].copy_from_slice(&[0x20, 0, 0x20, 0]);
    for file in FORMATS.map(bomb).iter().chain([&progressive]) {
        LARGEST.set(0);
        let error = decode(file, WINDOW).unwrap_err();
        assert_eq!(error.kind, ErrorKind::TooLarge, "{:?}: {}", &file[..4], error.detail);
        assert!(LARGEST.get() < 1 << 20, "{:?}: {} bytes", &file[..4], LARGEST.get());
    }
}

#[test]
fn no_damage_makes_it_panic() {
    let files = FORMATS.map(|format| file(stripes(48, 20), format));
    let mut random = Random::new(7);
    for original in files.iter().map(Vec::as_slice).chain([CMYK, PROGRESSIVE, PHOTO]) {
        for _ in 0..400 {
            let mut file = original.to_vec();
            for _ in 0..1 + random.below(4) {
                let at = random.below(file.len());
                file[at] = random.next_u32() as u8;
            }
            let size = 1 + random.next_u32() % 40;
            let _ = decode(&file, Window::cropped((size, size), 1.0));
        }
    }
}

#[test]
fn a_format_that_is_not_read_is_named() {
    let heads: [(&[u8], &str); 8] = [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0", "HEIC"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x4f\xff\x51", "JPEG 2000"),
        (b"\xff\x0a\xfa", "JPEG XL"),
        (b"%PDF-1.7", "PDF"),
        (b"8BPS\0\x01", "Photoshop"),
        (b"\n<svg xmlns=", "SVG"),
    ];
    for (head, name) in heads {
        let error = decode(head, WINDOW).unwrap_err();
        assert!(error.detail.contains(name), "{name}: {error}");
        assert_eq!(error.kind, ErrorKind::Unsupported);
    }
    assert!(decode(b"hello", WINDOW).unwrap_err().detail.contains("no picture"));
}
