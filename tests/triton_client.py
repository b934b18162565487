#!/usr/bin/env python3
"""Tests a server with Triton's own client: triton_client.py ADDRESS MODEL=DATATYPE..., where each model is an echo."""

import sys

import numpy as np
import tritonclient.http as http
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

# Data types without a representation in JSON.
HALVES = ("FP16", "BF16")


def tensor(datatype, rows, *, binary=True):
    sent = np.array(rows, dtype=triton_to_np_dtype(datatype))
    given = http.InferInput("x", list(sent.shape), datatype)
    given.set_data_from_numpy(sent, binary_data=binary)
    return sent, given


# The largest number that all types of numbers have.
MOST = 127


def echo(client, model, datatype, binary):
    rows = [[b"", b"a", "é\0".encode(), b"NaN"]] if datatype == "BYTES" else [[1, 0, 3, MOST]]
    sent, given = tensor(datatype, rows, binary=binary)
    outputs = [http.InferRequestedOutput("y", binary_data=binary)]
    result = client.infer(model, [given], outputs=outputs, request_id="7", model_version="1")
    assert result.get_response()["id"] == "7", result.get_response()
    for response in (result, client.infer(model, [given])):
        got = response.as_numpy("y")
        if datatype == "BYTES" and isinstance(got.flat[0], str):
            # The client leaves strings of JSON as they are.
            got = np.frompyfunc(str.encode, 1, 1)(got)
        assert got.dtype == sent.dtype and np.array_equal(got, sent), (datatype, binary, got)


def classify(client, model, datatype, binary):
    _, given = tensor(datatype, [[0, 2, 3, MOST], [8, 7, 6, 5]])
    outputs = [http.InferRequestedOutput("y", binary_data=binary, class_count=2)]
    got = client.infer(model, [given], outputs=outputs).as_numpy("y")
    words = [word.decode() if isinstance(word, bytes) else word for word in got.flatten()]
    expected = ["1:1", "1:2", "1:0", "1:1"] if datatype == "BOOL" else [f"{MOST}:3", "3:2", "8:0", "7:1"]
    assert list(got.shape) == [2, 2] and words == expected, (datatype, binary, got)


def check_statistics(client, model, calls, classifications):
    for statistics in (
        client.get_inference_statistics(model, "1"),
        client.get_inference_statistics(model),
        {"model_stats": [one for one in client.get_inference_statistics()["model_stats"] if one["name"] == model]},
    ):
        (one,) = statistics["model_stats"]
        assert one["version"] == "1" and one["inference_stats"]["success"]["count"] == calls, one
        assert one["inference_stats"]["fail"]["count"] == 0 and one["last_inference"] > 0, one
        assert one["execution_count"] == sum(size["compute_infer"]["count"] for size in one["batch_stats"]), one
        sizes = {size["batch_size"]: size["compute_infer"]["count"] for size in one["batch_stats"]}
        assert one["inference_count"] == sum(size * times for size, times in sizes.items()), one
        assert sizes == {1: calls - classifications} | ({2: classifications} if classifications else {}), one


def assert_refused(call, status, words):
    try:
        call()
    except InferenceServerException as error:
        assert error.status() == status and words in error.message(), error
    else:
        raise AssertionError(f"no error with {words}")


def main():
    client = http.InferenceServerClient(sys.argv[1])
    models = dict(argument.split("=") for argument in sys.argv[2:])
    assert client.is_server_live() and client.is_server_ready()
    extensions = client.get_server_metadata()["extensions"]
    assert {"binary_tensor_data", "classification", "statistics"} <= set(extensions), extensions
    index = client.get_model_repository_index()
    assert [entry["name"] for entry in index] == sorted(models), index
    for model, datatype in models.items():
        assert client.is_model_ready(model) and client.is_model_ready(model, "1")
        metadata = client.get_model_metadata(model, "1")
        assert metadata["inputs"] == [{"name": "x", "datatype": datatype, "shape": [-1, 4]}], metadata
        assert metadata["versions"] == ["1"], metadata
        forms = (True,) if datatype in HALVES else (False, True)
        for binary in forms:
            echo(client, model, datatype, binary)
        ranked = () if datatype == "BYTES" else (False, True)
        for binary in ranked:
            classify(client, model, datatype, binary)
        check_statistics(client, model, 2 * len(forms) + len(ranked), len(ranked))
    some = next(iter(models))
    assert not client.is_model_ready("nobody") and not client.is_model_ready(some, "2")
    _, wrong = tensor("FP32", [[1, 2, 3]])
    assert_refused(lambda: client.infer(some, [wrong]), "400", "'x'")
    assert_refused(lambda: client.get_model_metadata("nobody"), "404", "No model 'nobody'")
    assert_refused(lambda: client.get_inference_statistics("nobody"), "404", "No model 'nobody'")
    print("ok")


main()
