//! Labelled pictures: a folder for each class, or a list of files with their labels.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::class_names::ClassNames;

/// Names that are no class, of which a message shows so many.
const SHOWN: usize = 10;

/// Folders within a class's folder are looked into so deep, which no data set exceeds and a circle of links does.
const MAX_DEPTH: usize = 8;

/// A picture and the class that it shows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LabelledPicture {
    pub(super) path: PathBuf,
    /// Index of its class.
    pub(super) class: usize,
}

/// All files below `folder`, whose own folders are named by classes. Hidden ones are passed over.
///
/// # Errors
///
/// A folder can't be read, is no class, or there is no picture at all.
pub(super) fn in_folder(folder: &Path, classes: &ClassNames) -> Result<Vec<LabelledPicture>> {
    let (mut found, mut unknown) = (Vec::new(), Vec::new());
    for path in sorted(folder)?.into_iter().filter(|path| path.is_dir()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match classes.find(&name) {
            Ok(class) => collect(&path, MAX_DEPTH, &mut |path| found.push(LabelledPicture { path, class }))?,
            Err(why) => unknown.push(why),
        }
    }
    refuse_unknown(&unknown, "folder")?;
    ensure!(
        !found.is_empty(),
        "{} has no pictures: it must have a folder for each class, with its pictures in it",
        folder.display()
    );
    Ok(found)
}

/// The files of a list with `path,label` a line. Paths are relative to `folder`, or else to the folder of the list. A
/// first line `path,label` is its head.
///
/// # Errors
///
/// The list can't be read, a line has other fields, or a label is no class.
pub(super) fn in_list(list: &Path, folder: Option<&Path>, classes: &ClassNames) -> Result<Vec<LabelledPicture>> {
    let unreadable = || format!("{} can't be read", list.display());
    let folder = folder.or(list.parent()).unwrap_or(Path::new(""));
    let reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).trim(csv::Trim::All).from_path(list);
    let (mut found, mut unknown) = (Vec::new(), Vec::new());
    for (n, record) in reader.with_context(unreadable)?.into_records().enumerate() {
        let record = record.with_context(unreadable)?;
        let [path, label] = record.iter().collect::<Vec<_>>()[..] else {
            bail!("{}: line {} must be `path,label`; a label with commas needs quotes", list.display(), n + 1);
        };
        if n == 0 && (path, label) == ("path", "label") {
            continue;
        }
        match classes.find(label) {
            Ok(class) => found.push(LabelledPicture { path: folder.join(path), class }),
            Err(why) => unknown.push(format!("line {}: {why}", n + 1)),
        }
    }
    refuse_unknown(&unknown, "line")?;
    ensure!(!found.is_empty(), "{} names no picture", list.display());
    Ok(found)
}

fn refuse_unknown(unknown: &[String], kind: &str) -> Result<()> {
    if unknown.is_empty() {
        return Ok(());
    }
    let count = unknown.len();
    let mut text = format!("{count} {kind}{} of no class of the model:", if count == 1 { " is" } else { "s are" });
    for why in unknown.iter().take(SHOWN) {
        let _ = write!(text, "\n  {why}");
    }
    if count > SHOWN {
        let _ = write!(text, "\n  and {} more", count - SHOWN);
    }
    Err(anyhow!("{text}\nname it by a label of the model, the first name of one, or an index"))
}

fn collect(folder: &Path, depth: usize, take: &mut impl FnMut(PathBuf)) -> Result<()> {
    ensure!(depth > 0, "{}: folders are nested too deep", folder.display());
    for path in sorted(folder)? {
        if path.is_dir() {
            collect(&path, depth - 1, take)?;
        } else {
            take(path);
        }
    }
    Ok(())
}

/// What is in a folder and not hidden, by name.
fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = || format!("the folder {} can't be read", folder.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(unreadable)? {
        let entry = entry.with_context(unreadable)?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}
