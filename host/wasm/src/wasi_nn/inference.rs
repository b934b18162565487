//! The interface `inference` of wasi-nn: one computation on a model.

use modelfn_nn::batcher::Failure;
use modelfn_nn::model::{Model, ModelError};
use modelfn_nn::tensor::{Tensor, Tensors};
use wasmtime::component::Resource;

use super::bindings::wasi::nn::inference;
use super::{GuestModel, GuestResult, GuestTensor, NnError, State};
use crate::error::InvokeError;

impl inference::Host for State {}

impl inference::HostGraphExecutionContext for State {
    async fn compute(
        &mut self,
        context: Resource<GuestModel>,
        inputs: Vec<inference::NamedTensor>,
    ) -> GuestResult<Vec<inference::NamedTensor>> {
        let GuestModel(model) = self.table.get(&context)?.clone();
        let inputs = self.take_inputs(inputs)?;
        let bytes = inputs.iter().map(|(_, tensor)| tensor.held_bytes()).sum();
        let outputs = self.compute_on(&model, inputs).await?;
        self.nn.release(bytes);
        match outputs {
            Ok(outputs) => self.push_outputs(outputs),
            Err(error) => self.guest_result(Err(error)),
        }
    }

    fn drop(&mut self, context: Resource<GuestModel>) -> wasmtime::Result<()> {
        self.table.delete(context)?;
        Ok(())
    }
}

impl State {
    /// Moves the guest's tensors out of its table. The guest loses them even if the computation fails.
    fn take_inputs(&mut self, inputs: Vec<inference::NamedTensor>) -> wasmtime::Result<Vec<(String, GuestTensor)>> {
        let mut taken = Vec::with_capacity(inputs.len());
        for (name, handle) in inputs {
            taken.push((name, self.table.delete(handle)?));
        }
        Ok(taken)
    }

    fn push_outputs(&mut self, outputs: Tensors) -> GuestResult<Vec<inference::NamedTensor>> {
        let outputs = outputs.into_iter().map(|(name, tensor)| {
            let tensor = GuestTensor::from_output(&name, &tensor)?;
            Ok((name, tensor))
        });
        let outputs = match outputs.collect::<Result<Vec<_>, NnError>>() {
            Ok(outputs) => outputs,
            Err(error) => return self.guest_result(Err(error)),
        };
        let bytes = outputs.iter().map(|(_, tensor)| tensor.held_bytes()).sum();
        let too_large = |limit| format!("the outputs are {bytes} bytes; the tensors of a request may be {limit}");
        if let Err(error) = self.reserve(bytes, too_large)? {
            return self.guest_result(Err(error));
        }
        let mut pushed = Vec::with_capacity(outputs.len());
        for (name, tensor) in outputs {
            pushed.push((name, self.table.push(tensor)?));
        }
        Ok(Ok(pushed))
    }

    async fn compute_on(
        &mut self,
        model: &Model,
        inputs: Vec<(String, GuestTensor)>,
    ) -> wasmtime::Result<Result<Tensors, NnError>> {
        let checked = inputs.into_iter().map(|(name, tensor)| Ok((name.clone(), tensor.into_tensor(&name)?)));
        let tensors: Vec<(String, Tensor)> = match checked.collect() {
            Ok(tensors) => tensors,
            Err(error) => return Ok(Err(error)),
        };
        match model.compute(tensors, self.nn.deadline).await {
            Ok(computed) => {
                let mut phases = self.nn.progress.phases();
                phases.queue += computed.queued;
                phases.compute += computed.computing;
                Ok(Ok(computed.outputs))
            }
            // wasi-nn has no error code for "try again later": the guest traps and the server says so.
            Err(ModelError::Failure(error @ (Failure::Overloaded(_) | Failure::Unavailable { .. }))) => {
                Err(InvokeError::Overloaded(error.to_string()).into())
            }
            Err(error) => Ok(Err(error.into())),
        }
    }
}
