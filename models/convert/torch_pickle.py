"""Reads the tensors of a PyTorch file in the format before PyTorch 1.6 (.pth), without PyTorch.

The file consists of four pickles (magic number, version, machine, state dict), a pickled list of storage keys, and
the storages, each an int64 length followed by the raw numbers. Tensors are views into storages; the views of converted
TensorFlow weights are not contiguous, so strides matter.

A pickle can make its reader call any function, so only the four names that a state dict needs are accepted.
"""

import collections
import pathlib
import pickle

import numpy

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001

_View = collections.namedtuple("_View", "storage offset shape strides")
_Storage = collections.namedtuple("_Storage", "dtype key length")


def _rebuild_tensor(storage, offset, shape, strides, _requires_grad=False, _hooks=None):
    return _View(storage, offset, shape, strides)


_KNOWN = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch", "FloatStorage"): numpy.dtype("<f4"),
    ("torch", "LongStorage"): numpy.dtype("<i8"),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} has no business in a file of weights") from None

    def persistent_load(self, pid):
        kind, dtype, key, _device, length, view = pid
        if kind != "storage" or view is not None:
            raise pickle.UnpicklingError(f"unknown reference {pid}")
        return _Storage(dtype, key, length)


def read(path):
    """Returns {name: array} in the order of the file."""
    with pathlib.Path(path).open("rb") as file:
        if _Unpickler(file).load() != MAGIC or _Unpickler(file).load() != VERSION:
            raise ValueError(f"{path} is not a PyTorch file of the old format")
        if not _Unpickler(file).load()["little_endian"]:
            raise ValueError(f"{path} was written on a big-endian machine")
        views = _Unpickler(file).load()
        keys = _Unpickler(file).load()
        described = {view.storage.key: view.storage for view in views.values()}
        storages = {}
        for key in keys:
            storage = described[key]
            if int.from_bytes(file.read(8), "little") != storage.length:
                raise ValueError(f"{path}: storage {key} has another length than its tensor says")
            storages[key] = numpy.frombuffer(file.read(storage.length * storage.dtype.itemsize), storage.dtype)
    return {name: _tensor(view, storages[view.storage.key]) for name, view in views.items()}


def _tensor(view, storage):
    last = view.offset + sum((size - 1) * stride for size, stride in zip(view.shape, view.strides, strict=True))
    if view.offset < 0 or min(view.strides, default=0) < 0 or last >= storage.size:
        raise ValueError("a tensor reaches outside its storage")
    strides = [stride * storage.itemsize for stride in view.strides]
    return numpy.lib.stride_tricks.as_strided(storage[view.offset :], view.shape, strides, writeable=False)
