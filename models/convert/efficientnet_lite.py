"""Converts EfficientNet-Lite, in any variant, from a PyTorch state dict (made from TensorFlow's weights) to ONNX.

The weights determine channels, kernels and the number of blocks; the card determines the picture's size. What neither
contains is defined here: the stride of each stage, ReLU6, the epsilon of the batch normalization, and the asymmetric
"SAME" padding of TensorFlow.
"""

import re

import numpy

from . import torch_pickle
from .graph import Graph

# Stride of the first block of each stage. A new stage starts where the number of output channels changes.
STAGE_STRIDES = (1, 2, 2, 2, 1, 2, 1)
STEM_STRIDE = 2
BATCH_NORM_EPSILON = 1e-3


def convert(weights, card):
    tensors = torch_pickle.read(weights)
    net = _Net(card, tensors)
    x = net.conv("_conv_stem", "_bn0", net.graph.input, stride=STEM_STRIDE)
    channels = tensors["_conv_stem.weight"].shape[0]
    stage = -1
    for block in range(_count_blocks(tensors)):
        prefix = f"_blocks.{block}."
        outputs = tensors[prefix + "_project_conv.weight"].shape[0]
        opens_stage = outputs != channels
        stage += opens_stage
        y = x
        # The first block of the network has no expansion.
        if prefix + "_expand_conv.weight" in tensors:
            y = net.conv(prefix + "_expand_conv", prefix + "_bn0", y)
        stride = STAGE_STRIDES[stage] if opens_stage else 1
        y = net.conv(prefix + "_depthwise_conv", prefix + "_bn1", y, stride=stride, depthwise=True)
        y = net.conv(prefix + "_project_conv", prefix + "_bn2", y, relu6=False)
        x = y if opens_stage else net.graph.node("Add", [y, x], prefix + "add")
        channels = outputs
    if stage + 1 != len(STAGE_STRIDES):
        raise ValueError(f"{stage + 1} stages instead of {len(STAGE_STRIDES)}: not an EfficientNet-Lite")
    x = net.conv("_conv_head", "_bn1", x)
    model = net.graph.model(net.classifier("_fc", x))
    if net.unused:
        raise ValueError(f"weights that no layer asked for: {sorted(net.unused)}")
    return model


def _count_blocks(tensors):
    return 1 + max(int(found[1]) for name in tensors if (found := re.match(r"_blocks\.(\d+)\.", name)))


class _Net:
    """The graph under construction, with the (height, width) of its latest output, which the padding depends on."""

    def __init__(self, card, tensors):
        self.graph = Graph(card)
        self.tensors = tensors
        self.unused = {name for name in tensors if not name.endswith(".num_batches_tracked")}
        self.size = card["inputs"][0]["shape"][2:]

    def take(self, name):
        self.unused.discard(name)
        return self.tensors[name]

    def conv(self, name, norm, x, *, stride=1, depthwise=False, relu6=True):
        """Adds a convolution; the batch normalization that follows it is folded into its weights."""
        kernel = self.take(name + ".weight").astype(numpy.float64)
        gamma, beta, mean, variance = (
            self.take(f"{norm}.{part}").astype(numpy.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / numpy.sqrt(variance + BATCH_NORM_EPSILON)
        inputs = [
            x,
            self.graph.constant(name + ".weight", kernel * scale[:, None, None, None]),
            self.graph.constant(name + ".bias", beta - mean * scale),
        ]
        x = self.graph.node(
            "Conv",
            inputs,
            name,
            kernel_shape=kernel.shape[2:],
            strides=[stride, stride],
            pads=self.same_padding(kernel.shape[2:], stride),
            group=kernel.shape[0] if depthwise else 1,
        )
        if not relu6:
            return x
        bounds = [self.graph.constant("zero", 0.0), self.graph.constant("six", 6.0)]
        return self.graph.node("Clip", [x, *bounds], name + ".relu6")

    def same_padding(self, kernel, stride):
        """TensorFlow's "SAME": the least padding that gives ceil(size / stride); an odd pixel goes to the end."""
        outputs = [-(-size // stride) for size in self.size]
        pads = [max((o - 1) * stride + k - size, 0) for o, k, size in zip(outputs, kernel, self.size, strict=True)]
        self.size = outputs
        return [pad // 2 for pad in pads] + [pad - pad // 2 for pad in pads]

    def classifier(self, name, x):
        x = self.graph.node("GlobalAveragePool", [x], "pool")
        x = self.graph.node("Flatten", [x], "flatten")
        inputs = [x] + [self.graph.constant(f"{name}.{p}", self.take(f"{name}.{p}")) for p in ("weight", "bias")]
        return self.graph.node("Gemm", inputs, name, transB=1)
