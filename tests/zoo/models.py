"""Makes the models of the zoo with the exporters that people use: `python3 models.py FOLDER`.

Each model is a folder with `model.onnx` and `inputs.npz`, three rows for each input. Data and training are seeded.
"""

import pathlib
import sys

import lightgbm
import numpy as np
import onnx
import onnxmltools
import xgboost
from onnx import TensorProto, helper, numpy_helper
from onnxconverter_common import float16
from onnxmltools.convert.common.data_types import FloatTensorType
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_dynamic, quantize_static
from skl2onnx import to_onnx
from skl2onnx.common.data_types import StringTensorType
from sklearn import (
    cluster,
    datasets,
    decomposition,
    ensemble,
    feature_extraction,
    linear_model,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
RANDOM = np.random.default_rng(14)
IRIS = datasets.load_iris()
X = IRIS.data.astype(np.float32)
TARGET = X[:, 0] * 2 + X[:, 1]
ROWS = X[[0, 60, 120]]
OPSETS = {"": 18, "ai.onnx.ml": 3}
TEXTS = np.array([["the cat sat"], ["a dog ran far"], ["the dog sat"]], dtype=object)


def save(folder, name, model, **inputs):
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    onnx.save(model, place / "model.onnx")
    np.savez(place / "inputs.npz", **inputs)


def scikit_learn(folder):
    """skl2onnx: classifiers with and without ZipMap, regressors, clusters, pipelines with strings and texts."""
    classifiers = {
        "logistic": linear_model.LogisticRegression(max_iter=500),
        "forest": ensemble.RandomForestClassifier(10, random_state=0),
        "boosting": ensemble.GradientBoostingClassifier(n_estimators=10, random_state=0),
        "svc": svm.SVC(probability=True, random_state=0),
        "knn": neighbors.KNeighborsClassifier(3),
        "tree": tree.DecisionTreeClassifier(random_state=0),
        "bayes": naive_bayes.GaussianNB(),
        "mlp": neural_network.MLPClassifier((8,), max_iter=50, random_state=0),
        "scaled": pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()),
    }
    for name, classifier in classifiers.items():
        for suffix, zipmap in [("", True), ("-tensors", False)]:
            fitted = classifier.fit(X, IRIS.target)
            exported = to_onnx(fitted, X[:1], options={id(fitted): {"zipmap": zipmap}}, target_opset=OPSETS)
            save(folder, f"skl-{name}{suffix}", exported, X=ROWS)
    named = linear_model.LogisticRegression(max_iter=500).fit(X, IRIS.target_names[IRIS.target])
    save(folder, "skl-string-labels", to_onnx(named, X[:1], target_opset=OPSETS), X=ROWS)
    others = {
        "linear": linear_model.LinearRegression(),
        "ridge": linear_model.Ridge(),
        "svr": svm.SVR(),
        "forest-regressor": ensemble.RandomForestRegressor(10, random_state=0),
        "boosting-regressor": ensemble.GradientBoostingRegressor(n_estimators=10, random_state=0),
        "knn-regressor": neighbors.KNeighborsRegressor(3),
        "kmeans": cluster.KMeans(3, random_state=0, n_init=1),
        "isolation-forest": ensemble.IsolationForest(n_estimators=10, random_state=0),
        "pca": decomposition.PCA(2),
        "min-max": preprocessing.MinMaxScaler(),
    }
    for name, model in others.items():
        save(folder, f"skl-{name}", to_onnx(model.fit(X, TARGET), X[:1], target_opset=OPSETS), X=ROWS)
    text = pipeline.make_pipeline(feature_extraction.text.TfidfVectorizer(), linear_model.LogisticRegression())
    text.fit(TEXTS.ravel(), [0, 1, 0])
    exported = to_onnx(text, initial_types=[("text", StringTensorType([None, 1]))], target_opset=OPSETS)
    save(folder, "skl-tfidf", exported, text=TEXTS.astype("S"))
    encoder = preprocessing.OneHotEncoder().fit(TEXTS)
    exported = to_onnx(encoder, initial_types=[("text", StringTensorType([None, 1]))], target_opset=OPSETS)
    save(folder, "skl-one-hot", exported, text=TEXTS.astype("S"))


def boosted_trees(folder):
    """onnxmltools: LightGBM and XGBoost."""
    types = [("x", FloatTensorType([None, 4]))]
    for name, model in {
        "lightgbm-classifier": lightgbm.LGBMClassifier(n_estimators=5, verbose=-1),
        "lightgbm-regressor": lightgbm.LGBMRegressor(n_estimators=5, verbose=-1),
    }.items():
        fitted = model.fit(X, IRIS.target if "classifier" in name else TARGET)
        save(folder, name, onnxmltools.convert_lightgbm(fitted, initial_types=types, target_opset=15), x=ROWS)
    for name, model in {
        "xgboost-classifier": xgboost.XGBClassifier(n_estimators=5),
        "xgboost-regressor": xgboost.XGBRegressor(n_estimators=5),
    }.items():
        fitted = model.fit(X, IRIS.target if "classifier" in name else TARGET)
        save(folder, name, onnxmltools.convert_xgboost(fitted, initial_types=types, target_opset=15), x=ROWS)


def value(name, element, shape):
    return helper.make_tensor_value_info(name, element, shape)


def weight(name, *shape):
    return numpy_helper.from_array(RANDOM.standard_normal(shape).astype(np.float32), name)


def network(opset=17):
    """A convolution, two layers and a softmax, in operators that every opset has."""
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["features"], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["features"], ["active"]),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["y"], axis=1),
    ]
    weights = [weight("kernel", 4, 3, 3, 3), weight("w", 4, 5), weight("b", 5)]
    ends = [value("x", FLOAT, ["n", 3, 8, 8])], [value("y", FLOAT, ["n", 5])]
    graph = helper.make_graph(nodes, "network", *ends, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=min(10, opset))


def operators(folder):
    """onnx.helper: a network of each opset, dynamic shapes, scalars, external data, and what a newer engine knows."""
    pictures = RANDOM.standard_normal((3, 3, 8, 8)).astype(np.float32)
    for opset in range(7, 24):
        save(folder, f"opset-{opset}", network(opset), x=pictures)
    save(
        folder, "opset-99", helper.make_model(network().graph, opset_imports=[helper.make_opsetid("", 99)]), x=pictures
    )
    rows = RANDOM.standard_normal((3, 6)).astype(np.float32)
    one = numpy_helper.from_array(np.array([1], np.int64), "one")
    two = numpy_helper.from_array(np.array([2], np.int64), "two")
    for name, node, outputs, weights in [
        ("top-k", helper.make_node("TopK", ["x", "two"], ["y", "i"]), [("y", FLOAT, 2), ("i", INT64, 2)], [two]),
        ("reduce", helper.make_node("ReduceSum", ["x", "one"], ["y"], keepdims=0), [("y", FLOAT, 1)], [one]),
        ("transpose", helper.make_node("Identity", ["x"], ["y"]), [("y", FLOAT, 2)], []),
        ("non-zero", helper.make_node("NonZero", ["x"], ["y"]), [("y", INT64, 2)], []),
        ("is-nan", helper.make_node("IsNaN", ["x"], ["y"]), [("y", BOOL, 2)], []),
        ("sequence", helper.make_node("SplitToSequence", ["x"], ["y"]), [], []),
    ]:
        made = [value(output, element, [f"d{axis}" for axis in range(rank)]) for output, element, rank in outputs]
        made = made or [helper.make_tensor_sequence_value_info("y", FLOAT, None)]
        graph = helper.make_graph([node], name, [value("x", FLOAT, ["n", "m"])], made, weights)
        save(
            folder,
            f"operator-{name}",
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
            x=rows,
        )
    place = folder / "external-data"
    save(folder, "external-data", network(), x=pictures)
    model = onnx.load(place / "model.onnx")
    onnx.save(model, place / "model.onnx", save_as_external_data=True, location="model.onnx.data", size_threshold=0)


class Pictures(CalibrationDataReader):
    """Calibrates a static quantization with a few random pictures."""

    def __init__(self):
        self.left = [RANDOM.standard_normal((1, 3, 8, 8)).astype(np.float32) for _ in range(4)]

    def get_next(self):
        return {"x": self.left.pop()} if self.left else None


def converted(folder):
    """float16, and the quantizations of ONNX Runtime."""
    pictures = RANDOM.standard_normal((3, 3, 8, 8)).astype(np.float32)
    save(folder, "float16", float16.convert_float_to_float16(network()), x=pictures.astype(np.float16))
    save(folder, "float16-inside", float16.convert_float_to_float16(network(), keep_io_types=True), x=pictures)
    save(folder, "quantized-source", network(), x=pictures)
    source = folder / "quantized-source/model.onnx"
    for name, quantize in {
        "quantized-dynamic": lambda to: quantize_dynamic(source, to),
        "quantized-qdq": lambda to: quantize_static(source, to, Pictures(), quant_format=QuantFormat.QDQ),
        "quantized-operators": lambda to: quantize_static(source, to, Pictures(), quant_format=QuantFormat.QOperator),
    }.items():
        (folder / name).mkdir(exist_ok=True)
        quantize(folder / name / "model.onnx")
        np.savez(folder / name / "inputs.npz", x=pictures)


def main():
    folder = pathlib.Path(sys.argv[1])
    for make in [scikit_learn, boosted_trees, operators, converted]:
        make(folder)


if __name__ == "__main__":
    main()
