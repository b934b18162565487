"""Makes a fully connected network of random weights from the layer sizes and the seed of a build.toml.

It is for benchmarks. Recommenders and rankers end in such layers, which do few operations per weight, so that a single
request is bound by memory bandwidth.
"""

import itertools
import pathlib
import tomllib

import numpy

from .graph import Graph


def convert(recipe, card):
    recipe = tomllib.loads(pathlib.Path(recipe).read_bytes().decode())["synthetic"]
    # The legacy generator, because numpy guarantees that its sequence never changes.
    random = numpy.random.RandomState(recipe["seed"])
    graph = Graph(card)
    x = graph.input
    for n, (rows, columns) in enumerate(itertools.pairwise(recipe["layers"])):
        # He initialization: this bound keeps the variance of the activations. Each operation rounds separately, so that
        # the bytes are the same on processors with fused multiply-add.
        bound = (6 / rows) ** 0.5
        weight = graph.constant(f"{n}.weight", (random.random_sample((columns, rows)) * 2 - 1) * bound)
        bias = graph.constant(f"{n}.bias", (random.random_sample(columns) * 2 - 1) * bound)
        if n:
            x = graph.node("Relu", [x], f"{n}.relu")
        x = graph.node("Gemm", [x, weight, bias], f"{n}", transB=1)
    return graph.model(x)
