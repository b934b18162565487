//! Linker settings of the component.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family == "wasm") {
        // What most requests need, so that growing it, which costs the host a system call each time, is for large pictures.
        println!("cargo::rustc-link-arg-cdylib=--initial-memory=4194304");
    }
}
