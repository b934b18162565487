//! Finds the library of ONNX Runtime: beside this program, and in the `onnxruntime` packages of Python environments.
//!
//! Python is not run: packages are found by their paths. The first place with a version that is new enough is taken, and
//! the newest one there.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use modelfn_nn::backend::onnx::OLDEST_MINOR_VERSION;

/// A place in which libraries are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// What it is, for people.
    name: &'static str,
    folder: Folder,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Folder {
    /// A folder with libraries in it.
    Libraries(PathBuf),
    /// The root of a Python installation, with `lib/python3.*/site-packages` below it.
    Python(PathBuf),
}

/// A library that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Library {
    pub(crate) path: PathBuf,
    /// Where it was found, for people.
    pub(crate) place: &'static str,
}

/// The variables of the environment that say where libraries may be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    virtual_env: Option<OsString>,
    conda_prefix: Option<OsString>,
    home: Option<OsString>,
}

/// A library's version, by its file name; `None` where that does not say.
type Version = Option<(u32, u32, u32)>;

impl Environment {
    /// The environment of this process.
    pub(crate) fn of_process() -> Environment {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
        Environment {
            virtual_env: variable("VIRTUAL_ENV"),
            conda_prefix: variable("CONDA_PREFIX"),
            home: variable("HOME"),
        }
    }
}

/// Finds the library for the program at `program`.
///
/// # Errors
///
/// None was found, or only ones that are too old.
pub(crate) fn find(program: &Path, environment: &Environment) -> Result<Library, NotFound> {
    let places = places(program, environment);
    let mut too_old = None;
    for Place { name, folder } in &places {
        let mut libraries: Vec<_> = folder.libraries().into_iter().map(|path| (version(&path), path)).collect();
        libraries.sort();
        match libraries.pop() {
            Some((Some((1, minor, _)), path)) if minor < OLDEST_MINOR_VERSION => too_old = too_old.or(Some(path)),
            Some((_, path)) => return Ok(Library { path, place: name }),
            None => {}
        }
    }
    Err(match too_old {
        Some(path) => NotFound::TooOld(format!(
            "{} is too old: this program needs ONNX Runtime 1.{OLDEST_MINOR_VERSION} or newer; \
             `pip install 'onnxruntime>=1.{OLDEST_MINOR_VERSION}'`, or name another with --onnxruntime or \
             MODELFN_ONNXRUNTIME",
            path.display()
        )),
        None => {
            let folder = places.first().map_or(Path::new("lib"), |place| place.folder.path()).display();
            NotFound::Nowhere(format!("no libonnxruntime.so in {folder} or in a Python environment"))
        }
    })
}

/// Why there is no library, as a sentence.
#[derive(Debug)]
pub(crate) enum NotFound {
    /// There are older ones only. Says what to do.
    TooOld(String),
    /// There is none at all.
    Nowhere(String),
}

/// All places, the first ones first.
fn places(program: &Path, environment: &Environment) -> Vec<Place> {
    let root = program.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
    let python = |name, root: PathBuf| Place { name, folder: Folder::Python(root) };
    let from = |name, variable: &Option<OsString>| variable.clone().map(|root| python(name, root.into()));
    let own = [
        Place { name: "beside this program", folder: Folder::Libraries(root.join("lib")) },
        python("in the Python environment of this program", root.to_owned()),
    ];
    let active = [
        from("in the environment of VIRTUAL_ENV", &environment.virtual_env),
        from("in the environment of CONDA_PREFIX", &environment.conda_prefix),
    ];
    let user = environment.home.as_ref().map(|home| python("in the user's packages", Path::new(home).join(".local")));
    let system = ["/usr/local", "/usr"].map(|root| python("in the system's packages", root.into()));
    own.into_iter().chain(active.into_iter().flatten()).chain(user).chain(system).collect()
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Folder::Libraries(path) | Folder::Python(path) => path,
        }
    }

    fn libraries(&self) -> Vec<PathBuf> {
        match self {
            Folder::Libraries(folder) => libraries_in(folder),
            Folder::Python(root) => {
                let entries = std::fs::read_dir(root.join("lib")).into_iter().flatten().flatten();
                let pythons = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("python3"));
                let folders = pythons.flat_map(|entry| {
                    ["site-packages", "dist-packages"].map(|name| entry.path().join(name).join("onnxruntime/capi"))
                });
                folders.flat_map(|folder| libraries_in(&folder)).collect()
            }
        }
    }
}

fn libraries_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_library = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.starts_with("libonnxruntime.so") && path.is_file()
    };
    entries.map(|entry| entry.path()).filter(is_library).collect()
}

/// The version in a name like `libonnxruntime.so.1.24.4`.
fn version(path: &Path) -> Version {
    let name = path.file_name()?.to_str()?;
    let mut parts = name.strip_prefix("libonnxruntime.so.")?.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next().flatten().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with empty files at these paths; removed with the value.
    struct Root(PathBuf);

    impl Root {
        fn new(name: &str, files: &[&str]) -> Root {
            let root = std::env::temp_dir().join(format!("modelfn-library-{}-{name}", std::process::id()));
            for file in files {
                let path = root.join(file);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, "").unwrap();
            }
            Root(root)
        }

        /// What is found by a program in `app/bin`, with `venv` as the active environment and `home`.
        fn found(&self) -> Result<(String, &'static str), String> {
            let variable = |folder: &str| Some(self.0.join(folder).into_os_string());
            let environment =
                Environment { virtual_env: variable("venv"), conda_prefix: variable("conda"), home: variable("home") };
            let found = find(&self.0.join("app/bin/modelfn"), &environment);
            let found = found.map_err(|(NotFound::TooOld(sentence) | NotFound::Nowhere(sentence))| sentence)?;
            let path = found.path.strip_prefix(&self.0).unwrap_or(&found.path);
            Ok((path.to_string_lossy().into_owned(), found.place))
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    const CAPI: &str = "lib/python3.11/site-packages/onnxruntime/capi/libonnxruntime.so";

    #[test]
    fn places_come_in_order() {
        let package = |root: &str| format!("{root}/{CAPI}.1.30.0");
        let own = "app/lib/libonnxruntime.so.1.24.4".to_owned();
        let places = [own, package("app"), package("venv"), package("conda"), package("home/.local")];
        for first in 0..places.len() {
            let files: Vec<_> = places[first..].iter().map(String::as_str).collect();
            let found = Root::new(&format!("order-{first}"), &files).found().unwrap();
            assert_eq!(found.0, places[first], "{found:?}");
        }
    }

    #[test]
    fn the_newest_version_of_a_place_is_taken() {
        let files = ["1.24.9", "1.24.10", "1.9.0", "1.30.1"].map(|version| format!("venv/{CAPI}.{version}"));
        let root = Root::new("newest", &files.each_ref().map(String::as_str));
        assert_eq!(root.found().unwrap().0, files[3]);
        std::fs::remove_file(root.0.join(&files[3])).unwrap();
        assert_eq!(root.found().unwrap().0, files[1]);
    }

    #[test]
    fn what_is_too_old_is_passed_over_and_said() {
        let (old, new) = (format!("venv/{CAPI}.1.20.1"), format!("conda/{CAPI}.1.24.4"));
        assert_eq!(Root::new("old-and-new", &[&old, &new]).found().unwrap().0, new);
        let only_old = Root::new("old", &[&old]);
        match only_old.found() {
            Err(said) => {
                assert!(said.contains("1.20.1 is too old"), "{said}");
                assert!(said.contains("pip install 'onnxruntime>=1.24'"), "{said}");
            }
            // This machine has a package of its own.
            Ok((path, _)) => assert!(path.starts_with("/usr"), "{path}"),
        }
    }
}
