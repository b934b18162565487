#!/usr/bin/env python3
"""Triton's own client against a server: triton_client.py ADDRESS MODEL=DATATYPE... echoes through each model."""

import sys

import numpy as np
import tritonclient.http as http
from tritonclient.utils import InferenceServerException, triton_to_np_dtype


def echo(client, model, datatype, binary):
    sent = np.array([[1, 2, 3, 250]], dtype=triton_to_np_dtype(datatype))
    tensor = http.InferInput("x", list(sent.shape), datatype)
    tensor.set_data_from_numpy(sent, binary_data=binary)
    outputs = [http.InferRequestedOutput("y", binary_data=binary)]
    result = client.infer(model, [tensor], outputs=outputs, request_id="7", model_version="1")
    assert result.get_response()["id"] == "7", result.get_response()
    for answer in (result, client.infer(model, [tensor])):
        got = answer.as_numpy("y")
        assert got.dtype == sent.dtype and np.array_equal(got, sent), (datatype, binary, got)


def refused(call, status, words):
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
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    index = client.get_model_repository_index()
    assert [entry["name"] for entry in index] == sorted(models), index
    for model, datatype in models.items():
        assert client.is_model_ready(model) and client.is_model_ready(model, "1")
        inputs = client.get_model_metadata(model)["inputs"]
        assert inputs == [{"name": "x", "datatype": datatype, "shape": [-1, 4]}], inputs
        for binary in (False, True):
            echo(client, model, datatype, binary)
    assert not client.is_model_ready("nobody")
    wrong = http.InferInput("x", [1, 3], "FP32")
    wrong.set_data_from_numpy(np.zeros((1, 3), dtype=np.float32))
    refused(lambda: client.infer(next(iter(models)), [wrong]), "400", "'x'")
    refused(lambda: client.get_model_metadata("nobody"), "404", "No model 'nobody'")
    print("ok")


main()
