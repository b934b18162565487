"""Builds ONNX graphs from constants and nodes; the card names the model's input and output."""

import numpy
from onnx import TensorProto, helper, numpy_helper

# Opset 13 is the newest that all relevant runtimes have supported for years; IR version 7 belongs to it.
OPSET = 13
IR_VERSION = 7


class Graph:
    def __init__(self, card):
        self.card = card
        self.input = card["inputs"][0]["name"]
        self.nodes = []
        self.constants = {}

    def constant(self, name, value, dtype=numpy.float32):
        """Adds a constant, unless one of this name exists, and returns the name."""
        if name not in self.constants:
            array = numpy.ascontiguousarray(value, dtype=dtype)
            self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def node(self, operator, inputs, name, **attributes):
        """Adds one operator and returns the name of its output, which is the node's."""
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def model(self, output):
        """Returns the finished model. `output`, the output of the last node, is renamed to the card's output."""
        self.nodes[-1].output[0] = self.card["outputs"][0]["name"]
        if self.nodes[-1].name != output:
            raise ValueError(f"{output} is not the last node")
        graph = helper.make_graph(
            self.nodes,
            self.card["name"],
            [_value_info(self.card["inputs"][0])],
            [_value_info(self.card["outputs"][0])],
            list(self.constants.values()),
        )
        return helper.make_model(
            graph,
            producer_name="modelfn",
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )


def _value_info(tensor):
    if tensor["dtype"] != "FP32":
        raise ValueError(f"{tensor['name']}: the converters write FP32 only, the card says {tensor['dtype']}")
    shape = ["N" if size == -1 else size for size in tensor["shape"]]
    return helper.make_tensor_value_info(tensor["name"], TensorProto.FLOAT, shape)
