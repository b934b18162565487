//! A fuzzer of the picture decoders, natively: it changes whole files as damage and ill will do.
//!
//! `make fuzz` runs it for FUZZ_SECONDS (60) with the seed FUZZ_SEED (the time). It checks that nothing panics, that what
//! is decoded becomes a tensor, and that no file takes longer than [`LONGEST`]. Files that fail are written to
//! `target/fuzz/`, and `FUZZ_INPUT=<file>` tries one of them again.

#![expect(clippy::print_stdout, clippy::expect_used, reason = "its output is its result, and it ends where it stands")]

#[path = "../random.rs"]
mod random;

use std::collections::HashSet;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use image::{ImageFormat, RgbImage, RgbaImage};
use modelfn_card::DType;
use modelfn_imaging::{Filter, Layout, Preprocessing, Window};

use self::random::Random;

/// The longest that a file may take, in processor time. A guest is about twice as slow as native code.
const LONGEST: Duration = Duration::from_millis(500);

/// The most changes that make a file from a seed.
const MAX_CHANGES: usize = 8;

/// The most files that are kept: those with a new outcome, which are changed further.
const MAX_KEPT: usize = 2000;

/// Bytes that mean something to decoders: markers, lengths and edges of numbers.
const BYTES: [u8; 16] =
    [0x00, 0x01, 0x02, 0x03, 0x08, 0x10, 0x11, 0x21, 0x3F, 0x40, 0x7F, 0x80, 0xC0, 0xC2, 0xDA, 0xFF];

fn main() -> ExitCode {
    if let Ok(path) = std::env::var("FUZZ_INPUT") {
        println!("{path}: {:?}", decode(&std::fs::read(&path).expect("FUZZ_INPUT names a file that can be read")));
        return ExitCode::SUCCESS;
    }
    let seconds = number("FUZZ_SECONDS").unwrap_or(60);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = number("FUZZ_SEED").unwrap_or_else(|| u64::from(since.subsec_nanos()) ^ since.as_secs());
    println!("fuzz: pictures, {seconds} s from FUZZ_SEED={seed}");
    fuzz(Duration::from_secs(seconds), Random::new(seed))
}

fn fuzz(time: Duration, mut random: Random) -> ExitCode {
    let mut kept = seeds();
    let (seeds, mut kinds) = (kept.len(), HashSet::new());
    let (started, mut files, mut shown, mut slowest) = (Instant::now(), 0_u64, 0_u64, (Duration::ZERO, vec![]));
    while started.elapsed() < time {
        let from = if random.below(2) == 0 { seeds } else { kept.len() };
        let mut file = kept[random.below(from)].clone();
        for _ in 0..=random.below(MAX_CHANGES) {
            let other = random.below(kept.len());
            change(&mut file, &kept[other], &mut random);
        }
        let before = processor_time();
        let result = catch_unwind(AssertUnwindSafe(|| decode(&file)));
        let elapsed = processor_time().saturating_sub(before);
        files += 1;
        if elapsed > slowest.0 {
            slowest = (elapsed, file.clone());
        }
        match result {
            Ok(outcome) if elapsed < LONGEST => {
                shown += u64::from(outcome.starts_with("shown"));
                if kept.len() < MAX_KEPT && kinds.insert(outcome) {
                    kept.push(file);
                }
            }
            result => {
                let fault = if result.is_err() { "PANIC" } else { "SLOW" };
                let path = save(&file);
                println!("fuzz: {fault} after {files} files; try it again with FUZZ_INPUT={}", path.display());
                return ExitCode::FAILURE;
            }
        }
    }
    let each = files as f64 / started.elapsed().as_secs_f64();
    println!("fuzz: {files} files ({each:.0} a second), {shown} of them shown, {} outcomes", kinds.len());
    println!("fuzz: the slowest took {:?}, {}", slowest.0, save(&slowest.1).display());
    println!("fuzz: no panic");
    ExitCode::SUCCESS
}

/// What becomes of a file, in words that tell kinds of outcomes from each other.
fn decode(file: &[u8]) -> String {
    let preprocessing =
        Preprocessing { crop: 0.875, filter: Filter::Bicubic, ..Preprocessing::new((32, 24), Layout::Nhwc) };
    match modelfn_imaging::decode(file, Window::of(&preprocessing)) {
        Ok(picture) => {
            let tensor =
                modelfn_imaging::tensor(&picture, &preprocessing, DType::U8).expect("what is decoded is scaled");
            assert_eq!(tensor.len(), 32 * 24 * 3);
            let size = (picture.size.0.ilog2(), picture.size.1.ilog2());
            format!("shown {:?} {size:?} {}", picture.orientation, tensor[0] / 64)
        }
        // Without the numbers in it.
        Err(error) => error.detail.chars().filter(|c| !c.is_ascii_digit()).collect(),
    }
}

/// One change: of bits, of bytes, of the length, or of parts that are exchanged with another file.
fn change(file: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    if file.is_empty() || other.is_empty() {
        return file.extend(other);
    }
    let at = random.below(file.len());
    let length = 1 + random.below(64.min(file.len() - at));
    match random.below(8) {
        0 => file[at] ^= 1 << random.below(8),
        1 => file[at] = BYTES[random.below(BYTES.len())],
        2 => file[at] = random.next_u32() as u8,
        3 => drop(file.drain(at..at + length)),
        4 => file.splice(at..at, vec![BYTES[random.below(BYTES.len())]; length]).for_each(drop),
        5 => {
            let part = file[at..at + length].to_vec();
            let to = random.below(file.len());
            file.splice(to..to, part).for_each(drop);
        }
        6 => {
            let from = random.below(other.len());
            let part = &other[from..(from + length).min(other.len())];
            file.splice(at..at + length, part.iter().copied()).for_each(drop);
        }
        // Most files say something of their whole at the start.
        _ => {
            let at = random.below(file.len().min(64));
            file[at] = BYTES[random.below(BYTES.len())];
        }
    }
    file.truncate(1 << 20);
}

/// Files of all formats: those that tests have, and some of the crate `image`.
fn seeds() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folders = ["guest/imaging/fixtures", "tests/fixtures/pictures"].map(|folder| root.join(folder));
    let paths = folders.iter().flat_map(|folder| std::fs::read_dir(folder).expect("the folder of the fixtures"));
    let mut paths: Vec<PathBuf> = paths.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut seeds: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).expect("a fixture")).collect();
    let opaque = RgbImage::from_fn(40, 31, |x, y| image::Rgb([(x * 6) as u8, (y * 8) as u8, (x * y) as u8]));
    let clear = RgbaImage::from_fn(33, 20, |x, y| image::Rgba([(x * 7) as u8, (y * 9) as u8, 99, (x * y) as u8]));
    for format in [ImageFormat::Png, ImageFormat::Gif, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Jpeg] {
        for pixels in [image::DynamicImage::from(opaque.clone()), clear.clone().into()] {
            let mut file = Cursor::new(Vec::new());
            if pixels.write_to(&mut file, format).is_ok() {
                seeds.push(file.into_inner());
            }
        }
    }
    seeds
}

fn save(file: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/fuzz");
    std::fs::create_dir_all(&folder).expect("target/ can be written");
    let path = folder.join(format!("picture-{}", &modelfn_artifact::digest::sha256_hex(file)[..16]));
    std::fs::write(&path, file).expect("target/fuzz/ can be written");
    path
}

/// What this thread has used of the processor.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
