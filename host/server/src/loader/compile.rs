//! Compiling an application's components ahead of time, for images.

use std::path::Path;

use anyhow::Result;
use modelfn_wasm::code_cache::{self, CodeCache};
use modelfn_wasm::engine::{self, PoolSize};

use super::read_component;
use crate::functions::manifest::{App, Component};

/// The processor that compiled code is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processor {
    /// This one, with every feature that it has.
    Native,
    /// Any that has AVX2 (x86-64-v3); on other architectures any.
    Baseline,
}

/// Compiles the components of the manifest `app` into the folder `out`. Returns a line for people about each.
///
/// # Errors
///
/// The manifest or a component is wrong, or the folder can't be written. The message names the remedy.
pub fn compile_app(app: &Path, out: &Path, processor: Processor) -> Result<Vec<String>> {
    let app = App::load(app)?;
    let pool = PoolSize { instances: 1, memory: 1 << 20, table_elements: 1 };
    let engine = match processor {
        Processor::Native => engine::open(pool),
        Processor::Baseline => code_cache::baseline_engine(),
    };
    let engine = engine.map_err(|e| anyhow::anyhow!("the wasm engine did not start: {e:#}"))?;
    let cache = CodeCache::new(Some(out.to_owned()));
    let compile = |(id, component): (&String, &Component)| {
        let (_, wasm) = read_component(id, component)?;
        let path = cache.store(&engine, &wasm).map_err(|e| anyhow::anyhow!("component '{id}': {e:#}"))?;
        let size = std::fs::metadata(&path)?.len();
        Ok(format!("{id}: {} ({} KiB of wasm, {} KiB of code)", path.display(), wasm.len() >> 10, size >> 10))
    };
    app.components.iter().map(compile).collect()
}
