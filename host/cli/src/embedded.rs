//! What the program carries beside itself, put there by `build.rs`.

/// Empty where there was no compiler for wasm.
static CLASSIFY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/classify.wasm"));

/// The component that classifies pictures; `None` in a program that was built without it.
pub(crate) fn classify() -> Option<&'static [u8]> {
    Some(CLASSIFY).filter(|wasm| !wasm.is_empty())
}
