//! What functions of other people are made from, which the program carries: the SDK and the templates of `modelfn new`.
//!
//! The SDK goes to the folder `.modelfn` of a project, which version control ignores. So a project builds without a
//! registry that has the SDK, and with that of the program that serves it.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use tar::Archive;

/// Made by `build/bundle.rs`.
static BUNDLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/bundle.tar.gz"));

/// The folder of a project that holds the SDK.
pub(crate) const SDK_FOLDER: &str = ".modelfn";

/// The file of that folder that says which SDK it is.
const STAMP: &str = "VERSION";

/// Whether a project's SDK had to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unpacked {
    /// It was missing, or that of another program.
    Written,
    /// It was there.
    Kept,
}

/// Writes the SDK to the folder `.modelfn` of `project`, unless it is there.
///
/// # Errors
///
/// The folder can't be written.
pub(crate) fn unpack_sdk(project: &Path) -> Result<Unpacked> {
    let folder = project.join(SDK_FOLDER);
    if std::fs::read_to_string(folder.join(STAMP)).is_ok_and(|found| found == stamp()) {
        return Ok(Unpacked::Kept);
    }
    // Beside its place and renamed, so that an interrupted one is not taken for a whole one.
    let beside = project.join(format!("{SDK_FOLDER}.{}", std::process::id()));
    let unpack = || {
        write_below("sdk", &beside)?;
        std::fs::write(beside.join(STAMP), stamp())?;
        remove(&folder)?;
        std::fs::rename(&beside, &folder)
    };
    let unpacked = unpack();
    if unpacked.is_err() {
        let _ = remove(&beside);
    }
    unpacked.with_context(|| format!("the SDK can't be written to {}", folder.display()))?;
    Ok(Unpacked::Written)
}

/// The files of the template at `path`, by their paths within it.
///
/// # Errors
///
/// The program is damaged.
pub(crate) fn template(path: &str) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for_each_below(&format!("templates/{path}"), |inner, entry| {
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        files.insert(inner.to_owned(), bytes);
        Ok(())
    })
    .context("the templates that this program carries can't be read; install it again")?;
    Ok(files)
}

/// The file of the archive at `path`.
///
/// # Errors
///
/// The program is damaged, or was built without it.
pub(crate) fn file(path: &str) -> Result<Vec<u8>> {
    let mut bytes = None;
    for_each_below(path, |_, entry| entry.read_to_end(bytes.insert(Vec::new())).map(drop))
        .context("what this program carries can't be read; install it again")?;
    bytes.with_context(|| format!("this program was built without {path}; install another"))
}

/// What says which SDK this is. The digest tells two builds of one version apart.
fn stamp() -> String {
    format!("{} {:08x}\n", env!("CARGO_PKG_VERSION"), checksum(BUNDLE))
}

/// The checksum that ends a gzip file (RFC 1952, 2.3.1): it is of the archive before its compression.
fn checksum(gzip: &[u8]) -> u32 {
    let end = gzip.len().saturating_sub(8);
    gzip[end..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn write_below(place: &str, folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for_each_below(place, |inner, entry| {
        let path = folder.join(inner);
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        // With the time of now: cargo builds again what is newer than what it built.
        let mut file = std::fs::File::create(path)?;
        io::copy(entry, &mut file).map(drop)
    })
}

/// Calls `each` with every file of the archive that is `place`, or below it, and its path from there.
fn for_each_below(place: &str, mut each: impl FnMut(&Path, &mut dyn Read) -> io::Result<()>) -> io::Result<()> {
    for entry in Archive::new(GzDecoder::new(BUNDLE)).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        if let Ok(inner) = path.strip_prefix(place)
            && inner.components().all(|part| matches!(part, Component::Normal(_)))
        {
            each(inner, &mut entry)?;
        }
    }
    Ok(())
}

fn remove(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_is_written_once_and_again_where_it_is_another() {
        let project = scratch();
        assert_eq!(unpack_sdk(&project).unwrap(), Unpacked::Written);
        assert_eq!(unpack_sdk(&project).unwrap(), Unpacked::Kept);
        for file in ["Cargo.toml", "guest/sdk/src/lib.rs", "guest/imaging/Cargo.toml", "guest/sdk/wit/function.wit"] {
            assert!(project.join(SDK_FOLDER).join(file).is_file(), "{file}");
        }
        for stamp in [Some("0.0.0 00000000\n"), None] {
            let (file, extra) = (project.join(".modelfn/VERSION"), project.join(".modelfn/old"));
            std::fs::write(&extra, "").unwrap();
            stamp.map_or_else(|| std::fs::remove_file(&file), |stamp| std::fs::write(&file, stamp)).unwrap();
            assert_eq!(unpack_sdk(&project).unwrap(), Unpacked::Written);
            assert!(!extra.exists(), "what was there is gone");
        }
        std::fs::remove_dir_all(project).unwrap();
    }

    #[test]
    fn the_packed_crates_name_nothing_that_is_not_packed() {
        let project = scratch();
        unpack_sdk(&project).unwrap();
        let manifest = std::fs::read_to_string(project.join(".modelfn/Cargo.toml")).unwrap();
        let table: toml::Table = manifest.parse().unwrap();
        let workspace = table["workspace"].as_table().unwrap();
        for member in workspace["members"].as_array().unwrap() {
            assert!(project.join(SDK_FOLDER).join(member.as_str().unwrap()).join("Cargo.toml").is_file(), "{member}");
        }
        for (name, dependency) in workspace["dependencies"].as_table().unwrap() {
            if let Some(path) = dependency.get("path").and_then(toml::Value::as_str) {
                assert!(project.join(SDK_FOLDER).join(path).join("Cargo.toml").is_file(), "{name}");
            }
        }
        assert!(!manifest.contains("wasmtime"), "{manifest}");
        std::fs::remove_dir_all(project).unwrap();
    }

    fn scratch() -> PathBuf {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("modelfn-bundle-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }
}
