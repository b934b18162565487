//! Files that `jpegtran` made of sequential ones hold the same coefficients, so that they must become the same planes.

use super::*;
use crate::error::ErrorKind;
use crate::jpeg;
use crate::types::Samples;

/// See `picture/tests.rs`. The others are what `jpegtran -progressive` makes of it, and what it makes with a script of
/// many small scans, `-scans`, and a restart marker behind each row of blocks.
const PHOTO: &[u8] = include_bytes!("../../../fixtures/photo.jpg");
const PROGRESSIVE: &[u8] = include_bytes!("../../../fixtures/photo-progressive.jpg");
const MANY_SCANS: &[u8] = include_bytes!("../../../fixtures/photo-scans.jpg");

const WINDOW: Window = Window::cropped((64, 64), 1.0);

fn planes(file: &[u8], window: Window) -> Vec<Plane> {
    let Samples::Planes(planes, _) = jpeg::decode(file, window).unwrap().samples else { panic!("not planes") };
    planes
}

#[test]
fn scans_bring_the_same_coefficients() {
    for file in [PROGRESSIVE, MANY_SCANS] {
        for size in [(64, 64), (9, 5), (20, 40), (300, 200), (2, 2)] {
            for crop in [1.0, 0.875, 0.3] {
                let window = Window::cropped(size, crop);
                assert_eq!(planes(file, window), planes(PHOTO, window), "{window:?}");
            }
        }
    }
}

/// The positions of the scan headers.
fn scans(file: &[u8]) -> Vec<usize> {
    memchr::memmem::find_iter(file, b"\xFF\xDA").collect()
}

#[test]
fn a_file_that_lacks_scans_is_shown_coarse_if_it_says_that_it_ends() {
    let second = scans(PROGRESSIVE)[1];
    let coarse = [&PROGRESSIVE[..second], b"\xFF\xD9"].concat();
    assert_eq!(planes(&coarse, WINDOW)[0].samples.len(), planes(PHOTO, WINDOW)[0].samples.len());
    assert_eq!(jpeg::decode(&PROGRESSIVE[..second], WINDOW).unwrap_err().kind, ErrorKind::Damaged);
}

#[test]
fn every_cut_is_noticed() {
    for file in [PROGRESSIVE, MANY_SCANS] {
        for length in 0..file.len() - 2 {
            let whole = jpeg::decode(&file[..length], WINDOW).is_ok();
            // The last byte of the last scan may hold padding alone.
            assert!(!whole || length >= file.len() - 4, "{length} of {}", file.len());
        }
    }
}

#[test]
fn scans_of_coefficients_that_are_none_are_refused() {
    let first = scans(PROGRESSIVE)[0];
    let length = usize::from(PROGRESSIVE[first + 3]);
    for parameters in [[0, 63, 0], [5, 4, 0], [1, 64, 0], [0, 0, 0x31], [0, 0, 0x0E]] {
        let mut file = PROGRESSIVE.to_vec();
        file[first + 2 + length - 3..first + 2 + length].copy_from_slice(&parameters);
        assert_eq!(jpeg::decode(&file, WINDOW).unwrap_err().kind, ErrorKind::Damaged, "{parameters:?}");
    }
}

/// A file may have as many scans as its size allows, and is refused at once with more.
#[test]
fn scans_are_bounded() {
    let last = *scans(MANY_SCANS).last().unwrap();
    let end = MANY_SCANS.len() - 2;
    let with = |more: usize| [&MANY_SCANS[..end], &MANY_SCANS[last..end].repeat(more), b"\xFF\xD9"].concat();
    assert!(jpeg::decode(&with(500), WINDOW).is_ok());
    let mut large = with(40_000);
    let error = jpeg::decode(&large, WINDOW).unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooLarge, "{}", error.detail);
    // A picture of 8000 x 6000 with the scans of a small one is refused after its first.
    let frame = memchr::memmem::find(&large, b"\xFF\xC2").unwrap();
    large[frame + 5..frame + 9].copy_from_slice(&[0x17, 0x70, 0x1F, 0x40]);
    assert!(jpeg::decode(&large, WINDOW).is_err());
}
