#!/usr/bin/env python3
"""Makes the small models and pictures that templates bring: `python3 make.py`.

It needs numpy, onnx, Pillow, scikit-learn and skl2onnx. What it makes is committed: a few hundred bytes each.
"""

import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FOLDER = pathlib.Path(__file__).parent
COLORS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "black": (0, 0, 0), "white": (1, 1, 1)}
WORDS = ["the", "a", "cat", "dog", "is", "on", "in", "mat", "house", "and", "##s", "run", "##ning", ".", ",", "?", "!"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def value(name, element, shape):
    return helper.make_tensor_value_info(name, element, shape)


def constant(name, values, dtype=np.float32):
    return numpy_helper.from_array(np.array(values, dtype), name)


def save(template, model):
    onnx.checker.check_model(model)
    folder = FOLDER / template / "model"
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")


def graph(nodes, inputs, outputs, weights):
    made = helper.make_graph(nodes, "example", inputs, outputs, weights)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def blank():
    """Computes 2 x + 1."""
    nodes = [helper.make_node("Mul", ["x", "two"], ["z"]), helper.make_node("Add", ["z", "one"], ["y"])]
    ends = [value("x", TensorProto.FLOAT, ["rows", 2])], [value("y", TensorProto.FLOAT, ["rows", 2])]
    save("blank", graph(nodes, *ends, [constant("two", 2), constant("one", 1)]))


def tabular():
    """Which iris it is, by scikit-learn."""
    iris = load_iris()
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    model.fit(iris.data.astype(np.float32), iris.target_names[iris.target])
    save("tabular", to_onnx(model, iris.data[:1].astype(np.float32), target_opset=17))


def classify():
    """Which color a picture has: that which is nearest to the mean of its pixels."""
    colors = np.array(list(COLORS.values()), np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"]),
    ]
    # -10 |mean - color|^2, but for what all colors have in common.
    weights = [constant("weights", 20 * colors.T), constant("bias", -10 * (colors**2).sum(axis=1))]
    ends = [value("image", TensorProto.FLOAT, ["n", 3, 32, 32])], [value("logits", TensorProto.FLOAT, ["n", 5])]
    save("classify", graph(nodes, *ends, weights))
    (FOLDER / "classify" / "model" / "labels.txt").write_text("\n".join(COLORS) + "\n")


def detect():
    """Where a picture of 64 x 64 is red and where it is blue, by windows of 32 x 32; the output is that of YOLO v8."""
    starts = [(x, y) for y in range(0, 33, 8) for x in range(0, 33, 8)]
    boxes = np.array([[x + 16, y + 16, 32, 32] for x, y in starts], np.float32).T[None]
    # Red is red without green and blue.
    kernel = np.array([[1, -1, -1], [-1, -1, 1]], np.float32)[:, :, None, None] * 20
    nodes = [
        helper.make_node("AveragePool", ["images"], ["mean"], kernel_shape=[32, 32], strides=[8, 8]),
        helper.make_node("Conv", ["mean", "kernel", "bias"], ["differences"]),
        helper.make_node("Sigmoid", ["differences"], ["sigmoid"]),
        helper.make_node("Reshape", ["sigmoid", "shape"], ["scores"]),
        helper.make_node("Concat", ["boxes", "scores"], ["output0"], axis=1),
    ]
    weights = [
        constant("kernel", kernel),
        constant("bias", [-17, -17]),
        constant("shape", [1, 2, len(starts)], np.int64),
        constant("boxes", boxes),
    ]
    ends = [value("images", TensorProto.FLOAT, [1, 3, 64, 64])], [value("output0", TensorProto.FLOAT, [1, 6, 25])]
    save("detect", graph(nodes, *ends, weights))
    (FOLDER / "detect" / "model" / "labels.txt").write_text("red\nblue\n")


def embed():
    """A vector for each word, and nothing of its neighbours."""
    vocabulary = SPECIAL + WORDS
    vectors = np.random.default_rng(7).normal(size=[len(vocabulary), 8]).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["vectors", "input_ids"], ["words"]),
        helper.make_node("Cast", ["attention_mask"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["numbers", "last"], ["mask"]),
        helper.make_node("Mul", ["words", "mask"], ["last_hidden_state"]),
    ]
    names = ["input_ids", "attention_mask"]
    inputs = [value(name, TensorProto.INT64, ["texts", "tokens"]) for name in names]
    outputs = [value("last_hidden_state", TensorProto.FLOAT, ["texts", "tokens", 8])]
    weights = [constant("vectors", vectors), constant("last", [-1], np.int64)]
    save("embed", graph(nodes, inputs, outputs, weights))
    (FOLDER / "embed" / "model" / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    means = []
    for text in ["the cat", "the dog is on the mat"]:
        ids = [vocabulary.index(word) for word in ["[CLS]", *text.split(), "[SEP]"]]
        mean = vectors[ids].mean(axis=0)
        means.append([round(float(number), 5) for number in mean / np.linalg.norm(mean)])
    print("the vectors that embed/any/tests/requests.toml.jinja expects:", means)


def pictures():
    tests = FOLDER / "classify" / "any" / "tests"
    Image.new("RGB", (48, 32), (220, 30, 20)).save(tests / "red.png", optimize=True)
    square = Image.new("RGB", (128, 128), (0, 0, 0))
    ImageDraw.Draw(square).rectangle((32, 32, 95, 95), fill=(255, 0, 0))
    square.save(FOLDER / "detect" / "any" / "tests" / "square.png", optimize=True)


for make in [blank, tabular, classify, detect, embed, pictures]:
    make()
