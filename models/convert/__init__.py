"""Published weights -> ONNX with numpy and onnx but without any framework; ONNX -> int8 and OpenVINO IR.

Each converter is a module with `convert(weights, card)`: the path of the published file and the
model's card, to an `onnx.ModelProto`; one that quantizes is also given a folder of pictures. The card decides names and shapes; the weights decide the rest.
"""
