"""Builds ONNX graphs from constants and nodes; the card names the model's inputs and its output."""

import numpy
from onnx import TensorProto, helper, numpy_helper

# Opset 13 is the newest that all relevant runtimes have supported for years; IR version 7 belongs to it.
OPSET = 13
IR_VERSION = 7


class Graph:
    """A graph under construction, of OPSET unless it needs operators of a newer one."""

    def __init__(self, card, *, opset=OPSET, ir_version=IR_VERSION):
        self.card, self.opset, self.ir_version = card, opset, ir_version
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
        return self.nodes_of(operator, inputs, [name], **attributes)[0]

    def nodes_of(self, operator, inputs, names, **attributes):
        """Adds one operator with several outputs and returns their names; the node has that of the first."""
        self.nodes.append(helper.make_node(operator, inputs, names, name=names[0], **attributes))
        return names

    def model(self, output):
        """Returns the finished model. `output`, the output of the last node, is renamed to the card's output."""
        self.nodes[-1].output[0] = self.card["outputs"][0]["name"]
        if self.nodes[-1].name != output:
            raise ValueError(f"{output} is not the last node")
        graph = helper.make_graph(
            self.nodes,
            self.card["name"],
            [_value_info(tensor) for tensor in self.card["inputs"]],
            [_value_info(self.card["outputs"][0])],
            list(self.constants.values()),
        )
        return helper.make_model(
            graph,
            producer_name="modelfn",
            ir_version=self.ir_version,
            opset_imports=[helper.make_opsetid("", self.opset)],
        )


# What the axes that may vary are called, from the first on.
AXES = ("N", "L")
TYPES = {"FP32": TensorProto.FLOAT, "I64": TensorProto.INT64}


def _value_info(tensor):
    if tensor["dtype"] not in TYPES:
        raise ValueError(
            f"{tensor['name']}: the converters write {' and '.join(TYPES)}, the card says {tensor['dtype']}"
        )
    shape = [AXES[axis] if size == -1 else size for axis, size in enumerate(tensor["shape"])]
    return helper.make_tensor_value_info(tensor["name"], TYPES[tensor["dtype"]], shape)
