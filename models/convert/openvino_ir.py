"""Converts ONNX to OpenVINO IR (model.xml and model.bin), for hosts that serve OpenVINO graphs.

The weights stay float32, so that both formats compute the same numbers. `read_model` is used instead of
`convert_model` because it has the same front end and sends no usage statistics.
"""

import pathlib

import openvino


def convert(model, output):
    ir = openvino.Core().read_model(model)
    openvino.save_model(ir, pathlib.Path(output) / "model.xml", compress_to_fp16=False)
