//! A component's code, linked against the host's imports, and evicted from memory while nobody invokes it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime::Engine;
use wasmtime::component::{Component, Linker};
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use super::code_cache::{CompiledComponent, CompiledFile};
use super::state::State;
use super::{open_file, wasi_nn};

/// The packages whose interfaces this host provides.
const PACKAGES: [&str; 8] =
    ["wasi:cli", "wasi:clocks", "wasi:filesystem", "wasi:http", "wasi:io", "wasi:nn", "wasi:random", "wasi:sockets"];

/// The imports that this host provides to components: WASI 0.2 and wasi-nn.
#[derive(Clone)]
pub struct HostLinker(Arc<Linker<State>>);

impl HostLinker {
    /// Defines all imports.
    ///
    /// # Errors
    ///
    /// Two imports have the same name. Any test that starts a server would find that.
    pub fn new(engine: &Engine) -> wasmtime::Result<HostLinker> {
        let mut linker = Linker::<State>::new(engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
        open_file::add_to_linker(&mut linker)?;
        wasi_nn::add_to_linker(&mut linker)?;
        Ok(HostLinker(Arc::new(linker)))
    }

    /// Resolves the imports of a component.
    ///
    /// # Errors
    ///
    /// The component imports something that this host doesn't provide, or doesn't export `wasi:http/incoming-handler`.
    pub fn link(&self, compiled: CompiledComponent) -> wasmtime::Result<Code> {
        let CompiledComponent { component, file } = compiled;
        let missing = missing_imports(&component);
        if !missing.is_empty() {
            wasmtime::bail!("it imports {}, which this host does not have", missing.join(", "));
        }
        let linked = Mutex::new(Some(self.pre_instantiate(&component)?));
        Ok(Code(Arc::new(CodeInner { linker: self.clone(), file, linked })))
    }

    fn pre_instantiate(&self, component: &Component) -> wasmtime::Result<ProxyPre<State>> {
        ProxyPre::new(self.0.instantiate_pre(component)?)
    }
}

/// The imports of a component that belong to none of [`PACKAGES`]. The linker would name only the first, and no remedy.
fn missing_imports(component: &Component) -> Vec<String> {
    let kind = component.component_type();
    let names = kind.imports(component.engine()).map(|(name, _)| name.to_owned());
    names.filter(|name| !PACKAGES.contains(&name.split('/').next().unwrap_or_default())).collect()
}

/// The linked code of a component. Functions of the same component share it.
#[derive(Clone)]
pub struct Code(Arc<CodeInner>);

struct CodeInner {
    linker: HostLinker,
    /// Where the code can be loaded from again after an eviction.
    file: Option<CompiledFile>,
    /// `None` after an eviction.
    linked: Mutex<Option<ProxyPre<State>>>,
}

impl Code {
    /// Drops code that can be loaded from disk again, until it is next invoked. A server of a thousand components thus
    /// pays only for those that are used. Code that is not on disk stays in memory.
    pub fn evict(&self) {
        if self.0.file.is_some() {
            *self.linked() = None;
        }
    }

    /// The linked code, loaded from disk if it was evicted.
    pub(super) fn get(&self) -> wasmtime::Result<ProxyPre<State>> {
        let mut linked = self.linked();
        if let Some(linked) = &*linked {
            return Ok(linked.clone());
        }
        let file = self.0.file.as_ref().ok_or_else(|| wasmtime::format_err!("the code is nowhere"))?;
        Ok(linked.insert(self.0.linker.pre_instantiate(&file.load(self.engine())?)?).clone())
    }

    pub(super) fn engine(&self) -> &Engine {
        self.0.linker.0.engine()
    }

    fn linked(&self) -> MutexGuard<'_, Option<ProxyPre<State>>> {
        self.0.linked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
