//! Finds the version of a model that is served, and its graph.
//!
//! A model's folder holds the model itself, or a folder for each version, `models/<name>/<n>/`, with graph, card and
//! labels. A folder without a card holds a model if an `.onnx` file is in it. The largest number is served, unless `models/<name>/versions.toml` pins another (`serve = 2`). A model whose
//! files are in its folder itself is version 1.

use std::io;
use std::path::{Path, PathBuf};

use modelfn_artifact::read_text_within;
use modelfn_card::CARD_FILE;

/// The name of the file that pins a version.
pub(super) const PIN_FILE: &str = "versions.toml";

/// The largest such file, in bytes.
const MAX_PIN: u64 = 4096;

/// How the names of graphs end that need no card.
pub(super) const GRAPH_EXTENSION: &str = "onnx";

/// The graph that is taken where a folder has several and no card says which.
pub(super) const USUAL_GRAPH: &str = "model.onnx";

/// One version of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VersionFolder {
    /// The folder of the version's files.
    pub(super) folder: PathBuf,
    /// The version's number, from 1.
    pub(super) number: u32,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Pin {
    serve: u32,
}

/// Whether `folder` holds a model, with or without versions.
pub(super) fn is_model(folder: &Path) -> bool {
    has_files(folder) || !numbered(folder).is_empty()
}

/// Whether the files of a model are in `folder` itself.
fn has_files(folder: &Path) -> bool {
    has_card(folder) || !graph_files(folder).is_empty()
}

/// The names of the `.onnx` files in `folder`, sorted.
pub(super) fn graph_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let graph = |entry: std::fs::DirEntry| {
        let path = entry.path();
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let is_graph = path.extension().is_some_and(|extension| extension == GRAPH_EXTENSION) && path.is_file();
        (is_graph && !is_hidden).then(|| PathBuf::from(entry.file_name()))
    };
    let mut files: Vec<_> = entries.filter_map(graph).collect();
    files.sort();
    files
}

/// The graph of a folder where no card says which: its only one, or `model.onnx`.
///
/// # Errors
///
/// There are several, and none is called `model.onnx`.
pub(crate) fn graph_file(folder: &Path) -> Result<PathBuf, String> {
    let files = graph_files(folder);
    match files.as_slice() {
        [file] => Ok(file.clone()),
        [] => Ok(USUAL_GRAPH.into()),
        several if several.contains(&USUAL_GRAPH.into()) => Ok(USUAL_GRAPH.into()),
        several => {
            let names: Vec<_> = several.iter().map(|file| file.display().to_string()).collect();
            Err(format!(
                "{} could each be the graph; name one in {CARD_FILE}: [graph] file = \"...\"",
                names.join(", ")
            ))
        }
    }
}

/// Whether there is a card, or anything else of its name, which is then an error that is told.
pub(super) fn has_card(folder: &Path) -> bool {
    folder.join(CARD_FILE).symlink_metadata().is_ok()
}

/// The version of the model in `folder` that is served.
///
/// # Errors
///
/// There is no version, two folders are the same version, or the pinned version is missing.
pub(super) fn served(folder: &Path) -> Result<VersionFolder, String> {
    let mut versions = numbered(folder);
    if has_files(folder) {
        if versions.iter().any(|version| version.number == 1) {
            let file = if has_card(folder) { CARD_FILE } else { "the .onnx file" };
            return Err(format!("{file} and the folder 1/ are both version 1; move one of them away"));
        }
        versions.push(VersionFolder { folder: folder.to_owned(), number: 1 });
    }
    versions.sort_by_key(|version| version.number);
    let have = versions.iter().map(|version| version.number.to_string()).collect::<Vec<_>>().join(", ");
    match pinned(folder)? {
        Some(pinned) => versions
            .into_iter()
            .find(|version| version.number == pinned)
            .ok_or_else(|| format!("{PIN_FILE} says version {pinned}, which is not there; have: {have}")),
        None => versions
            .pop()
            .ok_or_else(|| format!("neither {CARD_FILE} nor an .onnx file, neither here nor in a folder 1/, 2/ …")),
    }
}

/// The version folders that hold a model, in no order. Folders whose names are not plain numbers are ignored.
pub(super) fn numbered(folder: &Path) -> Vec<VersionFolder> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let version = |entry: std::fs::DirEntry| {
        let number: u32 = entry.file_name().to_str()?.parse().ok()?;
        let plain = number > 0 && entry.file_name().to_str() == Some(&number.to_string());
        (plain && has_files(&entry.path())).then(|| VersionFolder { folder: entry.path(), number })
    };
    entries.filter_map(version).collect()
}

fn pinned(folder: &Path) -> Result<Option<u32>, String> {
    let text = match read_text_within(folder, &folder.join(PIN_FILE), MAX_PIN) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|e| format!("{PIN_FILE} can't be read: {e}"))?,
    };
    let pin: Pin = toml::from_str(&text).map_err(|e| format!("{PIN_FILE} must say `serve = <version>`: {e}"))?;
    Ok(Some(pin.serve))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with cards at these paths, and perhaps a pin; removed with the value.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str, versions: &[&str], pin: Option<&str>) -> Folder {
            let folder = std::env::temp_dir().join(format!("modelfn-versions-{}-{name}", std::process::id()));
            for version in versions {
                std::fs::create_dir_all(folder.join(version)).unwrap();
                std::fs::write(folder.join(version).join(CARD_FILE), "").unwrap();
            }
            if let Some(pin) = pin {
                std::fs::write(folder.join(PIN_FILE), pin).unwrap();
            }
            Folder(folder)
        }

        fn served(&self) -> Result<u32, String> {
            served(&self.0).map(|version| {
                let expected = if version.folder == self.0 { 1 } else { version.number };
                assert_eq!(version.number, expected);
                version.number
            })
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_newest_serves_unless_another_is_pinned() {
        assert_eq!(Folder::new("flat", &[""], None).served(), Ok(1));
        assert_eq!(Folder::new("newest", &["2", "10", "9", "x", "011", "0"], None).served(), Ok(10));
        assert_eq!(Folder::new("grown", &["", "2"], None).served(), Ok(2));
        assert_eq!(Folder::new("pinned", &["", "2", "3"], Some("serve = 2")).served(), Ok(2));
        assert_eq!(Folder::new("flat-pinned", &["", "2", "3"], Some("serve = 1")).served(), Ok(1));
    }

    #[test]
    fn what_is_ambiguous_or_missing_is_said() {
        assert!(Folder::new("twice", &["", "1"], None).served().unwrap_err().contains("both version 1"));
        assert!(Folder::new("absent", &["2", "3"], Some("serve = 4")).served().unwrap_err().contains("have: 2, 3"));
        assert!(Folder::new("odd", &["2"], Some("serve = \"x\"")).served().unwrap_err().contains("serve = <version>"));
        assert!(Folder::new("empty", &["x"], None).served().unwrap_err().contains("neither model.toml"));
    }
}
