"""Adapts a graph of PP-OCR that is published as ONNX: it takes pixels as they are, and answers no more than is needed.

The published graphs take float32 in NCHW and BGR, scaled to -1 to 1. Here the graph does that itself: the input of
the card is U8 in NHWC and RGB, a quarter of the bytes, of which the host holds only so many for a request. Where the
card has an output of integers, the network is a recognizer: of the probabilities of all characters at each place, 26
kB a place, only the likeliest character and its probability are left.
"""

import numpy
import onnx
from onnx import helper, numpy_helper

from .fold import fold

MIDDLE = 127.5


def convert(weights, card):
    model = onnx.load(weights)
    graph = model.graph
    fold(graph)
    _reverse_channels(graph)
    _take_pixels(graph, card["inputs"][0])
    if card["outputs"][0]["dtype"] == "I64":
        _keep_the_likeliest(graph, *card["outputs"])
    else:
        (output,) = card["outputs"]
        _rename_output(graph, output)
    graph.name = card["name"]
    del model.metadata_props[:]
    return model


def _reverse_channels(graph):
    """Reverses the order of the input's channels in the weights of the convolutions that read it."""
    constants = {constant.name: constant for constant in graph.initializer}
    readers = [node for node in graph.node if graph.input[0].name in node.input]
    if not all(node.op_type == "Conv" for node in readers):
        raise ValueError(f"something other than a convolution reads the input: {[node.op_type for node in readers]}")
    for node in readers:
        kernel = constants[node.input[1]]
        kernel.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(kernel)[:, ::-1].copy(), kernel.name))


def _take_pixels(graph, spec):
    """Puts what makes pixels the former input before the graph: as float32, channels first, scaled to -1 to 1."""
    scaled = graph.input[0].name
    scale = numpy_helper.from_array(numpy.float32(1 / MIDDLE), "pixels.scale")
    one = numpy_helper.from_array(numpy.float32(1), "pixels.one")
    graph.initializer.extend([scale, one])
    before = [
        helper.make_node("Transpose", [spec["name"]], ["pixels.nchw"], "pixels.nchw", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["pixels.nchw"], ["pixels.float"], "pixels.float", to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels.float", scale.name], ["pixels.scaled"], "pixels.scaled"),
        helper.make_node("Sub", ["pixels.scaled", one.name], [scaled], "pixels.shifted"),
    ]
    nodes = [*before, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.input[:]
    graph.input.append(_value_info(spec))


def _keep_the_likeliest(graph, classes, probabilities):
    """Replaces the probabilities of all classes by the likeliest class, and its probability."""
    (output,) = (value.name for value in graph.output)
    graph.node.extend(
        [
            helper.make_node("ArgMax", [output], [classes["name"]], classes["name"], axis=2, keepdims=0),
            helper.make_node(
                "ReduceMax", [output], [probabilities["name"]], probabilities["name"], axes=[2], keepdims=0
            ),
        ]
    )
    del graph.output[:]
    graph.output.extend([_value_info(classes), _value_info(probabilities)])


def _rename_output(graph, spec):
    (output,) = (value.name for value in graph.output)
    for node in graph.node:
        node.output[:] = [spec["name"] if name == output else name for name in node.output]
    del graph.output[:]
    graph.output.append(_value_info(spec))


def _value_info(spec):
    types = {"U8": onnx.TensorProto.UINT8, "FP32": onnx.TensorProto.FLOAT, "I64": onnx.TensorProto.INT64}
    # An axis without a fixed size gets a name, which says that it may differ from the others.
    shape = [f"{spec['name']}.{axis}" if size == -1 else size for axis, size in enumerate(spec["shape"])]
    return helper.make_tensor_value_info(spec["name"], types[spec["dtype"]], shape)
