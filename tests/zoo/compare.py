"""Serves the models of a folder and compares each response with ONNX Runtime's in Python.

    python3 compare.py MODELFN LIBRARY FOLDER [NAME...]

Without names all models are meant. Each is asked through `tritonclient`, in JSON and in binary, with one row and with
three. Prints a table; fails where an output differs or a refusal has no remedy.
"""

import json
import pathlib
import subprocess
import sys
import threading

import numpy as np
import onnxruntime
import tritonclient.http as triton

# What a refusal must say one of: each is a remedy.
REMEDIES = ["--onnxruntime", "zipmap", "export", "save the model", "copy", "card", "end the graph"]


def start(program, library, paths):
    """Starts the server; returns its process, its address and its log."""
    command = [program, "serve", *paths, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
    command += ["--log-format", "json", "--onnxruntime", library, "--model-load-timeout", "60s"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    log = []
    for line in process.stderr:
        log.append(line)
        entry = json.loads(line) if line.startswith("{") else {}
        if "address" in entry and "admin" in entry:
            threading.Thread(target=lambda: log.extend(process.stderr), daemon=True).start()
            return process, entry["address"], log
    raise SystemExit("the server did not start:\n" + "".join(log))


def ask(client, name, inputs, *, binary):
    sent = []
    for key, array in inputs.items():
        kind = "BYTES" if array.dtype.kind in "OS" else triton.np_to_triton_dtype(array.dtype)
        tensor = triton.InferInput(key, array.shape, kind)
        tensor.set_data_from_numpy(array.astype(object) if kind == "BYTES" else array, binary_data=binary)
        sent.append(tensor)
    names = [output["name"] for output in client.get_model_metadata(name)["outputs"]]
    wanted = [triton.InferRequestedOutput(output, binary_data=binary) for output in names]
    result = client.infer(name, sent, outputs=wanted)
    return {output: result.as_numpy(output) for output in names}


def expected(session, inputs):
    """What ONNX Runtime answers. Lists of maps become arrays in the order of their keys."""
    feed = {
        key: array.astype(str).astype(object) if array.dtype.kind == "S" else array for key, array in inputs.items()
    }
    outputs = {}
    for output, got in zip(session.get_outputs(), session.run(None, feed), strict=True):
        is_maps = isinstance(got, list) and got and isinstance(got[0], dict)
        outputs[output.name] = np.array([list(row.values()) for row in got], np.float32) if is_maps else got
    return outputs


def runs_in_python(folder):
    try:
        onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    except Exception:
        return False
    return True


def differs(name, output, got, want):
    if isinstance(want, list):
        return f"{name}: {output} is no tensor, and was served"
    if want.dtype.kind in "OU":
        got, want = got.astype("U"), want.astype("U")
    equal = got.shape == want.shape and np.array_equal(got, want, equal_nan=want.dtype.kind == "f")
    return None if equal else f"{name}: {output} differs: {got.ravel()[:4]} instead of {want.ravel()[:4]}"


def compare(client, folder):
    """Compares one model: the differences, and how many responses were equal."""
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    with np.load(folder / "inputs.npz") as file:
        inputs = dict(file)
    problems, equal = [], 0
    for rows in (1, 3):
        batch = {name: array[:rows] for name, array in inputs.items()}
        want = expected(session, batch)
        for binary in (True, False):
            # Halves have no JSON in the protocol.
            if not binary and any(array.dtype == np.float16 for array in [*batch.values(), *want.values()]):
                continue
            got = ask(client, folder.name, batch, binary=binary)
            found = [differs(folder.name, name, array, want[name]) for name, array in got.items()]
            problems += filter(None, found)
            equal += not any(found)
    return problems, equal


def main():
    program, library, folder, *names = sys.argv[1:]
    models = [pathlib.Path(folder, name) for name in names]
    process, address, log = start(program, library, models or [folder])
    problems, served = [], 0
    try:
        client = triton.InferenceServerClient(address, network_timeout=60)
        for model in models or sorted(file.parent for file in pathlib.Path(folder).glob("*/inputs.npz")):
            if client.is_model_ready(model.name):
                try:
                    found, equal = compare(client, model)
                except Exception as error:
                    found, equal = [f"{model.name}: {error}"], 0
                problems += found
                served += 1
                print(f"{model.name:28} {'DIFFERS: ' + found[0] if found else f'equal in {equal} responses'}")
                continue
            line = next((line for line in log if f"left out: model '{model.name}'" in line), "")
            reason = json.loads(line)["message"] if line else "nothing is said of it"
            print(f"{model.name:28} refused: {reason}")
            if not any(remedy in reason for remedy in REMEDIES) and runs_in_python(model):
                problems.append(f"{model.name}: refused without a remedy: {reason}")
    finally:
        process.terminate()
        process.wait()
    print(f"{served} served, {len(problems)} problems")
    if problems:
        raise SystemExit("\n".join(problems))


if __name__ == "__main__":
    main()
