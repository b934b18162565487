//! Which files are decoded in which way, and what damage is told.

use super::encoder::Encoder;
use super::*;
use crate::color::ycc_to_rgb;
use crate::error::ErrorKind;

const FULL: &[(u8, u8)] = &[(1, 1), (1, 1), (1, 1)];
/// All of the picture below, twice as large.
const WINDOW: Window = Window { size: (80, 64), crop: 1.0 };
const ADOBE_RGB: &[u8] = b"\xFF\xEE\0\x0EAdobe\0\x64\0\0\0\0\0";
/// Made with libjpeg by way of Pillow: see `picture/tests.rs`.
const PHOTO: &[u8] = include_bytes!("../../fixtures/photo.jpg");

/// A segment that says how the camera was held: a TIFF header, one entry of tag 0x0112, SHORT, count 1.
pub(super) fn exif(orientation: u8) -> Vec<u8> {
    let mut segment = b"\xFF\xE1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    segment.extend([orientation, 0, 0, 0, 0, 0, 0]);
    segment
}

/// Ramps and a wave.
fn color(component: usize, x: f64, y: f64) -> f64 {
    [100.0 + 2.0 * x, 90.0 + y, 150.0 + 20.0 * (x / 7.0).sin()][component]
}

fn encoder() -> Encoder {
    Encoder::new((40, 32), FULL)
}

fn is_planes(file: &[u8]) -> bool {
    matches!(decode(file, WINDOW).unwrap().samples, Samples::Planes(_))
}

/// Replaces bytes that are found once.
fn replaced(file: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let found: Vec<usize> = memchr::memmem::find_iter(file, from).collect();
    let [at] = found[..] else { panic!("{from:?} is there {} times", found.len()) };
    [&file[..at], to, &file[at + from.len()..]].concat()
}

/// The samples that are compared with the color of the file.
fn rgb(file: &[u8]) -> Vec<u8> {
    match decode(file, WINDOW).unwrap().samples {
        Samples::Rgb(rgb) => rgb,
        Samples::Planes(planes) => ycc_to_rgb(&planes[0].samples, &planes[1].samples, &planes[2].samples),
        Samples::Gray(_) => panic!("gray"),
    }
}

#[test]
fn the_usual_kind_is_decoded_here() {
    assert!(is_planes(PHOTO));
    assert!(is_planes(&encoder().encode(color)));
    assert!(is_planes(&Encoder { segments: exif(3), ..encoder() }.encode(color)));
    // Ids are free, and so are tables: the scan says what it uses.
    assert!(is_planes(&Encoder { ids: [0, 1, 2], ..encoder() }.encode(color)));
    assert!(is_planes(&Encoder { ids: *b"abc", ..encoder() }.encode(color)));
    // Extended sequential of 8 bits is the same with more tables.
    assert!(is_planes(&replaced(&encoder().encode(color), b"\xFF\xC0", b"\xFF\xC1")));
}

#[test]
fn scans_of_one_component_are_left_to_the_general_decoder() {
    let whole = rgb(&encoder().encode(color));
    for scans in [vec![vec![0], vec![1], vec![2]], vec![vec![0], vec![1, 2]]] {
        let file = Encoder { scans, ..encoder() }.encode(color);
        assert!(!is_planes(&file));
        assert!(rgb(&file).iter().zip(&whole).all(|(a, b)| a.abs_diff(*b) <= 3));
        let small = decode(&file, Window { size: (10, 8), crop: 1.0 }).unwrap();
        assert_eq!((small.reduction, small.decoded_size()), (4, (10, 8)));
    }
}

#[test]
fn rgb_is_not_taken_for_luma() {
    let adobe = Encoder { segments: ADOBE_RGB.to_vec(), ..encoder() };
    let ids = Encoder { ids: *b"RGB", ..encoder() };
    for file in [adobe.encode(color), ids.encode(color)] {
        assert!(!is_planes(&file));
        for (n, pixel) in rgb(&file).as_chunks::<3>().0.iter().enumerate() {
            let (x, y) = ((n % 40) as f64 + 0.5, (n / 40) as f64 + 0.5);
            for (component, &have) in pixel.iter().enumerate() {
                assert!((f64::from(have) - color(component, x, y)).abs() < 5.0, "{n} {component}");
            }
        }
    }
    // Adobe's word for luma and differences.
    let mut ycc = ADOBE_RGB.to_vec();
    *ycc.last_mut().unwrap() = 1;
    assert!(is_planes(&Encoder { segments: ycc, ..encoder() }.encode(color)));
}

#[test]
fn kinds_that_nobody_reads_are_refused() {
    let file = encoder().encode(color);
    // Lossless, hierarchical, arithmetic.
    for kind in [0xC3, 0xC5, 0xC9, 0xCA, 0xCB, 0xCF] {
        let error = decode(&replaced(&file, b"\xFF\xC0", &[0xFF, kind]), WINDOW).unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Damaged | ErrorKind::Unsupported), "{kind:x} {error:?}");
    }
    // 12 bits a sample.
    let error = decode(&replaced(&file, b"\xFF\xC0\0\x11\x08", b"\xFF\xC1\0\x11\x0C"), WINDOW).unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Damaged | ErrorKind::Unsupported), "{error:?}");
}

/// Fails with 400, and these words, whether all of the picture is looked at, few columns, or all reduced.
#[track_caller]
fn assert_damaged(file: &[u8], words: &str) {
    for window in [WINDOW, Window { size: (8, 64), crop: 1.0 }, Window { size: (2, 2), crop: 1.0 }] {
        let error = decode(file, window).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Damaged, "{error:?}");
        assert!(error.detail.contains(words), "{error:?}");
    }
}

#[test]
fn damage_is_told() {
    let file = Encoder { restart_interval: 3, ..encoder() }.encode(color);
    let scan = Header::read(&file).unwrap().scan;
    assert_damaged(&replaced(&file, b"\xFF\xD2", b"\xFF\xD3"), "a restart marker is missing");
    assert_damaged(&replaced(&file, b"\xFF\xD2", b""), "");
    assert_damaged(&file[..file.len() - 2], "its end marker is missing");
    assert_damaged(&file[..file.len() - 1], "its end marker is missing");
    let end = b"\xFF\xD9";
    assert_damaged(&[&file[..scan], end].concat(), "its data ends early");
    for length in scan..file.len() - 3 {
        assert_damaged(&[&file[..length], end].concat(), "");
    }
    // Before a restart marker, where what follows is whole.
    let marker = memchr::memmem::find(&file, b"\xFF\xD1").unwrap();
    assert_damaged(&[&file[..marker - 4], &file[marker..]].concat(), "");
    assert_damaged(&[&file[..scan], &[0xFF, 0].repeat(9000), end].concat(), "a code that its tables don't have");
    assert_damaged(&[&file[..scan], &[0xC3].repeat(9000), end].concat(), "");
}

#[test]
fn every_cut_is_noticed() {
    let file = encoder().encode(color);
    let scan = Header::read(&file).unwrap().scan;
    for length in 0..scan {
        assert_eq!(decode(&file[..length], WINDOW).unwrap_err().kind, ErrorKind::Damaged);
        assert_eq!(decode(&[&file[..length], b"\xFF\xD9"].concat(), WINDOW).unwrap_err().kind, ErrorKind::Damaged);
    }
    for length in scan..file.len() - 3 {
        assert_damaged(&[&file[..length], b"\xFF\xD9"].concat(), "its data ends early");
    }
}

#[test]
fn what_is_below_the_window_is_not_read() {
    // A restart marker behind each of four rows of blocks; the window lies in the second and the third.
    let file = Encoder { restart_interval: 5, ..encoder() }.encode(color);
    let window = Window { size: (64, 64), crop: 0.1 };
    let third = memchr::memmem::find(&file, b"\xFF\xD2").unwrap();
    for behind in [&b"\xFF\xD9"[..], b"\xFF\xD2\xFF\xD9", b"\xFF\xD2nonsense\xFF\xD9"] {
        let cut = [&file[..third], behind].concat();
        assert_eq!(decode(&cut, window).unwrap().samples, decode(&file, window).unwrap().samples);
        assert_damaged(&cut, "");
    }
    let error = decode(&[&file[..third - 1], b"\xFF\xD9"].concat(), window).unwrap_err();
    assert!(error.detail.contains(bits::ENDS_EARLY), "{error:?}");
    let error = decode(&[&file[..third], b"\xFF\xD2nonsense"].concat(), window).unwrap_err();
    assert!(error.detail.contains("its end marker is missing"), "{error:?}");
}

#[test]
fn a_second_frame_is_refused() {
    let file = encoder().encode(color);
    let at = memchr::memmem::find(&file, b"\xFF\xC0").unwrap();
    let twice = [&file[..at], &file[at..at + 19], &file[at..]].concat();
    assert_eq!(decode(&twice, WINDOW).unwrap_err().kind, ErrorKind::Damaged);
}

#[test]
fn a_frame_that_lacks_components_is_refused() {
    for count in [0, 4, 255] {
        let file = replaced(&encoder().encode(color), b"\x03\x01\x11\0\x02", &[count, 1, 0x11, 0, 2]);
        assert_eq!(decode(&file, WINDOW).unwrap_err().kind, ErrorKind::Damaged);
    }
}

#[test]
fn a_small_file_of_a_large_picture_is_refused_at_once() {
    let file = encoder().encode(color);
    let at = memchr::memmem::find(&file, b"\xFF\xC0").unwrap();
    let sized = |width: u16, height: u16| {
        let mut file = file.clone();
        file[at + 5..at + 7].copy_from_slice(&height.to_be_bytes());
        file[at + 7..at + 9].copy_from_slice(&width.to_be_bytes());
        file
    };
    assert_eq!(decode(&sized(65535, 65535), WINDOW).unwrap_err().kind, ErrorKind::TooLarge);
    assert_damaged(&sized(8000, 3000), "its data ends early");
    assert_eq!(decode(&sized(0, 30), WINDOW).unwrap_err().kind, ErrorKind::Damaged);
    assert_eq!(decode(&sized(30, 0), WINDOW).unwrap_err().kind, ErrorKind::Damaged);
}
