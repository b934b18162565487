"""Makes a graph quicker without changing what it computes, up to rounding.

Numbers by which all of a tensor is multiplied, or which are added to all of it, become a part of the convolution before
or behind it; so a pass over the tensor is saved for each. Hard swish, x * clip(x + 3, 0, 6) / 6, which exporters write
as four operators, becomes two. ONNX Runtime does neither by itself.
"""

import collections

import numpy
from onnx import helper, numpy_helper


def fold(graph):
    folding = _Folding(graph)
    folding.hard_swish()
    folding.behind_convolutions()
    folding.before_convolutions()
    folding.write(graph)


class _Folding:
    def __init__(self, graph):
        self.constants = {node.output[0]: _value(node) for node in graph.node if node.op_type == "Constant"}
        self.nodes = [node for node in graph.node if node.op_type != "Constant"]
        self.outputs = {value.name for value in graph.output}

    def hard_swish(self):
        for divided in [node for node in self.nodes if node.op_type == "Div" and self.scalar(node.input[1]) == 6]:
            multiplied = self.producer(divided.input[0], "Mul")
            clipped = multiplied and next(
                filter(None, (self.producer(name, "Clip") for name in multiplied.input)), None
            )
            added = clipped and self.producer(clipped.input[0], "Add")
            if not added or [self.scalar(name) for name in (added.input[1], *clipped.input[1:])] != [3, 0, 6]:
                continue
            x, gate, output = added.input[0], clipped.output[0], divided.output[0]
            if sorted(multiplied.input) != sorted([x, gate]):
                continue
            at = self.nodes.index(added)
            self.nodes[at] = helper.make_node("HardSigmoid", [x], [gate], gate, alpha=1 / 6, beta=0.5)
            self.remove(clipped)
            self.remove(divided)
            multiplied.output[0] = output

    def behind_convolutions(self):
        """Folds what follows a convolution, and nothing else reads."""
        for node in [node for node in self.nodes if node.op_type == "Conv"]:
            while following := self.only_reader(node.output[0]):
                by = self.by_scalar(following)
                if not by or following.output[0] in self.outputs:
                    break
                weight, bias = self.weights(node)
                if following.op_type == "Mul":
                    self.set_weights(node, weight * by[1], bias * by[1])
                else:
                    self.set_weights(node, weight, bias + by[1])
                node.output[0] = following.output[0]
                self.remove(following)

    def before_convolutions(self):
        """Folds a factor, and a summand behind it, where only convolutions read the result.

        With padding the summand stays, since it is not added to the zeros beyond the edge.
        """
        for node in [node for node in self.nodes if node.op_type == "Mul"]:
            factor, added = self.by_scalar(node), self.only_reader(node.output[0])
            summand = added and added.op_type == "Add" and self.by_scalar(added)
            if not factor or not factor[1] or not summand:
                continue
            readers = self.readers(added.output[0])
            if added.output[0] in self.outputs or not all(self.reads_as_data(conv, added) for conv in readers):
                continue
            padded = any(_is_padded(conv) for conv in readers)
            for conv in readers:
                weight, bias = self.weights(conv)
                whole = 0 if padded else weight.sum(axis=(1, 2, 3)) * summand[1]
                self.set_weights(conv, weight * factor[1], bias + whole)
            if padded:
                added.input[:] = [factor[0], self.constant(f"{added.output[0]}.summand", summand[1] / factor[1])]
            else:
                for conv in readers:
                    conv.input[0] = factor[0]
                self.remove(added)
            self.remove(node)

    def by_scalar(self, node):
        """Of a product or sum of a tensor and a number: the tensor's name and the number."""
        if node.op_type in {"Mul", "Add"}:
            for tensor, other in (node.input, reversed(node.input)):
                if (scalar := self.scalar(other)) is not None:
                    return tensor, scalar
        return None

    def scalar(self, name):
        value = self.constants.get(name)
        return float(value.item()) if value is not None and value.size == 1 else None

    def constant(self, name, value):
        self.constants[name] = numpy.asarray(value, dtype=numpy.float32)
        return name

    def weights(self, conv):
        weight = self.constants[conv.input[1]].astype(numpy.float64)
        bias = self.constants[conv.input[2]].astype(numpy.float64) if len(conv.input) > 2 else numpy.zeros(len(weight))
        return weight, bias

    def set_weights(self, conv, weight, bias):
        name = conv.output[0]
        conv.input[1:] = [self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", bias)]

    def producer(self, name, operator):
        return next((node for node in self.nodes if node.op_type == operator and name in node.output), None)

    def readers(self, name):
        return [node for node in self.nodes if name in node.input]

    def only_reader(self, name):
        readers = self.readers(name)
        return readers[0] if len(readers) == 1 else None

    def reads_as_data(self, node, producer):
        return node.op_type == "Conv" and producer.output[0] == node.input[0] and node.input[1] in self.constants

    def remove(self, node):
        self.nodes = [other for other in self.nodes if other is not node]

    def write(self, graph):
        used = collections.Counter(name for node in self.nodes for name in node.input)
        nodes = [type(node).FromString(node.SerializeToString()) for node in self.nodes]
        del graph.node[:]
        graph.node.extend(nodes)
        constants = {name: value for name, value in self.constants.items() if used[name]}
        graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())


def _value(node):
    return numpy_helper.to_array(node.attribute[0].t)


def _is_padded(conv):
    return any(_attribute(conv, "pads", [0])) or _attribute(conv, "auto_pad", b"NOTSET") not in {b"NOTSET", b"VALID"}


def _attribute(node, name, default):
    return next((helper.get_attribute_value(found) for found in node.attribute if found.name == name), default)
