"""Stands in for `modelfn_guest.wasi`, whose bindings are there only within a component. Import it first."""

import sys
import types


class NnError(Exception):
    """An error of wasi-nn."""

    def __init__(self, code, data=""):
        super().__init__(code, data)
        self.code, self.data = code, data


class FakeHost(types.ModuleType):
    """A host whose one model `echo` returns its inputs, and which fails with `error` where that is set."""

    NnError = NnError

    def __init__(self):
        super().__init__("modelfn_guest.wasi")
        self.error = None

    def load_by_name(self, name):
        if name != "echo":
            raise NnError("NOT_FOUND")
        return name

    def compute(self, _graph, tensors):
        if self.error is not None:
            raise self.error
        return tensors

    def read_tensor(self, tensor):
        return tensor


host = FakeHost()
sys.modules["modelfn_guest.wasi"] = host
