//! Unusual and broken pictures, and pictures that would cost more than they show, sent to the example function.

use image::{ImageFormat, RgbImage};

use crate::harness::{Answer, Server, Setup, root};

const GOLF_BALL: u64 = 574;

fn fixture(name: &str) -> Vec<u8> {
    let path = root().join("tests/fixtures/pictures").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

async fn classify(server: &Server, file: Vec<u8>) -> Answer {
    server.post("/classify?top_k=20", file).await
}

fn probability(answer: &Answer, class: u64) -> f64 {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = answer.json();
    let predictions = json["predictions"].as_array().unwrap();
    predictions.iter().find(|p| p["index"] == class).map_or(0.0, |p| p["probability"].as_f64().unwrap())
}

/// These hold the very coefficients of `control.jpg`.
#[tokio::test]
async fn unusual_jpegs_are_the_same_picture() {
    let server = Setup::example().start();
    let control = classify(&server, fixture("control.jpg")).await;
    assert!(probability(&control, GOLF_BALL) > 0.15);
    let same = ["jpeg-multiscan-420", "jpeg-multiscan-y-cbcr-420", "jpeg-jfif-adobe0-small", "jpeg-junk-before-rst"];
    for name in same {
        let answer = classify(&server, fixture(&format!("{name}.jpg"))).await;
        assert_eq!(answer.body, control.body, "{name}");
    }
}

/// Of other quality, size and format, so that the network is more or less sure.
#[tokio::test]
async fn unusual_pictures_are_recognised() {
    let server = Setup::example().start();
    let names = [
        "jpeg-chroma-scan-first.jpg",
        "jpeg-prog-luma-smaller.jpg",
        "jpeg-no-dht.jpg",
        "jpeg-sos-ah-large.jpg",
        "jpeg-two-exif-6-then-1.jpg",
        "png-no-iend.png",
        "gif-frame-larger-than-screen.gif",
        "webp-exif-prefix.webp",
    ];
    for name in names {
        let found = probability(&classify(&server, fixture(name)).await, GOLF_BALL);
        assert!(found > 0.1, "{name}: {found}");
    }
    let with_prefix = classify(&server, fixture("webp-exif-prefix.webp")).await;
    assert_eq!(with_prefix.body, classify(&server, fixture("webp-exif-no-prefix-control.webp")).await.body);
    assert_eq!(classify(&server, fixture("jpeg-panic-prog-8x8.jpg")).await.status, 200);
}

#[tokio::test]
async fn kinds_of_jpeg_that_are_not_read_are_named() {
    let problem = classify(&Setup::example().start(), fixture("jpeg-arithmetic.jpg")).await.problem(415);
    assert!(problem.contains("arithmetic"), "{problem}");
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    RgbImage::new(width, height).write_to(&mut file, ImageFormat::Png).unwrap();
    file.into_inner()
}

/// A file of a kilobyte takes no more memory and time than an ordinary one, and is refused where it claims to.
#[tokio::test]
async fn a_small_file_costs_little_whatever_it_claims() {
    let server = Setup::example().args(&["--max-memory", "64MiB"]).start();
    for (width, height) in [(65_535, 1), (1, 65_535), (1_400, 1_400)] {
        assert_eq!(classify(&server, png(width, height)).await.status, 200, "{width} x {height}");
    }
    for (width, height) in [(65_536, 1), (1_000_000, 1), (1, 1_000_000), (30_000_000, 1)] {
        let problem = classify(&server, png(width, height)).await.problem(413);
        assert!(problem.contains("65535 pixels a side"), "{problem}");
    }
    let mut claims = fixture("control.jpg");
    let frame = claims.windows(2).position(|marker| marker == [0xFF, 0xC0]).unwrap();
    claims[frame + 5..frame + 9].copy_from_slice(&[0x0B, 0xB8, 0x0B, 0xB8]);
    let problem = classify(&server, claims).await.problem(413);
    assert!(problem.contains("shows next to nothing"), "{problem}");
}

#[tokio::test]
async fn scans_of_a_jpeg_are_bounded() {
    let server = Setup::example().start();
    let file = std::fs::read(root().join("guest/imaging/fixtures/photo-scans.jpg")).unwrap();
    let starts: Vec<usize> = (0..file.len() - 1).filter(|&at| file[at..at + 2] == [0xFF, 0xDA]).collect();
    let (last, end) = (starts[starts.len() - 1], file.len() - 2);
    for (more, status) in [(3_000, 200), (60_000, 413)] {
        let long = [&file[..end], &file[last..end].repeat(more), &file[end..]].concat();
        assert_eq!(classify(&server, long).await.status, status, "{more} scans more");
    }
}

/// One scan of a component with few samples is little work, but the coefficients of the others have their place, too: more
/// bytes than a guest can count.
#[tokio::test]
async fn coefficients_that_no_scan_brings_are_counted() {
    let side = 46_000_u16.to_be_bytes();
    let frame = [&[8][..], &side, &side, &[3, 1, 0x44, 0, 2, 0x11, 0, 3, 0x11, 0]].concat();
    let segment = |marker: u8, data: &[u8]| [&[0xFF, marker, 0, data.len() as u8 + 2][..], data].concat();
    let segments = [segment(0xDB, &[1; 65]), segment(0xC2, &frame), segment(0xDA, &[1, 2, 0, 0, 0, 0])].concat();
    let file = [&[0xFF, 0xD8][..], &segments, &vec![0; 9 << 20], &[0xFF, 0xD9]].concat();
    let problem = classify(&Setup::example().start(), file).await.problem(413);
    assert!(problem.contains("96 MiB"), "{problem}");
}

#[tokio::test]
async fn work_on_a_webp_is_bounded() {
    let server = Setup::example().start();
    // What is behind the picture counts as its data, since telling them apart is the decoder's work.
    let padded = |bytes: usize| [fixture("webp-exif-prefix.webp"), vec![0; bytes]].concat();
    assert_eq!(classify(&server, padded(7_000_000)).await.status, 200);
    let problem = classify(&server, padded(8_000_000)).await.problem(413);
    assert!(problem.contains("15 million pixels"), "{problem}");
}
