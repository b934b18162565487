//! Indexes the vocabulary that the crate carries, so that nothing has to be indexed when a function starts.

// The crate uses more of it than this.
#[expect(dead_code, reason = "the crate uses the rest")]
#[path = "src/vocabulary/index.rs"]
mod index;

use std::path::Path;

const VOCABULARY: &str = "bert-base-uncased.txt";

fn main() {
    for file in ["build.rs", "src/vocabulary/index.rs", VOCABULARY] {
        println!("cargo::rerun-if-changed={file}");
    }
    let text = std::fs::read(VOCABULARY).expect("the vocabulary is a file of this crate");
    let index = index::Index::of(&text).expect("the vocabulary of this crate has no line twice");
    let folder = std::env::var_os("OUT_DIR").expect("cargo sets it");
    for (name, bytes) in [("starts", index.starts), ("slots", index.slots)] {
        std::fs::write(Path::new(&folder).join(name), bytes).expect("cargo's folder can be written");
    }
}
