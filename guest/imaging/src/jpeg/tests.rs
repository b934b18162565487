//! Which files are decoded in which way, and what damage is told.

use super::encoder::Encoder;
use super::*;
use crate::error::ErrorKind;
use crate::types::{ColorModel, Plane};
use image::metadata::Orientation;

const FULL: &[(u8, u8)] = &[(1, 1), (1, 1), (1, 1)];
/// All of the picture below, twice as large.
const WINDOW: Window = Window::cropped((80, 64), 1.0);
/// What `jpegtran` makes of `photo.jpg` (see `picture/tests.rs`): with `-progressive`, and without `-optimize`.
const PHOTO_PROGRESSIVE: &[u8] = include_bytes!("../../fixtures/photo-progressive.jpg");
const STANDARD_TABLES: &[u8] = include_bytes!("../../fixtures/photo-standard-tables.jpg");

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

/// What the components of a file are taken for.
fn color_model(file: &[u8]) -> ColorModel {
    let Samples::Planes(_, color) = decode(file, WINDOW).unwrap().samples else { panic!("not planes") };
    color
}

/// Replaces bytes that are found once.
fn replaced(file: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let found: Vec<usize> = memchr::memmem::find_iter(file, from).collect();
    let [at] = found[..] else { panic!("{from:?} is there {} times", found.len()) };
    [&file[..at], to, &file[at + from.len()..]].concat()
}

fn planes(file: &[u8], window: Window) -> Vec<Plane> {
    let Samples::Planes(planes, _) = decode(file, window).unwrap().samples else { panic!("not planes") };
    planes
}

fn windows() -> [Window; 4] {
    [WINDOW, Window::cropped((10, 8), 1.0), Window::cropped((8, 64), 0.9), Window::cropped((2, 2), 0.4)]
}

#[test]
fn ids_and_numbers_of_tables_are_free() {
    let file = encoder().encode(color);
    let want = planes(&file, WINDOW);
    for ids in [[0, 1, 2], *b"abc"] {
        assert_eq!(planes(&Encoder { ids, ..encoder() }.encode(color), WINDOW), want);
    }
    // Extended sequential of 8 bits is the same with more tables.
    assert_eq!(planes(&replaced(&file, b"\xFF\xC0", b"\xFF\xC1"), WINDOW), want);
}

/// All orders of scans with all samplings: the planes are those of a file with one scan.
#[test]
fn scans_of_few_components_make_the_same_planes() {
    let samplings: [[(u8, u8); 3]; 10] = [
        [(1, 1), (1, 1), (1, 1)],
        [(2, 1), (1, 1), (1, 1)],
        [(1, 2), (1, 1), (1, 1)],
        [(2, 2), (1, 1), (1, 1)],
        [(4, 1), (1, 1), (1, 1)],
        [(1, 4), (1, 2), (1, 1)],
        [(1, 1), (2, 2), (1, 1)],
        [(1, 1), (1, 2), (2, 1)],
        [(3, 3), (1, 1), (1, 3)],
        [(2, 4), (1, 2), (2, 2)],
    ];
    let orders: [&[&[usize]]; 5] =
        [&[&[0], &[1], &[2]], &[&[2], &[1], &[0]], &[&[0], &[1, 2]], &[&[1, 2], &[0]], &[&[0, 1], &[2]]];
    for size in [(40, 32), (41, 33), (1, 1), (9, 70), (100, 7)] {
        for sampling in &samplings {
            for restart_interval in [0, 3] {
                let one = Encoder { restart_interval, ..Encoder::new(size, sampling) }.encode(color);
                for order in orders {
                    let scans = order.iter().map(|scan| scan.to_vec()).collect();
                    let file = Encoder { scans, restart_interval, ..Encoder::new(size, sampling) }.encode(color);
                    for window in windows() {
                        assert_eq!(planes(&file, window), planes(&one, window), "{size:?} {sampling:?} {order:?}");
                    }
                }
            }
        }
    }
}

/// Tables may be defined between scans, and again with other codes.
#[test]
fn each_scan_has_the_tables_that_are_before_it() {
    let scans = vec![vec![1], vec![0], vec![2]];
    let file = Encoder { scans, ..encoder() }.encode(color);
    let scan = memchr::memmem::find(&file, b"\xFF\xDA").unwrap();
    let first = memchr::memmem::find(&file, b"\xFF\xC4").unwrap();
    let tables = &file[first..scan];
    let second = scan + 2 + memchr::memmem::find(&file[scan + 2..], b"\xFF\xDA").unwrap();
    // Codes that no scan can be read with, and the right ones behind them.
    let junk = b"\xFF\xC4\0\x14\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let between = [&file[..second], junk, tables, &file[second..]].concat();
    assert_eq!(planes(&between, WINDOW), planes(&file, WINDOW));
    let error = decode(&[&file[..second], junk, &file[second..]].concat(), WINDOW).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Damaged);
}

/// The rule is libjpeg's, and the same for all sizes: JFIF, then Adobe, then the components' names.
#[test]
fn one_rule_says_what_the_components_are() {
    let jfif = b"\xFF\xE0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0";
    let adobe = |transform: u8| [&b"\xFF\xEE\0\x0EAdobe\0\x64\0\0\0\0"[..], &[transform]].concat();
    let rule = |segments: Vec<u8>, ids: [u8; 3]| color_model(&Encoder { segments, ids, ..encoder() }.encode(color));
    for ids in [[1, 2, 3], [0, 1, 2], *b"YCC", *b"RGB"] {
        let unnamed = if ids == *b"RGB" { ColorModel::Rgb } else { ColorModel::Ycc };
        assert_eq!(rule(vec![], ids), unnamed);
        assert_eq!(rule(jfif.to_vec(), ids), ColorModel::Ycc);
        for transform in 0..=2 {
            let of_adobe = if transform == 0 { ColorModel::Rgb } else { ColorModel::Ycc };
            assert_eq!(rule(adobe(transform), ids), of_adobe, "{ids:?} {transform}");
            assert_eq!(rule([jfif, adobe(transform).as_slice()].concat(), ids), ColorModel::Ycc);
            assert_eq!(rule([adobe(transform).as_slice(), jfif].concat(), ids), ColorModel::Ycc);
        }
    }
}

/// Webcams leave out the tables that the standard proposes.
#[test]
fn tables_of_motion_jpeg_need_not_be_there() {
    // libjpeg writes these tables where it does not optimize.
    let file = STANDARD_TABLES;
    let mut without = file.to_vec();
    while let Some(at) = memchr::memmem::find(&without, b"\xFF\xC4") {
        let length = usize::from(u16::from_be_bytes([without[at + 2], without[at + 3]]));
        without.drain(at..at + 2 + length);
    }
    assert!(without.len() < file.len() - 400);
    for window in windows() {
        assert_eq!(planes(&without, window), planes(file, window));
    }
}

#[test]
fn parameters_of_sequential_scans_mean_nothing() {
    let file = encoder().encode(color);
    let want = planes(&file, WINDOW);
    for parameters in [[0, 0, 0], [1, 63, 0], [0, 5, 0x21], [63, 0, 0xFF]] {
        let other = replaced(&file, b"\x03\0\0\x3F\0", &[&b"\x03\0"[..], &parameters].concat());
        assert_eq!(planes(&other, WINDOW), want);
    }
}

#[test]
fn padding_before_restart_markers_is_passed_over() {
    let file = Encoder { restart_interval: 3, ..encoder() }.encode(color);
    let want = planes(&file, WINDOW);
    for padding in [&b"\0"[..], b"\xFF", b"\x12\x34", b"\xFF\0", &[0; 100], b"\xFF\xFF\xFF"] {
        for marker in [&b"\xFF\xD0"[..], b"\xFF\xD1", b"\xFF\xD4"] {
            let at = memchr::memmem::find(&file, marker).unwrap();
            let padded = [&file[..at], padding, &file[at..]].concat();
            assert_eq!(planes(&padded, WINDOW), want, "{padding:?}");
        }
    }
}

/// What Pillow and browsers show: all data is there. Where a scan may follow, nobody knows.
#[test]
fn an_end_marker_is_not_needed_where_all_data_is_there() {
    let photo = PHOTO_PROGRESSIVE;
    for file in
        [&encoder().encode(color)[..], &Encoder { scans: vec![vec![0], vec![1, 2]], ..encoder() }.encode(color), photo]
    {
        for window in windows() {
            for missing in 1..=2 {
                assert_eq!(planes(&file[..file.len() - missing], window), planes(file, window));
            }
        }
    }
    let two = Encoder { scans: vec![vec![0], vec![1, 2]], ..encoder() }.encode(color);
    let second = memchr::memmem::rfind(&two, b"\xFF\xDA").unwrap();
    for cut in [&two[..second], &[&two[..second], b"\xFF\xD9"].concat()] {
        assert_damaged(cut, "a scan is missing");
    }
    let last = memchr::memmem::rfind(photo, b"\xFF\xDA").unwrap();
    assert_damaged(&photo[..last], "a scan is missing");
}

#[test]
fn the_first_orientation_counts() {
    let orientation = |segments| decode(&Encoder { segments, ..encoder() }.encode(color), WINDOW).unwrap().orientation;
    assert_eq!(orientation([exif(6), exif(1)].concat()), Orientation::Rotate90);
    assert_eq!(orientation([exif(1), exif(6)].concat()), Orientation::NoTransforms);
    // One that says nothing does not count.
    assert_eq!(orientation([exif(77), exif(3)].concat()), Orientation::Rotate180);
}

#[test]
fn kinds_that_nobody_reads_are_refused() {
    let file = encoder().encode(color);
    // Lossless, hierarchical, arithmetic.
    for kind in [0xC3, 0xC5, 0xC9, 0xCA, 0xCB, 0xCF] {
        let error = decode(&replaced(&file, b"\xFF\xC0", &[0xFF, kind]), WINDOW).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported, "{kind:x} {error:?}");
    }
    // 12 bits a sample.
    let error = decode(&replaced(&file, b"\xFF\xC0\0\x11\x08", b"\xFF\xC1\0\x11\x0C"), WINDOW).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported, "{error:?}");
}

/// Fails with 400, and these words, whether all of the picture is looked at, few columns, or all reduced.
#[track_caller]
fn assert_damaged(file: &[u8], words: &str) {
    for window in [WINDOW, Window::cropped((8, 64), 1.0), Window::cropped((2, 2), 1.0)] {
        let error = decode(file, window).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Damaged, "{error:?}");
        assert!(error.detail.contains(words), "{error:?}");
    }
}

/// Offset of the first scan's data.
fn scan_data(file: &[u8]) -> usize {
    let mut header = Header::new(file);
    assert_eq!(header.next_scan(), Next::Scan);
    header.at
}

#[test]
fn damage_is_told() {
    let file = Encoder { restart_interval: 3, ..encoder() }.encode(color);
    let scan = scan_data(&file);
    assert_damaged(&replaced(&file, b"\xFF\xD2", b"\xFF\xD3"), "a restart marker is missing");
    assert_damaged(&replaced(&file, b"\xFF\xD2", b""), "");
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
    let scan = scan_data(&file);
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
    let window = Window::cropped((64, 64), 0.1);
    let third = memchr::memmem::find(&file, b"\xFF\xD2").unwrap();
    for behind in [&b"\xFF\xD9"[..], b"\xFF\xD2\xFF\xD9", b"\xFF\xD2nonsense\xFF\xD9"] {
        let cut = [&file[..third], behind].concat();
        assert_eq!(decode(&cut, window).unwrap().samples, decode(&file, window).unwrap().samples);
        assert_damaged(&cut, "");
    }
    let error = decode(&[&file[..third - 1], b"\xFF\xD9"].concat(), window).unwrap_err();
    assert!(error.detail.contains(bits::ENDS_EARLY), "{error:?}");
    // Without an end marker nobody knows that the rest is there, unless it is.
    assert_damaged(&[&file[..third], b"\xFF\xD2nonsense"].concat(), "");
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
    assert_eq!(decode(&sized(8000, 3000), WINDOW).unwrap_err().kind, ErrorKind::TooLarge);
    assert_damaged(&sized(1200, 1500), "its data ends early");
    assert_eq!(decode(&sized(0, 30), WINDOW).unwrap_err().kind, ErrorKind::Damaged);
    assert_eq!(decode(&sized(30, 0), WINDOW).unwrap_err().kind, ErrorKind::Damaged);
}
