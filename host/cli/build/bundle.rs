//! Packs what functions of other people are made from into one compressed archive, which becomes a part of the program.
//!
//! | in the archive | what it is |
//! |---|---|
//! | `sdk/` | the crates of `guest/` that functions use, as a workspace of their own, and the Python package |
//! | `templates/` | the templates of `modelfn new` |
//! | `Cargo.lock` | the versions with which the crates were tested, and those of what they use |

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use toml::{Table, Value};

/// The crates that functions may name, and the other folders that their builds read.
const CRATES: [&str; 4] = ["guest/sdk", "guest/imaging", "guest/wordpiece", "models/card"];
const FOLDERS: [&str; 1] = ["guest/python"];

/// What makes the templates' models, which is no template.
const MAKER: &str = "make.py";

/// What is left out of the SDK: what was built, and what only tests of this repository read.
const LEFT_OUT: [&str; 5] = ["target", "__pycache__", "fixtures", "tests", "tests.rs"];

/// The tables of a crate's manifest that need more of this repository than is packed.
const TABLES_LEFT_OUT: [&str; 5] = ["dev-dependencies", "bench", "example", "test", "lints"];

/// Writes the archive, and tells cargo when it has to be made again.
pub(crate) fn write(root: &Path, file: &Path) -> io::Result<()> {
    let mut archive = Archive(tar::Builder::new(GzEncoder::new(fs::File::create(file)?, Compression::best())));
    for folder in CRATES.into_iter().chain(FOLDERS) {
        archive.folder(root, Path::new(folder), "sdk")?;
    }
    archive.folder(&root.join("host/cli"), Path::new("templates"), "")?;
    archive.text("sdk/Cargo.toml", &workspace(root)?)?;
    archive.text("Cargo.lock", &lock(root)?)?;
    archive.0.into_inner()?.finish()?;
    Ok(())
}

struct Archive(tar::Builder<GzEncoder<fs::File>>);

impl Archive {
    /// Adds the files of the folder `path` below `root`, which the archive has below `place`.
    fn folder(&mut self, root: &Path, path: &Path, place: &str) -> io::Result<()> {
        let folder = root.join(path);
        // Of a folder cargo notices all changes within.
        println!("cargo::rerun-if-changed={}", folder.display());
        if !folder.is_dir() {
            return Ok(());
        }
        let mut entries = fs::read_dir(&folder)?.collect::<io::Result<Vec<_>>>()?;
        // The same files give the same archive.
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (name, inner) = (entry.file_name(), path.join(entry.file_name()));
            if name == MAKER || place == "sdk" && LEFT_OUT.iter().any(|left_out| name == *left_out) {
                continue;
            }
            // Also of what a link leads to.
            if entry.path().is_dir() {
                self.folder(root, &inner, place)?;
            } else if name == "Cargo.toml" && place == "sdk" {
                self.text(&format!("{place}/{}", inner.display()), &without_tests(&entry.path())?)?;
            } else {
                self.file(&entry.path(), &Path::new(place).join(&inner))?;
            }
        }
        Ok(())
    }

    fn file(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        println!("cargo::rerun-if-changed={}", from.display());
        self.bytes(to, &fs::read(from)?)
    }

    fn text(&mut self, to: &str, text: &str) -> io::Result<()> {
        self.bytes(Path::new(to), text.as_bytes())
    }

    fn bytes(&mut self, to: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        self.0.append_data(&mut header, to, bytes)
    }
}

/// A crate's manifest without what only this repository can build. Lints are left to those who build it.
fn without_tests(manifest: &Path) -> io::Result<String> {
    let mut table = read(manifest)?;
    TABLES_LEFT_OUT.iter().for_each(|left_out| drop(table.remove(*left_out)));
    Ok(table.to_string())
}

/// The manifest of the workspace of the packed crates: this repository's, with the members that are packed and the
/// dependencies that they name.
fn workspace(root: &Path) -> io::Result<String> {
    let manifest = root.join("Cargo.toml");
    println!("cargo::rerun-if-changed={}", manifest.display());
    let mut table = read(&manifest)?;
    let Some(Value::Table(mut workspace)) = table.remove("workspace") else {
        return Err(io::Error::other("the root's Cargo.toml has no [workspace]"));
    };
    let members = workspace.get("members").and_then(Value::as_array).cloned().unwrap_or_default();
    let is_packed =
        |member: &Value| member.as_str().is_some_and(|member| CRATES.iter().any(|packed| member.starts_with(packed)));
    let members: Vec<Value> = members.into_iter().filter(is_packed).collect();
    let mut used = BTreeSet::new();
    for member in members.iter().filter_map(Value::as_str) {
        dependencies(&read(&root.join(member).join("Cargo.toml"))?, &mut used);
    }
    if let Some(Value::Table(all)) = workspace.get_mut("dependencies") {
        all.retain(|name, _| used.contains(name));
    }
    workspace.insert("members".to_owned(), Value::Array(members));
    for key in ["default-members", "lints"] {
        workspace.remove(key);
    }
    Ok(Table::from_iter([("workspace".to_owned(), Value::Table(workspace))]).to_string())
}

/// The `Cargo.lock` of the packed crates: this repository's, with what they use.
fn lock(root: &Path) -> io::Result<String> {
    let file = root.join("Cargo.lock");
    println!("cargo::rerun-if-changed={}", file.display());
    let mut table = read(&file)?;
    let mut wanted = CRATES.iter().map(|path| package_name(&root.join(path))).collect::<io::Result<Vec<_>>>()?;
    let Some(Value::Array(packages)) = table.get_mut("package") else {
        return Err(io::Error::other("Cargo.lock has no packages"));
    };
    let mut used = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        for package in packages.iter().filter(|package| name_of(package) == name && !used.contains(&name)) {
            let uses = package.get("dependencies").and_then(Value::as_array).into_iter().flatten();
            // A version follows where there are several of one name. All of these are kept.
            wanted.extend(uses.filter_map(|used| used.as_str()?.split(' ').next().map(str::to_owned)));
        }
        used.insert(name);
    }
    packages.retain(|package| used.contains(name_of(package)));
    Ok(table.to_string())
}

fn name_of(package: &Value) -> &str {
    package.get("name").and_then(Value::as_str).unwrap_or_default()
}

/// The name of the crate in a folder.
fn package_name(folder: &Path) -> io::Result<String> {
    let manifest = read(&folder.join("Cargo.toml"))?;
    let name = manifest.get("package").and_then(|package| package.get("name")).and_then(Value::as_str);
    name.map(str::to_owned).ok_or_else(|| io::Error::other(format!("{} has no name", folder.display())))
}

/// Collects the names of all dependencies that a manifest names, but for tests.
fn dependencies(table: &Table, names: &mut BTreeSet<String>) {
    for (key, value) in table {
        let Value::Table(inner) = value else { continue };
        match key.as_str() {
            "dependencies" | "build-dependencies" => names.extend(inner.keys().cloned()),
            "dev-dependencies" => {}
            // `[target.'cfg(…)'.dependencies]` is two tables deep.
            _ => dependencies(inner, names),
        }
    }
}

fn read(manifest: &Path) -> io::Result<Table> {
    let text = fs::read_to_string(manifest)?;
    text.parse().map_err(|error| io::Error::other(format!("{}: {error}", manifest.display())))
}
