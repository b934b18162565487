//! Puts into the program what it carries: the function that classifies pictures, so that a model of pictures needs no
//! build of its own, and what functions of other people are made from (see `build/bundle.rs`).
//!
//! The function is `MODELFN_CLASSIFY_WASM`, else `target/guest/classify.wasm` as `guest/build.sh` leaves it, else what that script
//! builds where a compiler for wasm is there. Nothing is installed for it: without a compiler the program has no such
//! function, and says so when a model wants it.

#![expect(clippy::expect_used, reason = "this is how a build script talks to cargo")]

#[path = "build/bundle.rs"]
mod bundle;

use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the component that becomes a part of the program.
const VARIABLE: &str = "MODELFN_CLASSIFY_WASM";

/// What cargo sets for the program, and what a compiler for wasm can't use.
const OF_THE_PROGRAM: [&str; 6] =
    ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET"];

fn main() {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    bundle::write(root(), &out.join("bundle.tar.gz")).expect("what functions are made from can be packed");
    let wasm = std::env::var_os(VARIABLE).map_or_else(built, PathBuf::from);
    // A file that is missing is looked for at each build.
    println!("cargo::rerun-if-changed={}", wasm.display());
    let bytes = match std::fs::read(&wasm) {
        Err(e) if std::env::var_os(VARIABLE).is_some() => panic!("{VARIABLE}={}: {e}", wasm.display()),
        read => read.unwrap_or_default(),
    };
    std::fs::write(out.join("classify.wasm"), bytes).expect("OUT_DIR can be written");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate is in host/cli")
}

/// Where `guest/build.sh` puts the component; builds it if it is not there.
fn built() -> PathBuf {
    let wasm = root().join("target/guest/classify.wasm");
    if wasm.is_file() {
        return wasm;
    }
    let mut command = Command::new(root().join("guest/build.sh"));
    command.arg("classify").env("GUEST_INSTALL", "never");
    for variable in OF_THE_PROGRAM {
        command.env_remove(variable);
    }
    let output = command.output().map_err(|e| e.to_string());
    let output = output.and_then(|output| {
        let said = String::from_utf8_lossy(&output.stderr).lines().next_back().unwrap_or_default().to_owned();
        if output.status.success() { Ok(()) } else { Err(said) }
    });
    if let Err(reason) = output {
        println!("cargo::warning=the program will have no function for pictures: guest/build.sh failed: {reason}");
    }
    wasm
}
