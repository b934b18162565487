"""Tensors: what goes into a model and comes out of it, without numpy, which WebAssembly has none of."""

import struct
from collections.abc import Iterator
from enum import StrEnum
from itertools import chain
from math import prod
from typing import Any, Self


class DType(StrEnum):
    """The element types of wasi-nn, by the names that model cards have for them."""

    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BF16 = "BF16"
    U8 = "U8"
    I32 = "I32"
    I64 = "I64"

    @property
    def size(self) -> int:
        """Bytes of one element."""
        return _SIZES[self]

    @property
    def is_integer(self) -> bool:
        """Whether its elements are whole numbers."""
        return self in _INTEGERS


_SIZES = {DType.FP16: 2, DType.BF16: 2, DType.FP32: 4, DType.FP64: 8, DType.U8: 1, DType.I32: 4, DType.I64: 8}
_INTEGERS = frozenset({DType.U8, DType.I32, DType.I64})

# The formats of the module struct, in which BF16 is the upper half of an FP32.
_FORMATS = {
    DType.FP16: "e",
    DType.FP32: "f",
    DType.FP64: "d",
    DType.BF16: "f",
    DType.U8: "B",
    DType.I32: "i",
    DType.I64: "q",
}

# The element types of buffers, by kind and size: the size of the formats i and l depends on the machine.
_OF_BUFFERS = {
    ("e", 2): DType.FP16,
    ("f", 4): DType.FP32,
    ("d", 8): DType.FP64,
    ("B", 1): DType.U8,
    ("i", 4): DType.I32,
    ("l", 4): DType.I32,
    ("l", 8): DType.I64,
    ("q", 8): DType.I64,
}


class Tensor:
    """A dense tensor: `data` holds the little-endian elements, row by row (row-major), as bytes."""

    __slots__ = ("data", "dtype", "shape")

    def __init__(self, dtype: DType | str, shape: tuple[int, ...] | list[int], data: Any):
        """Takes bytes or any buffer. Raises ValueError where it is not as long as type and shape say."""
        self.dtype = DType(dtype)
        self.shape = tuple(shape)
        self.data = bytes(data)
        expected = prod(self.shape) * self.dtype.size
        if len(self.data) != expected or any(axis < 0 for axis in self.shape):
            raise ValueError(
                f"{self.dtype} of shape {list(self.shape)} is {expected} bytes, but the data is {len(self.data)}"
            )

    @classmethod
    def of(cls, values: Any, dtype: DType | str | None = None) -> Self:
        """Makes a tensor of a number, nested lists of numbers, or a buffer (array, memoryview, bytes) with its shape.

        Where `dtype` is not given, whole numbers become I64 and others FP32; a buffer has a type of its own, and must
        have the one that is given.

        Raises ValueError for lists of different lengths and for numbers that the type cannot hold, and TypeError for
        what is no number or a buffer of another type.
        """
        wanted = None if dtype is None else DType(dtype)
        if not isinstance(values, (list, tuple, int, float)):
            return cls._of_buffer(values, wanted)
        shape, flat = _flatten(values)
        kinds = set(map(type, flat))
        if strange := kinds - {int, float}:
            raise TypeError(f"a tensor is made of numbers, not of {_name(strange.pop())}")
        wanted = wanted or (DType.I64 if kinds == {int} else DType.FP32)
        if wanted.is_integer and float in kinds:
            raise ValueError(f"{wanted} holds whole numbers, but {next(v for v in flat if type(v) is float)} is none")
        return cls(wanted, shape, _pack(wanted, flat))

    @classmethod
    def _of_buffer(cls, buffer: Any, wanted: DType | None) -> Self:
        try:
            view = memoryview(buffer)
        except TypeError:
            name = _name(type(buffer))
            raise TypeError(f"a tensor is made of numbers, lists of them or a buffer, not of {name}") from None
        dtype = _OF_BUFFERS.get((view.format.lstrip("@<="), view.itemsize))
        if dtype is None or wanted not in (None, dtype):
            raise TypeError(
                f"a buffer of format '{view.format}' is {dtype or 'no type of wasi-nn'}, not {wanted or 'a tensor'}; "
                "for bytes that are elements of another type, write Tensor(dtype, shape, data)"
            )
        return cls(dtype, view.shape or (), view.tobytes())

    def __len__(self) -> int:
        """The size of the first axis."""
        if not self.shape:
            raise TypeError("a tensor without axes has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator["Tensor"]:
        """The tensors along the first axis, such as the rows of a matrix."""
        step = prod(self.shape[1:]) * self.dtype.size
        for row in range(len(self)):
            yield Tensor(self.dtype, self.shape[1:], self.data[row * step : (row + 1) * step])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tensor) and (self.dtype, self.shape, self.data) == (
            other.dtype,
            other.shape,
            other.data,
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Tensor({self.dtype}, {list(self.shape)}, {len(self.data)} bytes)"

    def values(self) -> tuple[Any, ...]:
        """All elements, row by row, as numbers."""
        if self.dtype is DType.BF16:
            halves = memoryview(self.data).cast("H")
            return struct.unpack(f"<{len(halves)}f", struct.pack(f"<{len(halves)}I", *(half << 16 for half in halves)))
        return struct.unpack(f"<{prod(self.shape)}{_FORMATS[self.dtype]}", self.data)

    def tolist(self) -> Any:
        """The elements as nested lists, one level an axis; a number where there are no axes."""
        return _nest(list(self.values()), self.shape) if self.shape else self.values()[0]

    def item(self) -> Any:
        """The only element; raises ValueError where there are more or none."""
        if prod(self.shape) != 1:
            raise ValueError(f"a tensor of shape {list(self.shape)} is not one number; take tolist()")
        return self.values()[0]


def _flatten(values: Any) -> tuple[tuple[int, ...], list[Any]]:
    """The shape of nested lists, and their elements row by row."""
    shape: list[int] = []
    level = [values]
    while level and any(isinstance(item, (list, tuple)) for item in (level[0], level[-1])):
        lengths = {len(item) if isinstance(item, (list, tuple)) else -1 for item in level}
        if len(lengths) > 1 or -1 in lengths:
            raise ValueError("lists of different lengths or depths are no tensor; make them the same")
        shape.append(lengths.pop())
        level = list(chain.from_iterable(level))
    if any(issubclass(kind, (list, tuple)) for kind in set(map(type, level))):
        raise ValueError("lists of different lengths or depths are no tensor; make them the same")
    return tuple(shape), level


def _nest(flat: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """The elements, row by row, as nested lists of that shape."""
    if len(shape) == 1:
        return flat
    step = prod(shape[1:])
    return [_nest(flat[row * step : (row + 1) * step], shape[1:]) for row in range(shape[0])]


def _pack(dtype: DType, flat: list[Any]) -> bytes:
    try:
        packed = struct.pack(f"<{len(flat)}{_FORMATS[dtype]}", *flat)
    except (struct.error, OverflowError):
        raise ValueError(f"a number is too large for {dtype}; the model's card says which type it takes") from None
    if dtype is not DType.BF16:
        return packed
    return struct.pack(f"<{len(flat)}H", *map(_upper_half, struct.unpack(f"<{len(flat)}I", packed)))


def _upper_half(bits: int) -> int:
    """The nearest BF16 of an FP32, of two equally near ones the even one; a NaN stays one."""
    if bits & 0x7FFFFFFF > 0x7F800000:
        return bits >> 16 | 0x40
    return bits + 0x7FFF + (bits >> 16 & 1) >> 16


def _name(kind: type) -> str:
    """What people call a type of JSON."""
    return {type(None): "null", str: "text", bool: "true and false", dict: "objects"}.get(kind, kind.__name__)
