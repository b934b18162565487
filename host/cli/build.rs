//! Puts the function that classifies pictures into the program, so that a model of pictures needs no build of its own.
//!
//! It is `MODELFN_CLASSIFY_WASM`, else `target/guest/classify.wasm` as `guest/build.sh` leaves it, else what that script
//! builds where a compiler for wasm is there. Nothing is installed for it: without a compiler the program has no such
//! function, and says so when a model wants it.

#![expect(clippy::expect_used, reason = "this is how a build script talks to cargo")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the component that becomes a part of the program.
const VARIABLE: &str = "MODELFN_CLASSIFY_WASM";

/// What cargo sets for the program, and what a compiler for wasm can't use.
const OF_THE_PROGRAM: [&str; 6] =
    ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET"];

fn main() {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("classify.wasm");
    let wasm = std::env::var_os(VARIABLE).map(PathBuf::from).or_else(built);
    let bytes = wasm.map_or_else(Vec::new, |path| {
        println!("cargo::rerun-if-changed={}", path.display());
        std::fs::read(&path).unwrap_or_else(|e| panic!("{VARIABLE}={}: {e}", path.display()))
    });
    std::fs::write(out, bytes).expect("OUT_DIR can be written");
}

/// The component that `guest/build.sh` has built, or builds now.
fn built() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    let wasm = root.join("target/guest/classify.wasm");
    if wasm.is_file() {
        return Some(wasm);
    }
    let mut command = Command::new(root.join("guest/build.sh"));
    command.arg("classify").env("GUEST_INSTALL", "never");
    for variable in OF_THE_PROGRAM {
        command.env_remove(variable);
    }
    let output = command.output().map_err(|e| e.to_string());
    let output = output.and_then(|output| {
        let said = String::from_utf8_lossy(&output.stderr).lines().next_back().unwrap_or_default().to_owned();
        if output.status.success() { Ok(()) } else { Err(said) }
    });
    match output {
        Ok(()) => Some(wasm),
        Err(reason) => {
            println!(
                "cargo::warning=the program will have no function for pictures, since guest/build.sh failed: {reason}"
            );
            None
        }
    }
}
