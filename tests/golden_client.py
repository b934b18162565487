#!/usr/bin/env python3
"""Compares a server with what onnxruntime computed: golden_client.py ADDRESS, with the models of fixtures/tensors.

Each case goes through Triton's client in JSON and in binary. All bits must be equal, but those of a NaN in JSON.
"""

import base64
import json
import pathlib
import struct
import sys

import numpy as np
import tritonclient.http as http
from tritonclient.utils import triton_to_np_dtype

GOLDEN = pathlib.Path(__file__).parent / "fixtures" / "tensors" / "golden.json"


def unpacked(tensor):
    data = base64.b64decode(tensor["data"])
    if tensor["datatype"] != "BYTES":
        return np.frombuffer(data, triton_to_np_dtype(tensor["datatype"])).reshape(tensor["shape"])
    words = []
    while data:
        (length,) = struct.unpack_from("<I", data)
        words.append(data[4 : 4 + length])
        data = data[4 + length :]
    array = np.empty(len(words), object)
    array[:] = words
    return array.reshape(tensor["shape"])


def send(client, model, case, binary):
    """Infers in one of the two forms, but for halves, which have no form in JSON."""
    inputs = []
    for name, tensor in case["inputs"].items():
        given = http.InferInput(name, tensor["shape"], tensor["datatype"])
        given.set_data_from_numpy(unpacked(tensor), binary_data=binary or tensor["datatype"] == "FP16")
        inputs.append(given)
    outputs = [
        http.InferRequestedOutput(name, binary_data=binary or tensor["datatype"] == "FP16")
        for name, tensor in case["outputs"].items()
    ]
    return client.infer(model, inputs, outputs=outputs)


def same(got, expected, binary):
    if expected.dtype == object:
        words = [word if isinstance(word, bytes) else word.encode() for word in got.flat]
        return words == list(expected.flat)
    if binary or expected.dtype.kind != "f":
        return got.tobytes() == expected.tobytes()
    known = ~np.isnan(expected)
    return np.array_equal(np.isnan(got), ~known) and got[known].tobytes() == expected[known].tobytes()


def main():
    client = http.InferenceServerClient(sys.argv[1])
    compared = 0
    for model, cases in json.loads(GOLDEN.read_text()).items():
        for case in cases:
            for binary in (False, True):
                result = send(client, model, case, binary)
                for name, tensor in case["outputs"].items():
                    head, got, expected = result.get_output(name), result.as_numpy(name), unpacked(tensor)
                    told = head["datatype"], head["shape"]
                    assert told == (tensor["datatype"], tensor["shape"]), (model, name, head)
                    assert got.shape == expected.shape, (model, name, binary, got.shape)
                    assert same(got, expected, binary), (model, name, binary, got, expected)
                    compared += 1
    print(f"{compared} outputs are equal")


main()
