"""Tensors of lists and buffers, and back."""

import math
import struct
import unittest
from array import array

import fake_wasi  # noqa: F401

from modelfn_guest import DType, Tensor


class OfLists(unittest.TestCase):
    def test_numbers_choose_the_type_where_none_is_given(self):
        self.assertEqual(Tensor.of([[1, 2], [3, 4]]).dtype, DType.I64)
        self.assertEqual(Tensor.of([[1, 2.5]]).dtype, DType.FP32)
        self.assertEqual(Tensor.of([]).dtype, DType.FP32)

    def test_rows_are_laid_out_one_after_the_other(self):
        tensor = Tensor.of([[1, 2, 3], [4, 5, 6]], "I32")
        self.assertEqual((tensor.shape, tensor.data), ((2, 3), struct.pack("<6i", 1, 2, 3, 4, 5, 6)))

    def test_what_goes_in_comes_out(self):
        for dtype in DType:
            for values in ([0, 1, 2], [[1, 0], [2, 3]], [[[1], [2]]], [[], []], [[[], []]], []):
                tensor = Tensor.of(values, dtype)
                self.assertEqual(tensor.tolist(), values, (dtype, values))
        self.assertEqual(Tensor.of(7, "I64").tolist(), 7)
        self.assertEqual(Tensor("FP32", (0, 2), b"").tolist(), [])
        self.assertEqual(Tensor("FP32", (2, 0, 3), b"").tolist(), [[], []])

    def test_lists_that_are_no_tensor(self):
        for values in ([[1], [2, 3]], [[1], 2], [1, [2]], [1, [2], 3], [[1], [[2]]], [[], 1], [[1], []], [[[1]], [2]]):
            with self.assertRaisesRegex(ValueError, "different lengths or depths", msg=values):
                Tensor.of(values)

    def test_what_is_no_number_is_named(self):
        for values, name in (([None], "null"), (["1"], "text"), ([True], "true and false"), ([{}], "objects")):
            with self.assertRaisesRegex(TypeError, f"not of {name}"):
                Tensor.of(values)
        for values in ("text", None, {"a": 1}):
            with self.assertRaisesRegex(TypeError, "made of numbers"):
                Tensor.of(values)

    def test_numbers_that_the_type_cannot_hold(self):
        with self.assertRaisesRegex(ValueError, r"I64 holds whole numbers, but 1\.5 is none"):
            Tensor.of([1, 1.5], "I64")
        for values, dtype in (([256], "U8"), ([-1], "U8"), ([1 << 31], "I32"), ([1 << 63], "I64"), ([1e39], "FP32")):
            with self.assertRaisesRegex(ValueError, f"too large for {dtype}"):
                Tensor.of(values, dtype)
        for values, dtype in (([65520.0], "FP16"), ([10**400], "FP64"), ([1 << 130], "BF16")):
            with self.assertRaisesRegex(ValueError, f"too large for {dtype}"):
                Tensor.of(values, dtype)

    def test_bf16_rounds_to_the_nearest_even(self):
        for value, expected in ((1.0, 0x3F80), (-2.5, 0xC020), (1 + 2**-8, 0x3F80), (1 + 3 * 2**-8, 0x3F82)):
            self.assertEqual(Tensor.of([value], "BF16").data, struct.pack("<H", expected), value)
        self.assertEqual(Tensor.of([math.inf], "BF16").tolist(), [math.inf])
        self.assertTrue(math.isnan(Tensor.of([math.nan], "BF16").item()))


class OfBuffers(unittest.TestCase):
    def test_a_buffer_has_its_own_type(self):
        self.assertEqual(Tensor.of(array("f", [1, 2])), Tensor.of([1, 2], "FP32"))
        self.assertEqual(Tensor.of(array("q", [1, 2])), Tensor.of([1, 2], "I64"))
        self.assertEqual(Tensor.of(b"\x01\x02"), Tensor.of([1, 2], "U8"))
        view = memoryview(array("d", range(6))).cast("B").cast("d", [2, 3])
        self.assertEqual(Tensor.of(view), Tensor.of([[0, 1, 2], [3, 4, 5]], "FP64"))
        self.assertEqual(Tensor.of(memoryview(b"\x01\x02\x03\x04")[::2]), Tensor.of([1, 3], "U8"))

    def test_a_buffer_of_another_type_is_refused(self):
        with self.assertRaisesRegex(TypeError, "is FP64, not FP32"):
            Tensor.of(array("d", [1]), "FP32")
        with self.assertRaisesRegex(TypeError, "no type of wasi-nn"):
            Tensor.of(array("H", [1]))

    def test_bytes_must_be_as_long_as_type_and_shape_say(self):
        self.assertEqual(Tensor("FP32", [1, 1], struct.pack("<f", 0.5)).item(), 0.5)
        with self.assertRaisesRegex(ValueError, r"FP32 of shape \[2, 2\] is 16 bytes, but the data is 15"):
            Tensor("FP32", (2, 2), bytes(15))
        with self.assertRaises(ValueError):
            Tensor("FP32", (-1, -1), bytes(4))
        with self.assertRaises(ValueError):
            Tensor("F99", (1,), bytes(4))


class Reading(unittest.TestCase):
    def test_rows(self):
        rows = list(Tensor.of([[1, 2], [3, 4]], "I64"))
        self.assertEqual([row.tolist() for row in rows], [[1, 2], [3, 4]])
        self.assertEqual([row.shape for row in rows], [(2,), (2,)])
        with self.assertRaisesRegex(TypeError, "no length"):
            list(Tensor.of(1))

    def test_an_item_is_the_only_one(self):
        self.assertEqual(Tensor.of([[5]]).item(), 5)
        with self.assertRaisesRegex(ValueError, r"shape \[2\] is not one number"):
            Tensor.of([1, 2]).item()


if __name__ == "__main__":
    unittest.main()
