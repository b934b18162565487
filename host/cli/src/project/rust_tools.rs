//! Rust for components: rustup's target, or Debian's packages where no target can be downloaded.
//!
//! With either a plain `cargo build --target wasm32-wasip2` works. `guest/build.sh` says more of Debian's way.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

use super::surroundings::{self, Environment, Install};

/// The target of components.
pub(super) const TARGET: &str = "wasm32-wasip2";

/// Debian's packages that build a component, standard library included.
const DEBIAN_PACKAGES: [&str; 5] = ["rustc-web", "cargo-web", "rust-web-src", "wasi-libc", "lld-22"];

/// The linker that wraps a module into a component, which Debian does not package.
const COMPONENT_LD: &str = "wasm-component-ld";
const COMPONENT_LD_VERSION: &str = "0.5.31";

/// What Debian's compiler is told: where its linker and its libc are, and what every template asks for in
/// `.cargo/config.toml`, which is not read where the variable is set.
const DEBIAN_FLAGS: &str =
    "-C link-arg=--wasm-ld-path=/usr/bin/wasm-ld-22 -L /usr/lib/wasm32-wasi -C target-feature=+simd128";

/// cargo's path.
///
/// # Errors
///
/// There is none.
pub(super) fn cargo() -> Result<PathBuf> {
    surroundings::program("cargo").context(
        "cargo is not installed; install Rust from https://rustup.rs, then run: rustup target add wasm32-wasip2",
    )
}

/// Adds to `environment` what `cargo build --target wasm32-wasip2` needs in `folder`.
///
/// # Errors
///
/// Something is missing, and is not to be installed or can't be.
pub(super) fn for_wasm(environment: &mut Environment, folder: &Path, install: Install) -> Result<()> {
    if has_std(folder) && cargo().is_ok() {
        return Ok(());
    }
    let (rustup, has_debian) = (surroundings::program("rustup"), has_debian_packages());
    if has_debian && (rustup.is_none() || component_ld()?.is_some()) {
        return with_debian(environment, install);
    }
    cargo()?;
    let Some(rustup) = rustup else { return without_rustup(environment, install) };
    if install == Install::Never {
        bail!("Rust's standard library for {TARGET} is missing; run: rustup target add {TARGET}");
    }
    let added = surroundings::run(Command::new(rustup).args(["target", "add", TARGET]).current_dir(folder));
    // Where no target can be downloaded.
    if added.is_err() && has_debian { with_debian(environment, install) } else { added }
}

/// The linker for components that Debian's compiler needs, if it is there.
fn component_ld() -> Result<Option<PathBuf>> {
    let own = surroundings::folder()?.join("bin").join(COMPONENT_LD);
    Ok(surroundings::program(COMPONENT_LD).or_else(|| own.is_file().then_some(own)))
}

/// Whether the compiler that cargo uses in `folder` has the standard library for components.
fn has_std(folder: &Path) -> bool {
    let Some(rustc) = surroundings::program("rustc") else { return false };
    let sysroot = quiet(Command::new(rustc).args(["--print", "sysroot"]).current_dir(folder));
    let sysroot = sysroot.map(|output| String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
    sysroot.is_some_and(|sysroot| Path::new(&sysroot).join("lib/rustlib").join(TARGET).is_dir())
}

fn has_debian_packages() -> bool {
    surroundings::program("dpkg")
        .is_some_and(|dpkg| quiet(Command::new(dpkg).arg("--status").args(DEBIAN_PACKAGES)).is_some())
}

/// The output of a command that succeeded.
fn quiet(command: &mut Command) -> Option<Output> {
    command.stdin(Stdio::null()).output().ok().filter(|output| output.status.success())
}

/// Without rustup there are Debian's packages, which only its administrator installs.
fn without_rustup(environment: &mut Environment, install: Install) -> Result<()> {
    let packages = DEBIAN_PACKAGES.join(" ");
    if install == Install::Missing && rustix::process::geteuid().is_root() && surroundings::program("apt-get").is_some()
    {
        let arguments = ["install", "-q", "-y", "--no-install-recommends"];
        surroundings::run(
            Command::new("apt-get").args(arguments).args(DEBIAN_PACKAGES).env("DEBIAN_FRONTEND", "noninteractive"),
        )?;
        return with_debian(environment, install);
    }
    bail!(
        "Rust's standard library for {TARGET} is missing, and there is no rustup; install it from https://rustup.rs and run: \
         rustup target add {TARGET}; or, on Debian 12 or later, as root: apt-get install --no-install-recommends {packages}"
    )
}

/// Debian's is a stable compiler: `RUSTC_BOOTSTRAP` lets it build the standard library from its source.
fn with_debian(environment: &mut Environment, install: Install) -> Result<()> {
    let own = surroundings::folder()?;
    if component_ld()?.is_none() {
        let package = format!("{COMPONENT_LD}@{COMPONENT_LD_VERSION}");
        if install == Install::Never {
            bail!("{COMPONENT_LD} is missing; run: cargo install --locked {package}");
        }
        let root = own.to_str().context("the folder of tools must be UTF-8")?;
        surroundings::run(Command::new("cargo").args(["install", "--locked", "--root", root, &package]))?;
    }
    // Debian's own cargo before rustup's, which knows another compiler.
    environment.prepend("PATH", Path::new("/usr/bin"))?;
    environment.prepend("PATH", &own.join("bin"))?;
    environment.set("RUSTC", "/usr/bin/rustc");
    environment.set("RUSTC_BOOTSTRAP", "1");
    environment.set("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort");
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    environment.set("RUSTFLAGS", format!("{flags} {DEBIAN_FLAGS}").trim_start());
    Ok(())
}
