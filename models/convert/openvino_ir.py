"""ONNX -> OpenVINO IR (model.xml and model.bin), for hosts that serve OpenVINO graphs.

The weights stay float32, so that both files compute the same numbers. `read_model` is used rather than
`convert_model`: it is the same front end, and it sends no usage statistics.
"""

import pathlib

import openvino


def convert(model, output):
    ir = openvino.Core().read_model(model)
    openvino.save_model(ir, pathlib.Path(output) / "model.xml", compress_to_fp16=False)
