//! The function's pixels are those that Pillow shows, for files of all formats and kinds.
//!
//! `tests/differential/generate.py` makes the files, with Pillow and the programs of libjpeg-turbo, WebP and gifsicle,
//! and says how far decoders may differ. `make test` compares a sample, `make differential` 3,000 files.

use std::path::{Path, PathBuf};
use std::process::Command;

use modelfn_card::DType;
use modelfn_imaging::{Layout, Preprocessing, Window};
use serde::Deserialize;

use crate::harness::{root, skip};

/// Files of a run of `make test`, which differ from run to run no more than their seed does.
const SAMPLE: u32 = 150;
const SEED: u32 = 1;

/// A picture that `generate.py` made.
#[derive(Deserialize)]
struct Case {
    file: String,
    /// Width and height of the upright picture.
    width: u32,
    height: u32,
    /// What tells it from others.
    facts: String,
    /// How far its samples may be from Pillow's: the farthest, and the mean.
    most: u8,
    mean: f64,
    /// How far the mean sample may be once the picture is scaled to a third: decoders drop what such a picture cannot
    /// show in different ways.
    scaled: f64,
}

fn environment(name: &str) -> Option<u32> {
    std::env::var(name).ok()?.parse().ok()
}

/// Makes `count` files and returns their folder.
fn generate(count: u32, seed: u32) -> PathBuf {
    let folder = root().join(format!("target/differential/{seed}-{count}"));
    let output = Command::new("python3")
        .arg(root().join("tests/differential/generate.py"))
        .arg(&folder)
        .args([count.to_string(), seed.to_string()])
        .env("PYTHONPATH", root().join("target/pillow"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    eprint!("{}", String::from_utf8_lossy(&output.stdout));
    folder
}

/// The network's picture of a file: RGB, row by row.
fn pixels(file: &[u8], size: (u32, u32)) -> Result<Vec<u8>, modelfn_imaging::Error> {
    let preprocessing = Preprocessing::new(size, Layout::Nhwc);
    let picture = modelfn_imaging::decode(file, Window::of(&preprocessing))?;
    modelfn_imaging::tensor(&picture, &preprocessing, DType::U8)
}

/// The largest and the mean difference.
fn apart(have: &[u8], want: &[u8]) -> (u8, f64) {
    assert_eq!(have.len(), want.len());
    let each = || have.iter().zip(want).map(|(a, b)| a.abs_diff(*b));
    (each().max().unwrap_or(0), each().map(f64::from).sum::<f64>() / have.len() as f64)
}

/// What a PNG of Pillow's pixels becomes when it is scaled: the function's own scaling, which has tests of its own.
fn scaled(rgb: &[u8], (width, height): (u32, u32), size: (u32, u32)) -> Vec<u8> {
    let pixels = image::RgbImage::from_raw(width, height, rgb.to_vec()).unwrap();
    let mut file = std::io::Cursor::new(Vec::new());
    pixels.write_to(&mut file, image::ImageFormat::Png).unwrap();
    self::pixels(file.get_ref(), size).unwrap()
}

/// What is wrong with the function's pixels of a file.
fn disagreement(folder: &Path, case: &Case) -> Option<String> {
    let file = std::fs::read(folder.join(&case.file)).unwrap();
    let want = std::fs::read(folder.join(format!("{}.rgb", case.file))).unwrap();
    let size = (case.width, case.height);
    let have = match pixels(&file, size) {
        Ok(have) => have,
        Err(error) => return Some(format!("{} {}: {error}", case.file, case.facts)),
    };
    let (most, mean) = apart(&have, &want);
    if most > case.most || mean > case.mean {
        return Some(format!("{} {size:?} {}: {most} at most, {mean:.2} on average", case.file, case.facts));
    }
    let third = (size.0.div_ceil(3), size.1.div_ceil(3));
    let (_, mean) = apart(&pixels(&file, third).ok()?, &scaled(&want, size, third));
    (mean > case.scaled).then(|| format!("{} {}: {mean:.2} on average, scaled", case.file, case.facts))
}

#[test]
fn pictures_are_what_pillow_shows() {
    let programs = ["python3", "cjpeg", "cwebp", "gifsicle"];
    let is_there = |name: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(name).exists())
    };
    let missing = !programs.iter().all(|name| is_there(name)) || !root().join("target/pillow/PIL").exists();
    if skip(missing, "Pillow, cjpeg, cwebp or gifsicle is missing; run `make test-tools`") {
        return;
    }
    let count = environment("DIFFERENTIAL_FILES").unwrap_or(SAMPLE);
    let folder = generate(count, environment("DIFFERENTIAL_SEED").unwrap_or(SEED));
    let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(folder.join("pictures.json")).unwrap()).unwrap();
    assert!(cases.len() * 10 >= count as usize * 9, "Pillow refuses {} of {count}", count as usize - cases.len());
    let wrong: Vec<String> = cases.iter().filter_map(|case| disagreement(&folder, case)).collect();
    assert!(wrong.is_empty(), "{} of {} pictures:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    std::fs::remove_dir_all(folder).unwrap();
}
