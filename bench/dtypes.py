#!/usr/bin/env python3
"""Measures one model with FP32, FP16 and INT8 weights, and with 80 % of the convolutions' FP32 weights set to zero.

It needs PyPI's onnxruntime, onnx, onnxconverter-common and sympy:

    python3 -m venv target/dtypes
    target/dtypes/bin/pip install onnxruntime==1.24.4 onnx onnxconverter-common sympy
    target/dtypes/bin/python bench/dtypes.py models/efficientnet-lite0/model.onnx

It prints the file size in MB and the CPU time in ms for one row on one thread, as medians of runs that take turns. CPU
time is measured because other programs affect it less than elapsed time. The INT8 graph is calibrated with noise, which
is good enough for timing only.
"""

import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy
import onnx
import onnxruntime
from onnx import numpy_helper
from onnxconverter_common import float16
from onnxruntime import quantization

ROUNDS = 25


class Noise(quantization.CalibrationDataReader):
    """Calibration data of random noise."""

    def __init__(self, inputs):
        self.inputs = iter(inputs)

    def get_next(self):
        return next(self.inputs, None)


def variants(source, folder, inputs):
    """Writes the graphs, and returns {name: path}."""
    paths = {"FP32": source} | {name: folder / f"{name}.onnx" for name in ("FP16", "INT8", "80 % zeros")}
    onnx.save(float16.convert_float_to_float16(onnx.load(source), keep_io_types=True), paths["FP16"])
    quantization.quantize_static(
        source,
        paths["INT8"],
        Noise(inputs),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    sparse = onnx.load(source)
    for tensor in sparse.graph.initializer:
        weights = numpy_helper.to_array(tensor).copy()
        if weights.ndim == 4:
            weights[numpy.abs(weights) < numpy.quantile(numpy.abs(weights), 0.8)] = 0
            tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    onnx.save(sparse, paths["80 % zeros"])
    return paths


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    warnings.simplefilter("ignore")
    source = Path(sys.argv[1])
    described = session(source).get_inputs()[0]
    shape = [size if isinstance(size, int) else 1 for size in described.shape]
    random = numpy.random.default_rng(0)
    inputs = [{described.name: random.normal(size=shape).astype(numpy.float32)} for _ in range(4)]
    with tempfile.TemporaryDirectory() as folder:
        paths = variants(source, Path(folder), inputs)
        sessions = {name: session(path) for name, path in paths.items()}
        took = {name: [] for name in paths}
        for _ in range(ROUNDS):
            for name, graph in sessions.items():
                start = time.thread_time()
                graph.run(None, inputs[0])
                took[name].append(time.thread_time() - start)
        for name, path in paths.items():
            print(f"{name:12} {path.stat().st_size / 1e6:6.1f} MB {statistics.median(took[name]) * 1e3:8.2f} ms")


main()
