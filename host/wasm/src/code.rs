//! A component's code, linked against what this host offers, and put away while nobody asks for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime::Engine;
use wasmtime::component::{Component, Linker};
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use super::code_cache::{Compiled, Stored};
use super::state::State;
use super::wasi_nn;

/// What this host offers to components.
#[derive(Clone)]
pub struct HostLinker(Arc<Linker<State>>);

impl HostLinker {
    /// WASI and wasi-nn.
    ///
    /// # Errors
    ///
    /// Two of them have the same name, which a test would have found.
    pub fn new(engine: &Engine) -> wasmtime::Result<HostLinker> {
        let mut linker = Linker::<State>::new(engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
        wasi_nn::add_to_linker(&mut linker)?;
        Ok(HostLinker(Arc::new(linker)))
    }

    /// Links a component against it.
    ///
    /// # Errors
    ///
    /// It imports what this host doesn't have, or doesn't export `wasi:http/incoming-handler`.
    pub fn link(&self, compiled: Compiled) -> wasmtime::Result<Code> {
        let Compiled { component, stored } = compiled;
        let linked = Mutex::new(Some(self.linked(&component)?));
        Ok(Code(Arc::new(CodeInner { linker: self.clone(), stored, linked })))
    }

    fn linked(&self, component: &Component) -> wasmtime::Result<ProxyPre<State>> {
        ProxyPre::new(self.0.instantiate_pre(component)?)
    }
}

/// Linked code. Functions of the same component share it.
#[derive(Clone)]
pub struct Code(Arc<CodeInner>);

struct CodeInner {
    linker: HostLinker,
    stored: Option<Stored>,
    linked: Mutex<Option<ProxyPre<State>>>,
}

impl Code {
    /// Forgets what can be had from the disk again, until it is asked for: a server of a thousand components pays for
    /// those that are used. Does nothing to code that is on no disk.
    pub fn evict(&self) {
        if self.0.stored.is_some() {
            *self.linked() = None;
        }
    }

    /// The code, from the disk if it was put away.
    pub(super) fn get(&self) -> wasmtime::Result<ProxyPre<State>> {
        let mut linked = self.linked();
        if let Some(linked) = &*linked {
            return Ok(linked.clone());
        }
        let stored = self.0.stored.as_ref().ok_or_else(|| wasmtime::format_err!("the code is nowhere"))?;
        Ok(linked.insert(self.0.linker.linked(&stored.load(self.engine())?)?).clone())
    }

    pub(super) fn engine(&self) -> &Engine {
        self.0.linker.0.engine()
    }

    fn linked(&self) -> MutexGuard<'_, Option<ProxyPre<State>>> {
        self.0.linked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
