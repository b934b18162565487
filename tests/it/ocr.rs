//! The function that reads text, as its users see it: three real models behind one function.

use std::collections::BTreeMap;

use image::{GrayImage, ImageFormat, Luma, RgbImage};
use reqwest::multipart::{Form, Part};
use serde::Deserialize;

use crate::browser::Browser;
use crate::harness::{Answer, OCR_MODELS, Scratch, Server, Setup, ocr_manifest, picture, root};

/// Boxes overlap with those of the reference by so much, at least: their intersection divided by their union.
const LEAST_OVERLAP: f64 = 0.8;

/// Of the reference's characters so many may be read in another way: the part of all, and of those that are no spaces, of
/// which the network is rather unsure. The reference scales without antialiasing, rounds boxes in the middle of its work,
/// and computes six lines at a time, with gray behind the shorter ones.
const MOST_DIFFERENT: [f64; 2] = [0.015, 0.002];

/// A score may differ from the reference's by so much.
const MOST_APART: f64 = 0.1;

/// Lines below this score are found by the reference, and not read: they stand upside down.
const READ: f64 = 0.7;

/// What `tests/fixtures/ocr/reference.py` wrote.
#[derive(Deserialize)]
struct Golden {
    pictures: BTreeMap<String, Vec<Line>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Line {
    text: String,
    score: f64,
    r#box: [(f64, f64); 4],
}

#[derive(Deserialize)]
struct Reading {
    width: u32,
    height: u32,
    lines: Vec<Line>,
    left_out: usize,
}

fn fixture(name: &str) -> Vec<u8> {
    let path = root().join("tests/fixtures/ocr").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn golden() -> Golden {
    serde_json::from_slice(&fixture("golden.json")).unwrap()
}

fn reading(answer: &Answer) -> Reading {
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

async fn read(server: &Server, file: impl Into<reqwest::Body>) -> Reading {
    reading(&server.post("/ocr", file).await)
}

fn png(picture: &RgbImage) -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut file, ImageFormat::Png).unwrap();
    file.into_inner()
}

/// Intersection divided by union of two convex quadrilaterals.
fn overlap(a: &[(f64, f64); 4], b: &[(f64, f64); 4]) -> f64 {
    let mut inside = a.to_vec();
    for (start, end) in b.iter().zip(b.iter().cycle().skip(1)) {
        let side = |p: (f64, f64)| (end.0 - start.0) * (p.1 - start.1) - (end.1 - start.1) * (p.0 - start.0);
        let mut kept = Vec::new();
        for (&from, &to) in inside.iter().zip(inside.iter().cycle().skip(1)) {
            let (before, behind) = (side(from), side(to));
            if before >= 0.0 {
                kept.push(from);
            }
            if before * behind < 0.0 {
                let part = before / (before - behind);
                kept.push((from.0 + part * (to.0 - from.0), from.1 + part * (to.1 - from.1)));
            }
        }
        inside = kept;
    }
    let common = area(&inside);
    common / (area(a) + area(b) - common)
}

fn area(corners: &[(f64, f64)]) -> f64 {
    let next = corners.iter().cycle().skip(1);
    corners.iter().zip(next).map(|(a, b)| a.0 * b.1 - b.0 * a.1).sum::<f64>().abs() / 2.0
}

/// How many characters to insert, remove or replace (Levenshtein).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (n, one) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], n + 1);
        for (m, other) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(one != *other);
            diagonal = row[m + 1];
            row[m + 1] = replaced.min(row[m] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[test]
fn the_measures_of_these_tests_are_right() {
    let square = [(0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0)];
    let moved = square.map(|(x, y)| (x + 5.0, y));
    assert!((overlap(&square, &square) - 1.0).abs() < 1e-9 && (overlap(&square, &moved) - 50.0 / 150.0).abs() < 1e-9);
    assert!(overlap(&square, &square.map(|(x, y)| (x + 20.0, y))).abs() < 1e-9);
    assert_eq!((edits("kitten", "sitting"), edits("", "ab"), edits("路", "路")), (3, 2, 0));
}

/// Every line of the package's own answers is found, at its place, with its text; and no line beside them.
#[tokio::test]
async fn twenty_pictures_are_read_as_the_package_reads_them() {
    let server = Setup::ocr().start();
    let pictures = golden().pictures;
    assert_eq!(pictures.len(), 20);
    let (mut characters, mut different, mut mistakes) = ([0; 2], [0; 2], Vec::new());
    for (name, wanted) in &pictures {
        let mut found = read(&server, fixture(name)).await.lines;
        if found.len() != wanted.len() {
            mistakes.push(format!("{name}: {} lines instead of {}", found.len(), wanted.len()));
        }
        for line in wanted {
            let best = found.iter().enumerate().map(|(n, other)| (n, overlap(&line.r#box, &other.r#box)));
            let Some((n, common)) = best.max_by(|a, b| a.1.total_cmp(&b.1)) else { continue };
            let ours = found.remove(n);
            let is_read = line.score >= READ;
            if common < LEAST_OVERLAP || is_read && (ours.score - line.score).abs() > MOST_APART {
                mistakes.push(format!("{name}: {line:?} is {ours:?}, of which {common:.3} overlap"));
            }
            let texts = |line: &Line| [line.text.clone(), line.text.replace(' ', "")];
            for (n, (text, ours)) in texts(line).into_iter().zip(texts(&ours)).enumerate().filter(|_| is_read) {
                characters[n] += text.chars().count();
                different[n] += edits(&text, &ours);
            }
        }
    }
    eprintln!("{different:?} of {characters:?} characters, and of those that are no spaces, differ from the reference");
    assert!(mistakes.is_empty(), "{mistakes:#?}");
    assert!(characters[0] > 1_900, "{characters:?}");
    for n in 0..2 {
        let most = MOST_DIFFERENT[n] * f64::from(characters[n] as u32);
        assert!(different[n] as f64 <= most, "{different:?} of {characters:?}");
    }
}

/// The direction network is wrong about long lines that stand on their side; what is read badly is read the other way, too.
#[tokio::test]
async fn a_page_on_its_side_is_read() {
    let page = read(&Setup::ocr().start(), fixture("sideways.png")).await;
    let texts: Vec<&str> = page.lines.iter().map(|line| line.text.as_str()).collect();
    for text in ["The quick brown fox jumps over the lazy dog", "and nobody in the village was surprised."] {
        assert!(texts.contains(&text), "{texts:?}");
    }
    assert!(page.lines.iter().all(|line| line.score > 0.9), "{:?}", page.lines);
}

#[tokio::test]
async fn lines_come_in_the_order_in_which_they_are_read() {
    let server = Setup::ocr().start();
    let answer = server.post("/ocr", fixture("receipt.png")).await;
    let page = reading(&answer);
    assert_eq!((page.width, page.height, page.left_out), (420, 640, 0));
    let texts: Vec<&str> = page.lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts[1..5], ["Coffee", "3.40", "Bread", "2.85"], "{texts:?}");
    let timing = answer.header("server-timing");
    for phase in ["decode", "detection", "boxes", "direction", "recognition"] {
        assert_eq!(timing.matches(&format!("{phase};dur=")).count(), 1, "{timing}");
    }
}

/// Pictures without text have no lines, whatever they show.
#[tokio::test]
async fn nothing_is_read_where_nothing_is_written() {
    let server = Setup::ocr().start();
    for color in [[255; 3], [0; 3], [90, 160, 40]] {
        let blank = RgbImage::from_pixel(640, 480, color.into());
        assert!(read(&server, png(&blank)).await.lines.is_empty(), "{color:?}");
    }
    for name in ["chelsea.png", "coffee.png"] {
        let page = read(&server, picture(name)).await;
        assert!(page.lines.is_empty(), "{name}: {:?}", page.lines);
    }
}

/// The same page as a camera stores it that was held on its side: what counts is what is seen.
#[tokio::test]
async fn the_orientation_of_a_photograph_is_obeyed() {
    let page = image::load_from_memory(&fixture("mixed.png")).unwrap().to_rgb8();
    let mut stored = png(&image::imageops::rotate270(&page));
    let tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let chunk = [&(tiff.len() as u32).to_be_bytes()[..], b"eXIf", tiff, &[0; 4]].concat();
    stored.extend(chunk);
    let server = Setup::ocr().start();
    let (upright, turned) = (read(&server, png(&page)).await, read(&server, stored).await);
    assert_eq!((turned.width, turned.height), (760, 420));
    let summary = |page: &Reading| page.lines.iter().map(|line| (line.text.clone(), line.r#box)).collect::<Vec<_>>();
    assert_eq!(summary(&upright), summary(&turned));
    assert!(!upright.lines.is_empty());
}

#[tokio::test]
async fn a_form_and_raw_bytes_get_the_same_answer() {
    let server = Setup::ocr().start();
    let raw = server.post("/ocr", fixture("small.png")).await;
    let part = Part::bytes(fixture("small.png")).file_name("small.png").mime_str("image/png").unwrap();
    let form = Form::new().part("image", part);
    let sent = server.send(server.client.post(server.url("/ocr")).multipart(form)).await;
    assert_eq!((sent.status, sent.body), (200, raw.body));
}

#[tokio::test]
async fn bad_pictures_get_a_clear_error() {
    let server = Setup::ocr().start();
    assert!(server.post("/ocr", "").await.problem(400).contains("empty"));
    assert!(server.post("/ocr", "just some text").await.problem(415).contains("no picture"));
    let whole = fixture("turned-12.jpg");
    for cut in [20, whole.len() / 2] {
        assert!(!server.post("/ocr", whole[..cut].to_vec()).await.problem(400).is_empty());
    }
    let request = server.client.post(server.url("/ocr")).header("content-type", "application/pdf").body(whole);
    assert!(!server.send(request).await.problem(415).is_empty());
    let form = Form::new().text("file", "no image here");
    let problem = server.send(server.client.post(server.url("/ocr")).multipart(form)).await.problem(400);
    assert!(problem.contains("image"), "{problem}");
}

/// Pixels, bytes of the body, time, and lines: each obeyed at its limit, and violated by one more.
#[tokio::test]
async fn limits_are_obeyed() {
    let server = Setup::ocr().start();
    for (side, status) in [(5_700, 200), (6_000, 413)] {
        // Padding makes the file long enough for its pixels.
        let file = [png(&RgbImage::new(side, side)), vec![0; 200_000]].concat();
        assert_eq!(server.post("/ocr", file).await.status, status, "{side}");
    }
    let large = |bytes: usize| [fixture("small.png"), vec![0; bytes]].concat();
    assert_eq!(server.post("/ocr", large(15 << 20)).await.status, 200);
    assert_eq!(server.post("/ocr", large(16 << 20)).await.status, 413);

    let page = fixture("english-page.png");
    let all = read(&server, page.clone()).await;
    assert!(all.lines.len() >= 10 && all.left_out == 0);
    let some = reading(&server.post("/ocr?max_lines=3", page.clone()).await);
    assert_eq!((some.lines.len(), some.left_out), (3, all.lines.len() - 3));
    assert_eq!(some.lines[0].text, all.lines[0].text);
    assert_eq!(reading(&server.post("/ocr?max_lines=300", page.clone()).await).lines.len(), all.lines.len());
    let request = server.client.post(server.url("/ocr")).header("x-request-timeout", "20ms").body(page.clone());
    assert!(server.send(request).await.problem(504).contains("deadline"));
    for lines in ["0", "301", "-1", "many", ""] {
        let problem = server.post(&format!("/ocr?max_lines={lines}"), page.clone()).await.problem(400);
        assert!(problem.contains("from 1 to 300"), "{problem}");
    }
}

/// Of a page of more lines than are read the first ones are, and it is said how many there are beyond them.
#[tokio::test]
async fn lines_beyond_the_limit_are_counted() {
    let word = image::load_from_memory(&fixture("small.png")).unwrap().to_luma8();
    let word = image::imageops::crop_imm(&word, 18, 66, 120, 30).to_image();
    let mut page = GrayImage::from_pixel(1980, 1980, Luma([255]));
    for (row, column) in (0..36).flat_map(|row| (0..11).map(move |column| (row, column))) {
        image::imageops::replace(&mut page, &word, 20 + 178 * column, 10 + 54 * row);
    }
    let mut file = std::io::Cursor::new(Vec::new());
    page.write_to(&mut file, ImageFormat::Png).unwrap();
    let page = reading(&Setup::ocr().start().post("/ocr?max_lines=12", file.into_inner()).await);
    assert!((380..=384).contains(&page.left_out), "{} left out", page.left_out);
    let places: Vec<(f64, f64)> = page.lines.iter().map(|line| line.r#box[0]).collect();
    assert_eq!(places.len(), 12, "{:?}", page.lines);
    assert!(places[..11].is_sorted_by(|a, b| a.0 < b.0) && places[11].1 > places[0].1 + 40.0, "{places:?}");
}

/// Stripes and dots of any shape are taken; no shape makes the networks' inputs too large for the host.
#[tokio::test]
async fn every_shape_is_taken() {
    let server = Setup::ocr().start();
    for (width, height) in
        [(1, 1), (65_535, 1), (1, 65_535), (2_000, 31), (31, 2_000), (29, 29), (2_000, 250), (250, 2_000)]
    {
        let page = read(&server, png(&RgbImage::from_pixel(width, height, [255; 3].into()))).await;
        assert_eq!((page.width, page.height, page.lines.len()), (width, height, 0));
    }
}

#[tokio::test]
async fn paths_and_methods_are_checked() {
    let server = Setup::ocr().start();
    assert!(server.get("/nowhere").await.problem(404).contains("POST /ocr"));
    for (method, path, allow) in [("GET", "/ocr", "POST"), ("POST", "/", "GET"), ("POST", "/models", "GET")] {
        let answer = server.send(server.client.request(method.parse().unwrap(), server.url(path))).await;
        answer.problem(405);
        assert!(answer.header("allow").contains(allow), "{:?}", answer.headers);
    }
    for path in ["/", "/models"] {
        let length = server.get(path).await.body.len().to_string();
        let head = server.send(server.client.head(server.url(path))).await;
        let said = head.header("content-length");
        assert!(head.status == 200 && head.body.is_empty() && (said.is_empty() || said == length), "{path}: {said}");
    }
    let models = server.get("/models").await.json();
    let names: Vec<_> = models.as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap()).collect();
    assert_eq!(names, OCR_MODELS);
}

/// Without one of its models the function says which, and to the client no more than that.
#[tokio::test]
async fn a_missing_model_is_named() {
    let text = ocr_manifest().replace("\"ocr-direction\", \"ocr-recognition\"]", "\"ocr-direction\"]");
    let server = Setup::app(&text)
        .models(root().join("models"))
        .args(&["--load-model", "ocr-detection", "--load-model", "ocr-direction"])
        .start();
    let problem = server.post("/ocr", fixture("small.png")).await.problem(503);
    assert!(problem.contains("ocr-recognition"), "{problem}");
}

/// The page shows the boxes on the picture, and the text beside it.
#[tokio::test]
async fn the_page_shows_boxes_and_text() {
    let server = Setup::ocr().start();
    let Some(browser) = Browser::open(&server, "/").await else { return };
    browser.wait_for("#result[data-state=idle]").await;
    browser.wait_for("#models:not([hidden])").await;
    assert!(browser.text("#models").await.contains("ocr-recognition"));
    browser.screenshot("page-ocr-idle.png").await;

    let fixtures = root().join("tests/fixtures/ocr");
    browser.choose("#file", &fixtures.join("sign.jpg")).await;
    browser.wait_for("#result[data-state=done]").await;
    assert_eq!(browser.text("#lead").await, "2 lines of text");
    let lines = browser.text("#lines").await;
    assert!(lines.contains("北京路") && lines.contains("Beijing Road"), "{lines}");
    // A box lies on the picture where the text is.
    let place = "(() => { const [at, around] = [$, document.querySelector('#preview')].map((e) => e.getBoundingClientRect()); \
                 return at.left > around.left && at.right < around.right && at.top > around.top && at.bottom < around.bottom && at.width > 50; })()";
    assert_eq!(browser.look("#boxes polygon", place).await, true);
    assert_eq!(browser.look("#boxes", "$.children.length").await, 2);
    let timing = browser.text("#timing").await;
    assert!(timing.contains("in the server") && timing.contains("recognition"), "{timing}");
    browser.wait_for("#form[data-shows=picture]").await;
    // What the pointer is on is shown in both places.
    browser.look("#lines li", "$.dispatchEvent(new PointerEvent('pointerenter'))").await;
    browser.wait_for("#boxes polygon.lit").await;
    browser.screenshot("page-ocr.png").await;
    assert!(browser.console().await.is_empty());

    browser.choose("#file", &fixtures.join("english-page.png")).await;
    browser.wait_for_text("#lead", "11 lines of text").await;
    browser.screenshot("page-ocr-english.png").await;
    let blank = Scratch::new();
    let path = blank.path().join("blank.png");
    std::fs::write(&path, png(&RgbImage::from_pixel(300, 200, [255; 3].into()))).unwrap();
    browser.choose("#file", &path).await;
    browser.wait_for_text("#lead", "No lines of text").await;
    assert_eq!(browser.look("#boxes", "$.children.length").await, 0);

    browser.choose("#file", &root().join("LICENSE")).await;
    browser.wait_for("#result[data-state=error]").await;
    assert!(browser.text("#error").await.contains("the bytes are no picture"));

    browser.choose("#file", &fixtures.join("chinese-page.png")).await;
    browser.wait_for_text("#lines", "火车站").await;
    browser.become_a_phone().await;
    assert_eq!(browser.look("html", "$.scrollWidth").await, 390, "the page is wider than a phone");
    browser.screenshot("page-ocr-phone.png").await;
    browser.prefer("dark").await;
    browser.screenshot("page-ocr-dark.png").await;
}
