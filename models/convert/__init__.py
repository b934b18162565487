"""Published weights -> ONNX, and ONNX -> OpenVINO IR, with numpy and onnx but without any framework.

Each converter is a module with `convert(weights, card)`: the path of the published file and the
model's card, to an `onnx.ModelProto`. The card decides names and shapes; the weights decide the rest.
"""
