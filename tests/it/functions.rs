//! Folders that `modelfn new` makes, for tests of the commands of those who write functions.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::harness::{root, skip};

/// A new function in a folder of its own, which is the same each time: cargo would build what it needs once for each path,
/// and keep it.
pub struct NewFunction {
    pub folder: PathBuf,
}

/// What a command of the program printed.
#[derive(Debug)]
pub struct Printed {
    pub code: i32,
    pub out: String,
    pub error: String,
}

impl NewFunction {
    /// Runs `modelfn new NAME` with these arguments, and expects that it succeeds.
    pub fn new(name: &str, arguments: &[&str]) -> NewFunction {
        let all = root().join("target/functions");
        let parent = all.join(format!("of-{name}"));
        let _ = std::fs::remove_dir_all(&parent);
        // What all functions have in common is compiled once.
        let target = all.join("target");
        std::fs::create_dir_all(&target).unwrap();
        std::fs::create_dir_all(&parent).unwrap();
        let printed = run(&parent, &[&["new", name], arguments].concat());
        assert_eq!(printed.code, 0, "{printed:?}");
        let folder = parent.join(name);
        std::os::unix::fs::symlink(&target, folder.join("target")).unwrap();
        NewFunction { folder }
    }

    /// Runs a command of the program in the folder.
    pub fn run(&self, arguments: &[&str]) -> Printed {
        run(&self.folder, arguments)
    }

    /// Runs it, and expects that it succeeds. Gives what it printed.
    pub fn succeed(&self, arguments: &[&str]) -> String {
        let printed = self.run(arguments);
        assert_eq!(printed.code, 0, "{arguments:?} in {}:\n{}\n{}", self.folder.display(), printed.out, printed.error);
        printed.out
    }

    pub fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.folder.join(file)).unwrap()
    }

    /// Replaces a text of a file, which it must have.
    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let text = self.read(file);
        assert!(text.contains(from), "{from:?} is not in {file}:\n{text}");
        std::fs::write(self.folder.join(file), text.replace(from, to)).unwrap();
    }
}

/// Runs a command of the program in `folder`.
pub fn run(folder: &Path, arguments: &[&str]) -> Printed {
    let Output { status, stdout, stderr } = command(folder, arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Printed { code: status.code().unwrap(), out: text(stdout), error: text(stderr) }
}

/// A command of the program in `folder`, as people see it.
pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_modelfn"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MODELFN_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).args(arguments).args(["--log-format", "human"]);
    command
}

/// Whether to skip a test because Rust can't build components here.
pub fn no_rust_for_wasm() -> bool {
    let rustc = Command::new("rustc").args(["--print", "sysroot"]).output();
    let sysroot = rustc.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    let has_target = Path::new(&sysroot).join("lib/rustlib/wasm32-wasip2").is_dir();
    let packages = ["rustc-web", "cargo-web", "rust-web-src", "wasi-libc", "lld-22"];
    let debian = || Command::new("dpkg").arg("--status").args(packages).output();
    let has_debian = || debian().is_ok_and(|dpkg| dpkg.status.success());
    skip(!has_target && !has_debian(), "Rust can't build components here; run: rustup target add wasm32-wasip2")
}
