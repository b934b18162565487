"""A build.toml with layers and a seed -> a fully connected network of random weights, for measuring.

Recommenders and rankers end in such layers: few sums for each weight, so that one request waits for memory.
"""

import pathlib
import tomllib

import numpy

from .graph import Graph


def convert(recipe, card):
    recipe = tomllib.loads(pathlib.Path(recipe).read_bytes().decode())["synthetic"]
    # The legacy generator, since numpy promises that its numbers stay.
    random = numpy.random.RandomState(recipe["seed"])
    graph = Graph(card)
    x = graph.input
    for n, (rows, columns) in enumerate(zip(recipe["layers"], recipe["layers"][1:])):
        # Within the bound that keeps the variance of activations (He). One rounding at a time, so that the bytes
        # are the same where a processor would fuse them.
        bound = (6 / rows) ** 0.5
        weight = graph.constant(f"{n}.weight", (random.random_sample((columns, rows)) * 2 - 1) * bound)
        bias = graph.constant(f"{n}.bias", (random.random_sample(columns) * 2 - 1) * bound)
        if n:
            x = graph.node("Relu", [x], f"{n}.relu")
        x = graph.node("Gemm", [x, weight, bias], f"{n}", transB=1)
    return graph.model(x)
