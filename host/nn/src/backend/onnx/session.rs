//! An ONNX Runtime session that several threads run at the same time.
//!
//! `ort` lets only one thread at a time run a session, since some execution providers are not thread-safe. The CPU
//! provider, the only one of this build, is (microsoft/onnxruntime issues 114 and 22967). The engine's C API is
//! therefore called directly: threads that share a session share its weights, in memory and in the processor's cache.

use std::ffi::{CString, c_char};
use std::ptr::{NonNull, null_mut};

use ort::AsPointer;
use ort::session::{RunOptions, Session, SessionInputValue};
use ort::value::DynValue;

use crate::tensor::{Signature, TensorSpec};

/// A session, with the names of its inputs and outputs as C strings.
pub(super) struct SharedSession {
    session: Session,
    inputs: Vec<CString>,
    outputs: Vec<CString>,
}

impl SharedSession {
    /// Shares `session`, which must have no execution provider but the CPU's. Runs compute the outputs of `signature`.
    pub(super) fn new(session: Session, signature: &Signature) -> ort::Result<Self> {
        let names = |specs: &[TensorSpec]| specs.iter().map(|spec| name(&spec.name)).collect::<ort::Result<_>>();
        Ok(Self { inputs: names(&signature.inputs)?, outputs: names(&signature.outputs)?, session })
    }

    /// Runs the graph on the caller's thread. Outputs are in the order of the signature.
    pub(super) fn run(
        &self,
        inputs: &[(&str, SessionInputValue<'_>)],
        options: &RunOptions,
    ) -> ort::Result<Vec<DynValue>> {
        let input_names = inputs.iter().map(|(name, _)| self.input(name)).collect::<ort::Result<Vec<_>>>()?;
        let values: Vec<_> = inputs.iter().map(|(_, value)| value.ptr()).collect();
        let output_names: Vec<_> = self.outputs.iter().map(|name| name.as_ptr()).collect();
        let mut outputs = vec![null_mut(); output_names.len()];
        #[expect(unsafe_code, reason = "ort's own call wants the session for itself")]
        // SAFETY: session, options and values are borrowed for the whole call. The arrays have the lengths that are
        // passed, and names end with a NUL. The CPU provider's `Run` is thread-safe, see the module's comment.
        unsafe {
            ort::Error::result_from_status((ort::api().Run)(
                self.session.ptr().cast_mut(),
                options.ptr(),
                input_names.as_ptr(),
                values.as_ptr(),
                values.len(),
                output_names.as_ptr(),
                output_names.len(),
                outputs.as_mut_ptr(),
            ))?;
        }
        let outputs = outputs.into_iter().map(|output| {
            let output = NonNull::new(output).ok_or_else(|| ort::Error::new("an output is missing"))?;
            #[expect(unsafe_code, reason = "a value is made from what the engine returned")]
            // SAFETY: the engine returned the value to its caller, who owns it, and made it with this session's
            // allocator.
            Ok(unsafe { DynValue::from_ptr(output, Some(self.session.allocator())) })
        });
        outputs.collect()
    }

    fn input(&self, name: &str) -> ort::Result<*const c_char> {
        let found = self.inputs.iter().find(|have| have.as_bytes() == name.as_bytes());
        found.map(|name| name.as_ptr()).ok_or_else(|| ort::Error::new(format!("there is no input '{name}'")))
    }
}

fn name(name: &str) -> ort::Result<CString> {
    CString::new(name).map_err(ort::Error::wrap)
}
