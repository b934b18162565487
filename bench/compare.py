"""Compares pairs of models through /v2: dynamic batching on and off, float and int8."""

import dataclasses
import json
import math
import random
import statistics
import struct
import tomllib

from system import ROOT, SCRATCH, app, folder, load, server, variant

# For each model the `max_batch_size` of its card.
STACKED = {"tiny": 16, "dense": 16, "cifar10": 8, "lite0": 8}
MANY = 32


def inference_requests(model, count):
    """Options of load(): `count` bodies with random values for a model, as binary tensors, and their headers."""
    spec = tomllib.loads((folder(model) / "model.toml").read_text())["inputs"][0]
    shape, dtype = [1, *spec["shape"][1:]], {"U8": "UINT8", "FP32": "FP32"}[spec["dtype"]]
    count_of_values, random_values = math.prod(shape), random.Random(7)  # noqa: S311 - reproducible values, no secrets
    size = count_of_values * (1 if dtype == "UINT8" else 4)
    head = json.dumps(
        {
            "inputs": [
                {"name": spec["name"], "datatype": dtype, "shape": shape, "parameters": {"binary_data_size": size}}
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    paths = []
    for n in range(count):
        path = SCRATCH / f"{model}-{n}"
        if dtype == "UINT8":
            values = random_values.randbytes(size)
        else:
            values = struct.pack(
                f"<{count_of_values}f", *(random_values.uniform(-1, 1) for _ in range(count_of_values))
            )
        path.write_bytes(head + values)
        paths.append(path)
    return {"bodies": paths, "headers": [f"inference-header-content-length: {len(head)}"]}


def stacking(_quick, turns=3, seconds=4):
    """Measures dynamic batching where it can't help and where it can.

    A batch is summed in another order, so the last bits of a response may differ; hence the tolerance.
    """
    result = {}
    for model, largest in STACKED.items():
        names = [
            variant(model, f"{model}-off", ""),
            variant(model, f"{model}-on", f"dynamic_batching = true\nmax_batch_size = {largest}\n"),
        ]
        requests = inference_requests(model, 4) | {"tolerance": 1e-3}
        found = versus(dict.fromkeys(names, requests), turns, seconds)
        for name in names:
            result[f"{name}: requests/s at {MANY}"] = round(found.rate[name])
            result[f"{name}: p99 at {MANY}, ms"] = round(found.p99_ms[name], 1)
            result[f"{name}: CPU for a request, ms"] = round(found.cpu_ms[name], 2)
            result[f"{name}: resident, MB"] = round(found.resident_mb[name])
        result[f"{model}: on to off at {MANY}, times"] = round(found.rate[names[1]] / found.rate[names[0]], 2)
        result[f"{model}: median at 1, off, µs"] = round(found.p50_ms[names[0]] * 1e3)
        result[f"{model}: added to it, µs"] = round((found.p50_ms[names[1]] - found.p50_ms[names[0]]) * 1e3, 1)
    return result


def int8(_quick, turns=3, seconds=4):
    """Measures both with random pictures; each response is compared with the first one of the same model."""
    names = [variant("lite0", "lite0-float", ""), variant("int8", "lite0-int8", "")]
    requests = {names[0]: inference_requests("lite0", 4), names[1]: inference_requests("int8", 4)}
    found = versus(requests, turns, seconds)
    result = {
        f"{name}: {what}": round(values[name], 1)
        for name in names
        for what, values in [
            ("requests/s", found.rate),
            ("median at 1, ms", found.p50_ms),
            ("CPU for a request, ms", found.cpu_ms),
            ("resident, MB", found.resident_mb),
        ]
    }
    result["requests/s, int8 to float, times"] = round(found.rate[names[1]] / found.rate[names[0]], 2)
    return result


@dataclasses.dataclass
class Comparison:
    """Medians of several models, by name: `rate` in requests/s and `p99_ms`, at MANY clients."""

    resident_mb: dict  # of a process with this model alone, after load
    rate: dict
    p99_ms: dict
    cpu_ms: dict  # CPU time per request
    p50_ms: dict  # of a single client


def versus(requests, turns, seconds):
    """Compares two models in one process, which take turns. `requests`: the options of load() by model."""

    def run(ours, name, connections):
        path = f"/v2/models/{name}/infer"
        return check(load(ours.port, path, connections=connections, seconds=seconds, **requests[name]))

    resident = {}
    for name in requests:
        with probe_server(name) as ours:
            run(ours, name, MANY)
            resident[name] = ours.resident()
    runs, cpu = {name: [] for name in requests}, dict.fromkeys(requests, 0.0)
    with probe_server(*requests) as ours:
        # Warm up, so that adaptive batching has settled.
        for name in requests:
            run(ours, name, MANY)
        first, second = requests
        if requests[first] == requests[second]:
            # Equal inputs: a single client alternates between both.
            paths = [f"/v2/models/{name}/infer" for name in requests]
            alone = check(load(ours.port, *paths, connections=1, seconds=turns * seconds, **requests[first]))
        else:
            alone = [run(ours, name, 1)[0] for name in requests]
        for _ in range(turns):
            for name in requests:
                before = ours.cpu()
                runs[name] += run(ours, name, MANY)
                cpu[name] += ours.cpu() - before
    return Comparison(
        resident_mb=resident,
        rate={name: statistics.median(each["goodput"] for each in runs[name]) for name in requests},
        p99_ms={name: statistics.median(each["accepted_ms"]["p99"] for each in runs[name]) for name in requests},
        cpu_ms={name: cpu[name] * 1e3 / sum(each["good"] for each in runs[name]) for name in requests},
        p50_ms={name: each["accepted_ms"]["p50"] for name, each in zip(requests, alone, strict=True)},
    )


def probe_server(*names):
    """Starts modelfn with these models and a trivial function."""
    arguments = ["--log", "warn", *(part for name in names for part in ("--load-model", name))]
    return server(arguments, app=app(ROOT / "target/guest/probe.wasm"), models=SCRATCH / "models")


def check(runs):
    """Returns the runs if all their responses are correct; otherwise the program ends."""
    for run in runs:
        if run["wrong"] or run["lost"] or set(run["statuses"]) - {"200"}:
            raise SystemExit(f"wrong answers: {json.dumps(run)}")
    return runs
