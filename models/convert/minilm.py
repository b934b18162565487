"""Converts MiniLM, a small BERT, from safetensors to a graph that gives a vector for each text.

Texts come filled up to one length. The places that fill them up cost next to nothing: the graph cuts off what no text
of the batch needs, and computes everything but the attention itself on the tokens alone, one below the other. So texts
of any lengths can be stacked, where a usual export computes all places: for eight texts of 14 tokens that are filled up
to 64 it takes four times as long.

The weights determine channels and the number of layers. What they do not contain is defined here: the number of heads,
the epsilon of the normalizations, and that a text's vector is the mean of its tokens'.
"""

import functools

import numpy
from onnx import TensorProto
from safetensors.numpy import load_file

from .graph import Graph

HEADS = 12
EPSILON = 1e-12
# The first opset with Attention, and the IR version that belongs to it.
OPSET, IR_VERSION = 23, 11


def convert(weights, card):
    tensors = load_file(weights)
    net = _Net(card, tensors)
    x = net.embeddings(net.cut())
    for layer in range(_count_layers(tensors)):
        x = net.layer(x, f"encoder.layer.{layer}")
    model = net.graph.model(net.mean(x))
    if net.unused:
        raise ValueError(f"weights that no layer asked for: {sorted(net.unused)}")
    return model


def _count_layers(tensors):
    return 1 + max(int(name.split(".")[2]) for name in tensors if name.startswith("encoder.layer."))


class _Net:
    """The graph under construction.

    Texts have the shape [texts, places, channels] where they attend, and [tokens, channels] everywhere else.
    """

    def __init__(self, card, tensors):
        self.graph = Graph(card, opset=OPSET, ir_version=IR_VERSION)
        self.tensors = tensors
        # The pooler is for other tasks, and the positions are counted.
        self.unused = {name for name in tensors if not name.startswith("pooler.") and name != "embeddings.position_ids"}
        self.channels = tensors["embeddings.LayerNorm.weight"].shape[0]

    def take(self, name):
        self.unused.discard(name)
        return self.tensors[name]

    def constant(self, name):
        return self.graph.constant(name, self.take(name))

    def integers(self, *values):
        return self.graph.constant("_".join(map(str, ("integers", *values))), values, numpy.int64)

    def integers_of(self, *values):
        """A constant for each."""
        return [self.integers(value) for value in values]

    def node(self, operator, inputs, name, **attributes):
        return self.graph.node(operator, inputs, name, **attributes)

    def cut(self):
        """Cuts off the places that no text needs; finds the tokens among the others. Returns the tokens' ids."""
        ids, mask = (tensor["name"] for tensor in self.graph.card["inputs"])
        positions = len(self.tensors["embeddings.position_embeddings.weight"])
        counted = self.graph.constant("counted", numpy.arange(1, positions + 1), numpy.int64)
        first = self.graph.constant("first", numpy.eye(1, positions)[0], numpy.int64)
        length = self.node("Slice", [self.node("Shape", [mask], "given"), *self.integers_of(1, 2)], "given.length")
        counted = self.node("Slice", [counted, self.integers(0), length], "counted.cut")
        last = self.node("ReduceMax", [self.node("Mul", [mask, counted], "mask.counted")], "last", keepdims=0)
        # The first place is always a token, so that a text of no token at all is one, too.
        end = self.node("Reshape", [self.node("Max", [last, self.integers(1)], "end"), self.integers(1)], "end.flat")
        ids, mask = (self.node("Slice", [x, self.integers(0), end, self.integers(1)], f"{x}.cut") for x in (ids, mask))
        first = self.node("Slice", [first, self.integers(0), end], "first.cut")
        self.find(self.node("Max", [mask, first], "mask"))
        return ids

    def find(self, mask):
        """Finds the tokens of texts by their mask, [texts, places]."""
        self.mask, self.shape = mask, self.node("Shape", [mask], "shape")
        self.lengths = self.node("ReduceSum", [mask, self.integers(1)], "lengths", keepdims=1)
        flat = self.node("Reshape", [mask, self.integers(-1)], "mask.flat")
        # [1, tokens] is what NonZero gives, and [tokens, 1] what ScatterND takes.
        self.rows = self.node("Transpose", [self.node("NonZero", [flat], "places")], "rows", perm=[1, 0])
        self.places = self.node("Squeeze", [self.rows, self.integers(1)], "places.flat")
        bools = self.node("Cast", [mask], "mask.bool", to=TensorProto.BOOL)
        columns = self.node("Unsqueeze", [bools, self.integers(1, 2)], "mask.columns")
        places = self.node("Unsqueeze", [bools, self.integers(1, 3)], "mask.rows")
        places = self.node("Or", [places, self.node("Not", [places], "mask.others")], "mask.any")
        # ONNX Runtime 1.24 gives other results where it would have to repeat a mask's rows itself.
        self.attention_mask = self.node("And", [columns, places], "mask.attention")

    @functools.cache  # noqa: B019 - there is one net, and it lives as long as the converter
    def zeros(self, channels):
        """Zeros for all places, and the shape [texts, places, channels]."""
        count = self.node("Size", [self.mask], f"size.{channels}")
        count = self.node("Reshape", [count, self.integers(1)], f"count.{channels}")
        flat = self.node("Concat", [count, self.integers(channels)], f"flat.{channels}", axis=0)
        shape = self.node("Concat", [self.shape, self.integers(channels)], f"shape.{channels}", axis=0)
        return self.node("ConstantOfShape", [flat], f"zeros.{channels}"), shape

    def apart(self, x, name, channels):
        """[tokens, channels] to [texts, places, channels], with zeros where there is no token."""
        zeros, shape = self.zeros(channels)
        x = self.node("ScatterND", [zeros, self.rows, x], f"{name}.scattered")
        return self.node("Reshape", [x, shape], f"{name}.apart")

    def together(self, x, name):
        """[texts, places, channels] to [tokens, channels]."""
        x = self.node("Reshape", [x, self.integers(-1, self.channels)], f"{name}.flat")
        return self.node("Gather", [x, self.places], f"{name}.together", axis=0)

    def embeddings(self, ids):
        part = "embeddings.{}_embeddings.weight".format
        # Each text is one sentence, so the vector of the first sentence is a part of each position's.
        positions = self.take(part("position")) + self.take(part("token_type"))[0]
        place = self.graph.constant("positions", positions)
        end = self.node("Slice", [self.shape, *self.integers_of(1, 2)], "places.end")
        place = self.node("Slice", [place, self.integers(0), end, self.integers(0)], "embeddings.places")
        x = self.node("Gather", [self.constant(part("word")), ids], "embeddings.words")
        x = self.together(self.node("Add", [x, place], "embeddings.sum"), "embeddings")
        return self.normalize(x, "embeddings.LayerNorm")

    def layer(self, x, name):
        y = self.linear(self.attend(x, f"{name}.attention.self"), f"{name}.attention.output.dense")
        x = self.normalize(self.node("Add", [x, y], f"{name}.attention.add"), f"{name}.attention.output.LayerNorm")
        y = self.node("Gelu", [self.linear(x, f"{name}.intermediate.dense")], f"{name}.gelu")
        y = self.linear(y, f"{name}.output.dense")
        return self.normalize(self.node("Add", [x, y], f"{name}.add"), f"{name}.output.LayerNorm")

    def attend(self, x, name):
        """Attention, whose three linear parts are one."""
        parts = [f"{name}.{part}" for part in ("query", "key", "value")]
        weight = numpy.concatenate([self.take(f"{part}.weight").T for part in parts], axis=1)
        bias = numpy.concatenate([self.take(f"{part}.bias") for part in parts])
        x = self.node("MatMul", [x, self.graph.constant(f"{name}.weight", weight)], f"{name}.product")
        x = self.node("Add", [x, self.graph.constant(f"{name}.bias", bias)], f"{name}.linear")
        x = self.apart(x, name, 3 * self.channels)
        parts = self.graph.nodes_of("Split", [x], parts, axis=-1, num_outputs=3)
        heads = {"q_num_heads": HEADS, "kv_num_heads": HEADS}
        x = self.node("Attention", [*parts, self.attention_mask], f"{name}.attention", **heads)
        return self.together(x, name)

    def linear(self, x, name):
        weight = self.graph.constant(f"{name}.weight", self.take(f"{name}.weight").T)
        x = self.node("MatMul", [x, weight], f"{name}.product")
        return self.node("Add", [x, self.constant(f"{name}.bias")], name)

    def normalize(self, x, name):
        inputs = [x, self.constant(f"{name}.weight"), self.constant(f"{name}.bias")]
        return self.node("LayerNormalization", inputs, name, axis=-1, epsilon=EPSILON)

    def mean(self, x):
        """The mean of each text's tokens."""
        x = self.apart(x, "pooling", self.channels)
        total = self.node("ReduceSum", [x, self.integers(1)], "pooling.sum", keepdims=0)
        count = self.node("Cast", [self.lengths], "pooling.count", to=TensorProto.FLOAT)
        return self.node("Div", [total, count], "pooling.mean")
