"""Converts published weights to ONNX without any training framework, and ONNX to int8 and to OpenVINO IR.

Each converter is a module with `convert(weights, card)`, which takes the path of the published file and the parsed
model.toml and returns an `onnx.ModelProto`; a converter that quantizes takes a folder of calibration pictures, too.
The card determines names and shapes, the weights everything else. One that returns text makes a file that belongs to a
model, such as the list of its characters. `openvino_ir` writes files instead.
"""
