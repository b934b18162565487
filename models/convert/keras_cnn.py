"""Converts a Keras CNN (a `Sequential` in an .h5 file) to ONNX, layer by layer as its configuration describes.

Keras computes in NHWC and ONNX in NCHW, so the picture is transposed once at the start and once before it is
flattened. A layer or a setting that is not supported is an error.
"""

import json

import h5py

from .graph import Graph


def convert(weights, card):
    with h5py.File(weights) as file:
        config = json.loads(file.attrs["model_config"])
        graph = Graph(card)
        x = graph.node("Transpose", [graph.input], "to_nchw", perm=[0, 3, 1, 2])
        for layer in config["config"]["layers"]:
            kind, settings = layer["class_name"], layer["config"]
            if kind in ("InputLayer", "Dropout"):
                continue
            if kind not in _LAYERS:
                raise ValueError(f"layer {settings['name']} is a {kind}, which this converter does not know")
            x = _LAYERS[kind](graph, x, settings, file["model_weights"].get(settings["name"]))
    return graph.model(x)


def _conv(graph, x, settings, weights):
    _expect(settings, padding="valid", data_format="channels_last", dilation_rate=[1, 1], groups=1, use_bias=True)
    name, kernel = settings["name"], _weight(weights, settings, "kernel")
    inputs = [
        x,
        graph.constant(name + ".kernel", kernel.transpose(3, 2, 0, 1)),
        graph.constant(name + ".bias", _weight(weights, settings, "bias")),
    ]
    x = graph.node("Conv", inputs, name, kernel_shape=settings["kernel_size"], strides=settings["strides"])
    return _activation(graph, x, settings)


def _batch_norm(graph, x, settings, weights):
    # It remains a layer of its own: it follows a ReLU, so it can't be folded into a convolution.
    _expect(settings, axis=[3], center=True, scale=True)
    name = settings["name"]
    parts = ("gamma", "beta", "moving_mean", "moving_variance")
    inputs = [x] + [graph.constant(f"{name}.{part}", _weight(weights, settings, part)) for part in parts]
    return graph.node("BatchNormalization", inputs, name, epsilon=settings["epsilon"])


def _max_pool(graph, x, settings, _weights):
    _expect(settings, padding="valid", data_format="channels_last")
    size, strides = settings["pool_size"], settings["strides"]
    return graph.node("MaxPool", [x], settings["name"], kernel_shape=size, strides=strides)


def _flatten(graph, x, settings, _weights):
    x = graph.node("Transpose", [x], settings["name"] + ".to_nhwc", perm=[0, 2, 3, 1])
    return graph.node("Flatten", [x], settings["name"])


def _dense(graph, x, settings, weights):
    _expect(settings, use_bias=True)
    name = settings["name"]
    inputs = [x] + [graph.constant(f"{name}.{p}", _weight(weights, settings, p)) for p in ("kernel", "bias")]
    return _activation(graph, graph.node("Gemm", inputs, name), settings)


_LAYERS = {
    "Conv2D": _conv,
    "BatchNormalization": _batch_norm,
    "MaxPooling2D": _max_pool,
    "Flatten": _flatten,
    "Dense": _dense,
}


def _activation(graph, x, settings):
    if settings["activation"] == "linear":
        return x
    _expect(settings, activation="relu")
    return graph.node("Relu", [x], settings["name"] + ".relu")


def _weight(weights, settings, part):
    return weights[f"{settings['name']}/{part}:0"][()]


def _expect(settings, **wanted):
    for key, value in wanted.items():
        if settings[key] != value:
            raise ValueError(f"layer {settings['name']}: {key} = {settings[key]!r}; only {value!r} is handled")
