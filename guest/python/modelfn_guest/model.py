"""Computations of a model, asked of the host through `wasi:nn`.

A graph is loaded by the name on its card; which engine runs it, where and in which batch is the host's business. An
overloaded host does not return from a computation at all: it ends the request itself.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from tomllib import TOMLDecodeError
from typing import Any

from modelfn_guest import wasi
from modelfn_guest.folder import Folder
from modelfn_guest.log import log
from modelfn_guest.problem import Problem
from modelfn_guest.signature import inputs
from modelfn_guest.tensor import Tensor


class Model:
    """A model that the host has loaded."""

    def __init__(self, name: str):
        """Finds the model that the host knows by `name`; raises `Problem` 503 where it has none."""
        self.name = name
        try:
            self._graph = wasi.load_by_name(name)
        except wasi.NnError as error:
            raise self._problem(error) from None

    def run(self, inputs: Mapping[str, Any]) -> "Outputs":
        """Computes the outputs for named inputs.

        An input is a `Tensor`, a buffer (array, memoryview, bytes) whose type and shape are the tensor's, or numbers in
        nested lists. Lists take the type of the model's input, which its card says where the model's folder is mounted;
        elsewhere whole numbers become I64 and others FP32.

        Raises `Problem` 400 for lists that do not fit the model, since lists usually come from the client; 500 where
        the names, types or shapes of tensors are not those of the graph; 502 where the engine failed; 504 at the
        deadline; 507 without memory. Raises TypeError for a buffer of a type that wasi-nn lacks.
        """
        tensors = [(name, self._tensor(name, values)) for name, values in inputs.items()]
        try:
            return Outputs(self.name, wasi.compute(self._graph, tensors))
        except wasi.NnError as error:
            misfit = self._misfit(dict(tensors)) if error.code == "INVALID_ARGUMENT" else None
            raise self._problem(error, misfit) from None

    def _tensor(self, name: str, values: Any) -> Tensor:
        if isinstance(values, Tensor):
            return values
        if not isinstance(values, (list, tuple, int, float)):
            return Tensor.of(values)
        spec = self._inputs.get(name, {})
        try:
            tensor = Tensor.of(values, spec.get("dtype"))
        except (TypeError, ValueError) as error:
            raise Problem.bad_request(f"input '{name}' of model '{self.name}': {error}") from None
        if not _fits(tensor.shape, spec.get("shape")):
            raise Problem.bad_request(self._wrong_shape(name, tensor))
        return tensor

    @cached_property
    def _inputs(self) -> dict[str, dict[str, Any]]:
        """The inputs as the model's card says, by name; empty where no card of this model is mounted."""
        for folder in (Folder.open(), Folder.of(self.name)):
            try:
                name, found = inputs(folder.card_text())
            except (Problem, TOMLDecodeError, KeyError):
                continue
            if name == self.name:
                return found
        return {}

    def _misfit(self, tensors: dict[str, Tensor]) -> str | None:
        """Why the model refuses these tensors, by its card; None where that says nothing."""
        specs = self._inputs
        if not specs:
            return None
        if specs.keys() != tensors.keys():
            return f"model '{self.name}' has the inputs {_names(specs)}, but was given {_names(tensors)}"
        for name, tensor in tensors.items():
            dtype = specs[name].get("dtype", tensor.dtype)
            if tensor.dtype != dtype:
                return f"input '{name}' of model '{self.name}' is of type {dtype}, but was given {tensor.dtype}"
            if not _fits(tensor.shape, specs[name].get("shape")):
                return self._wrong_shape(name, tensor)
        return None

    def _wrong_shape(self, name: str, tensor: Tensor) -> str:
        shape = self._inputs[name]["shape"]
        return f"input '{name}' of model '{self.name}' has shape {shape}, but was given {list(tensor.shape)}"

    def _problem(self, error: wasi.NnError, misfit: str | None = None) -> Problem:
        """The problem of a computation. What the host said goes to the log, since a client can do nothing with it."""
        log(f"wasi-nn: model '{self.name}': {error.code}: {error.data}")
        if misfit:
            return Problem.internal(misfit)
        make, detail = _PROBLEMS.get(error.code, _REFUSED)
        return make(detail.format(self.name))


class Outputs(Mapping[str, Tensor]):
    """The outputs of a computation by name, in the graph's order. Each is copied from the host when it is read."""

    def __init__(self, model: str, outputs: list[tuple[str, Any]]):
        self._model = model
        self._pending = dict(outputs)
        self._read: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        """The output `name`; raises `Problem` 500 that names those that there are."""
        if name not in self._read:
            if name not in self._pending:
                raise Problem.internal(f"model '{self._model}' has no output '{name}'; it has {_names(self._pending)}")
            self._read[name] = wasi.read_tensor(self._pending[name])
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self._pending

    def __iter__(self) -> Iterator[str]:
        return iter(self._pending)

    def __len__(self) -> int:
        return len(self._pending)

    def at(self, index: int) -> Tensor:
        """The output at a place, for engines that number their outputs; raises `Problem` 500 where there are fewer."""
        names = list(self._pending)
        if not 0 <= index < len(names):
            raise Problem.internal(f"model '{self._model}' has no output at {index}; it has {_names(names)}")
        return self[names[index]]


def model(name: str) -> Model:
    """The model that the host knows by `name`; raises `Problem` 503 where it has none."""
    return Model(name)


def _fits(shape: tuple[int, ...], wanted: list[int] | None) -> bool:
    """Whether a shape is one that a card says, where -1 stands for any size."""
    return wanted is None or (
        len(shape) == len(wanted) and all(axis in (-1, size) for axis, size in zip(wanted, shape, strict=True))
    )


def _names(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"


# Whose fault an error was decides the status.
_PROBLEMS = {
    "NOT_FOUND": (Problem.unavailable, "model '{}' is not loaded by this host"),
    "TIMEOUT": (
        Problem.gateway_timeout,
        "model '{}' did not answer before the request's deadline; try again, with more time",
    ),
    "TOO_LARGE": (Problem.insufficient_storage, "the host has no room for model '{}'"),
    "RUNTIME_ERROR": (Problem.bad_gateway, "model '{}' failed"),
    "UNKNOWN": (Problem.bad_gateway, "model '{}' failed"),
}
_REFUSED = (Problem.internal, "the host refused model '{}'; its log says why: compare card and graph")
